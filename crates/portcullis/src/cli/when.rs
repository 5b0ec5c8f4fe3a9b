//! Times as people read them: local, with what is left.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};

/// `until 14:32, 12m left`, or `ended 14:32`.
pub(crate) fn until(end: Timestamp, now: Timestamp) -> String {
    if end <= now {
        format!("ended {}", at(end, now))
    } else {
        format!("until {}, {} left", at(end, now), span(now, end))
    }
}

/// `2026-11-22T14:32:07Z`, for what is compared with other logs: people need no fractions.
pub(crate) fn utc(time: Timestamp) -> String {
    time.strftime("%FT%TZ").to_string()
}

/// `14:32` on the same day, the date with it on another.
pub(crate) fn at(time: Timestamp, now: Timestamp) -> String {
    in_zone(time, now, &TimeZone::system())
}

/// `3m ago`.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    if time >= now { "now".to_owned() } else { format!("{} ago", span(time, now)) }
}

fn in_zone(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (time, now) = (time.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let format = if time.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    time.strftime(format).to_string()
}

/// The two largest units, rounded down: `2d3h`, `1h5m`, `12m`, `40s`.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let Some(first) = units.iter().position(|(unit, _)| seconds >= *unit) else {
        return format!("{seconds}s");
    };
    let mut rest = seconds;
    let mut text = String::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        if rest >= *unit {
            let _ = write!(text, "{}{name}", rest / unit);
            rest %= unit;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_left_has_two_units_at_most() {
        let now = time("2026-11-22T12:00:00Z");
        let left = |end| span(now, time(end));
        assert_eq!(left("2026-11-22T12:00:40Z"), "40s");
        assert_eq!(left("2026-11-22T12:12:59Z"), "12m");
        assert_eq!(left("2026-11-22T13:05:00Z"), "1h5m");
        assert_eq!(left("2026-11-24T15:05:00Z"), "2d3h");
    }

    #[test]
    fn times_are_local_and_say_their_day_when_it_is_another() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now = time("2026-11-22T12:00:00Z");
        assert_eq!(in_zone(time("2026-11-22T12:32:00Z"), now, &zone), "14:32");
        assert_eq!(in_zone(time("2026-11-22T22:30:00Z"), now, &zone), "2026-11-23 00:30");
    }

    #[test]
    fn what_is_over_says_so() {
        let now = time("2026-11-22T12:00:00Z");
        assert!(until(now, now).starts_with("ended "));
        assert!(until(time("2026-11-22T12:12:00Z"), now).ends_with(", 12m left"));
    }
}

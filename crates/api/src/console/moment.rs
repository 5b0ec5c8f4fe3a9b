//! Points in time on a page: in UTC as they are sent, in the viewer's zone where scripts run, and the exact
//! instant at hand in both.

use std::fmt;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// When something was or will be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    pub(crate) now: Timestamp,
}

impl askama::filters::HtmlSafe for Moment {}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
        let words =
            if day(self.at) == day(self.now) { "%H:%M UTC" } else { "%-d %b %Y, %H:%M UTC" };
        let words = self.at.strftime(words);
        write!(f, "<time datetime=\"{}\" title=\"{exact}\">{words}</time>", seconds(self.at))
    }
}

/// How long it is until then: a clock that runs where scripts run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    pub(crate) until: Timestamp,
    pub(crate) now: Timestamp,
}

impl askama::filters::HtmlSafe for Left {}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.until.strftime("%Y-%m-%d %H:%M:%S UTC");
        let left = lasting(self.until.duration_since(self.now));
        let until = seconds(self.until);
        write!(f, "<time data-left datetime=\"{until}\" title=\"{exact}\">{left}</time>")
    }
}

/// `2 h 5 min`, `14 min`, `40 s`.
pub(crate) fn lasting(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn seconds(at: Timestamp) -> impl fmt::Display {
    at.strftime("%Y-%m-%dT%H:%M:%SZ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_with_their_day_where_it_is_another() {
        let at: Timestamp = "2026-11-23T02:13:07.5Z".parse().unwrap();
        let today = Moment { at, now: at }.to_string();
        assert!(today.contains(">02:13 UTC<") && today.contains("2026-11-23 02:13:07 UTC"));
        let later = at + SignedDuration::from_hours(30);
        assert!(Moment { at, now: later }.to_string().contains(">23 Nov 2026, 02:13 UTC<"));
        assert!(Left { until: later, now: at }.to_string().contains(">1 d 6 h<"));
        assert_eq!(lasting(SignedDuration::from_secs(-3)), "0 s");
    }
}

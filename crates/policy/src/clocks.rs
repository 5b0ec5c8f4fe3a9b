//! Named clocks: what a wall clock in some time zone shows, to the minute.
//!
//! Windows are for policies to cut: across midnight, too. In spring an hour is not there, in autumn one
//! is there twice, as on the wall.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::facts::NoContext;

/// The clocks of a bundle, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clocks(BTreeMap<String, TimeZone>);

/// What a clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    /// 1 is Monday, 7 is Sunday (ISO 8601).
    weekday: i8,
    /// Since midnight, as the hands show it.
    minute: i16,
}

impl Shown {
    /// What policies call `weekday` or `minute`.
    pub(crate) fn field(self, name: &str) -> Option<i64> {
        match name {
            "weekday" => Some(self.weekday.into()),
            "minute" => Some(self.minute.into()),
            _ => None,
        }
    }
}

impl Clocks {
    /// From names and the names of their zones, or what is wrong with them.
    pub(crate) fn read(source: &BTreeMap<String, String>) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut clocks = BTreeMap::new();
        for (name, zone) in source {
            if !is_name(name) {
                wrong.push(format!("`{name}` cannot name a clock: letters, digits and `_`"));
            }
            match zone_of(zone) {
                Ok(zone) => drop(clocks.insert(name.clone(), zone)),
                Err(message) => wrong.push(format!("clock `{name}`: {message}")),
            }
        }
        if wrong.is_empty() { Ok(Self(clocks)) } else { Err(wrong) }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// What the clock of this name shows.
    pub(crate) fn shown(&self, name: &str, now: Timestamp) -> Option<Shown> {
        self.0.get(name).map(|zone| {
            let here = now.to_zoned(zone.clone());
            let minute = i16::from(here.hour()) * 60 + i16::from(here.minute());
            Shown { weekday: here.weekday().to_monday_one_offset(), minute }
        })
    }

    /// When one of them shows something else.
    pub(crate) fn next_minute(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.0.values().map(|zone| {
            let here = now.to_zoned(zone.clone());
            let left = SignedDuration::from_secs(60 - i64::from(here.second()))
                - SignedDuration::from_nanos(i64::from(here.subsec_nanosecond()));
            now + left
        });
        ends.min()
    }

    /// `context.clock`; absent where there are none.
    pub(crate) fn record(&self, now: Timestamp) -> Result<Option<RestrictedExpression>, NoContext> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let clock = |name: &String| {
            let shown = self.shown(name, now)?;
            let fields = ["weekday", "minute"].into_iter().filter_map(|field| {
                Some((field.to_owned(), RestrictedExpression::new_long(shown.field(field)?)))
            });
            Some((name.clone(), RestrictedExpression::new_record(fields)))
        };
        let clocks = self.names().filter_map(clock);
        let clocks: Vec<_> =
            clocks.map(|(name, record)| Ok((name, record?))).collect::<Result<_, NoContext>>()?;
        Ok(Some(RestrictedExpression::new_record(clocks)?))
    }
}

/// The time zone of this name in the IANA database.
pub(crate) fn zone_of(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("`{name}` is no time zone; write it like Europe/Lisbon"))
}

fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.len() <= 64
        && name.bytes().all(inner)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(zone: &str, at: &str) -> (i8, i16) {
        let clocks = Clocks::read(&[("c".to_owned(), zone.to_owned())].into()).unwrap();
        let Shown { weekday, minute } = clocks.shown("c", at.parse().unwrap()).unwrap();
        (weekday, minute)
    }

    #[test]
    fn e31_a_clock_shows_what_hangs_on_the_wall() {
        assert_eq!(shown("UTC", "2026-03-01T12:34:56Z"), (7, 754));
        assert_eq!(shown("Asia/Kolkata", "2026-03-01T20:00:00Z"), (1, 90));
        // Lisbon in spring: after 00:59 comes 02:00.
        assert_eq!(shown("Europe/Lisbon", "2026-03-29T00:59:59Z"), (7, 59));
        assert_eq!(shown("Europe/Lisbon", "2026-03-29T01:00:00Z"), (7, 120));
        // And in autumn the hour after 01:00 comes twice.
        assert_eq!(shown("Europe/Lisbon", "2026-10-25T00:30:00Z"), (7, 90));
        assert_eq!(shown("Europe/Lisbon", "2026-10-25T01:30:00Z"), (7, 90));
        assert_eq!(shown("Europe/Lisbon", "2026-10-25T02:00:00Z"), (7, 120));
    }

    #[test]
    fn what_a_clock_shows_holds_to_the_end_of_its_minute() {
        let clocks = Clocks::read(&[("c".to_owned(), "Europe/Lisbon".to_owned())].into()).unwrap();
        let next = |at: &str| clocks.next_minute(at.parse().unwrap()).unwrap().to_string();
        assert_eq!(next("2026-03-01T12:34:56.5Z"), "2026-03-01T12:35:00Z");
        assert_eq!(next("2026-03-29T00:59:59Z"), "2026-03-29T01:00:00Z");
    }

    #[test]
    fn what_is_no_clock_is_told() {
        let read =
            |name: &str, zone: &str| Clocks::read(&[(name.to_owned(), zone.to_owned())].into());
        assert!(read("office", "Europe/Lisboa").unwrap_err()[0].contains("no time zone"));
        assert!(read("of fice", "UTC").unwrap_err()[0].contains("cannot name a clock"));
    }
}

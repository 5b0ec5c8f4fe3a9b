//! `audit.retention`: how long the record is kept.

use std::{fmt, str::FromStr};

use jiff::SignedDuration;

/// No longer time can be meant: a hundred years.
const MOST_DAYS: u32 = 36_500;
const USUAL_DAYS: u32 = 400;
const DAY_HOURS: i64 = 24;

/// How long the record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Nothing is ever removed.
    Forever,
    /// What is older than so many days is removed.
    Days(u32),
}

/// Why a text is no time to keep a record for.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no time to keep a record for; write it in days, 1d to {MOST_DAYS}d, or forever")]
pub(crate) struct InvalidRetention(String);

impl Default for Retention {
    fn default() -> Self {
        Self::Days(USUAL_DAYS)
    }
}

impl Retention {
    /// What is older is removed; nothing is, without.
    pub(crate) fn after(self) -> Option<SignedDuration> {
        match self {
            Self::Forever => None,
            Self::Days(days) => Some(SignedDuration::from_hours(i64::from(days) * DAY_HOURS)),
        }
    }
}

impl FromStr for Retention {
    type Err = InvalidRetention;

    fn from_str(text: &str) -> Result<Self, InvalidRetention> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        let days = days.filter(|days| (1..=MOST_DAYS).contains(days)).map(Self::Days);
        // One spelling each.
        let days = days.filter(|days| days.to_string() == text);
        days.ok_or_else(|| InvalidRetention(text.to_owned()))
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("forever"),
            Self::Days(days) => write!(f, "{days}d"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_for_days_or_forever() {
        for text in ["1d", "400d", "36500d", "forever"] {
            assert_eq!(text.parse::<Retention>().unwrap().to_string(), text);
        }
        assert_eq!(Retention::default().to_string(), "400d");
        assert_eq!(
            "2d".parse::<Retention>().unwrap().after(),
            Some(SignedDuration::from_hours(48))
        );
        assert_eq!(Retention::Forever.after(), None);
        for text in ["", "0d", "36501d", "12h", "-1d", "+1d", "01d", "1.5d", "d", "never", "400"] {
            assert!(text.parse::<Retention>().is_err(), "{text}");
        }
    }
}

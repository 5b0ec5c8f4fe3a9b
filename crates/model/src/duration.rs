//! Durations as people write them in policies, configuration and on the command line.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A positive span of time up to 366 days: `90s`, `30m`, `8h`, `1h30m`, `2d`.
///
/// Zero, signs, fractions, exponents and ISO 8601 are refused: what a person approves must read one
/// way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window(Duration);

/// Why a text is no [`Window`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// Not a sequence of numbers with units.
    #[error("`{0}` is not a duration; write it like 30m, 8h or 1h30m")]
    Syntax(String),
    /// Nothing at all.
    #[error("a duration of zero opens nothing")]
    Zero,
    /// Longer than a year.
    #[error("`{0}` is longer than 366 days")]
    TooLong(String),
}

const LONGEST: Duration = Duration::from_hours(366 * 24);

impl Window {
    /// From a [`Duration`].
    pub fn new(duration: Duration) -> Result<Self, InvalidWindow> {
        if duration.is_zero() {
            Err(InvalidWindow::Zero)
        } else if duration > LONGEST {
            Err(InvalidWindow::TooLong(format!("{}s", duration.as_secs())))
        } else {
            Ok(Self(duration))
        }
    }

    /// Whole minutes; for defaults written in code. Zero becomes one minute.
    pub const fn minutes(minutes: u32) -> Self {
        let minutes = if minutes == 0 { 1 } else { minutes };
        Self(Duration::from_secs(minutes as u64 * 60))
    }

    /// Whole seconds; for defaults written in code. Zero becomes one second.
    pub const fn seconds(seconds: u32) -> Self {
        let seconds = if seconds == 0 { 1 } else { seconds };
        Self(Duration::from_secs(seconds as u64))
    }

    /// The span.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// The span for arithmetic with timestamps.
    pub fn signed(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_secs(i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX))
            + jiff::SignedDuration::from_nanos(i64::from(self.0.subsec_nanos()))
    }
}

impl FromStr for Window {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        let syntax = || InvalidWindow::Syntax(text.to_owned());
        let too_long = || InvalidWindow::TooLong(text.to_owned());
        let mut total: u64 = 0;
        let mut number: Option<u64> = None;
        let mut last_unit = u64::MAX;
        for c in text.chars() {
            if let Some(digit) = c.to_digit(10) {
                let grown = number.unwrap_or(0).checked_mul(10);
                number = grown.and_then(|n| n.checked_add(u64::from(digit)));
                number.ok_or_else(too_long)?;
                continue;
            }
            let unit = match c {
                'd' => 86_400,
                'h' => 3_600,
                'm' => 60,
                's' => 1,
                _ => return Err(syntax()),
            };
            // Units descend, each at most once: `30m1h` and `1h1h` are typing errors.
            if unit >= last_unit {
                return Err(syntax());
            }
            last_unit = unit;
            let part = number.take().ok_or_else(syntax)?.checked_mul(unit).ok_or_else(too_long)?;
            total = total.checked_add(part).ok_or_else(too_long)?;
        }
        if number.is_some() || last_unit == u64::MAX {
            return Err(syntax());
        }
        match Self::new(Duration::from_secs(total)) {
            Err(InvalidWindow::TooLong(_)) => Err(too_long()),
            other => other,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        if rest == 0 {
            return f.write_str("1s");
        }
        for (unit, name) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for Window {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_shown_the_same() {
        for text in ["90s", "30m", "8h", "1h30m", "2d", "366d"] {
            let window: Window = text.parse().unwrap();
            let again: Window = window.to_string().parse().unwrap();
            assert_eq!(window, again);
        }
        assert_eq!("90s".parse::<Window>().unwrap().to_string(), "1m30s");
    }

    #[test]
    fn e30_durations_that_are_none_are_refused() {
        let bad = [
            "0",
            "0s",
            "0m",
            "-1",
            "-1m",
            "9223372036854775808",
            "9223372036854775808s",
            "1e9h",
            "P1Y",
            "NaN",
            "",
            "m",
            "30",
            "30m1h",
            "1h1h",
            "1.5h",
            "367d",
            "1y",
            "٣m",
            " 1m",
        ];
        for text in bad {
            assert!(text.parse::<Window>().is_err(), "{text} was accepted");
        }
    }
}

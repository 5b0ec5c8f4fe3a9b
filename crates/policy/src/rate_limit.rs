//! `@rate_limit("5/1m")`: how often somebody may do something that a permit admits.

use std::{collections::VecDeque, fmt, str::FromStr};

use jiff::Timestamp;
use portcullis_model::Window;

const MOST: u32 = 1_000_000;
const LONGEST: u64 = 3600;
/// Up to so many a minute are counted one by one, in one place.
const EXACT: u64 = 100;

/// So many in any span of so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    count: u32,
    per: Window,
}

/// A text that is no rate limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate; write it like 5/1m, at most 1000000 in at most 1h")]
pub struct InvalidRate(String);

impl FromStr for RateLimit {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let invalid = || InvalidRate(text.to_owned());
        let (count, per) = text.split_once('/').ok_or_else(invalid)?;
        let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let count: u32 = count.parse().ok().filter(|_| digits).ok_or_else(invalid)?;
        let per: Window = per.parse().map_err(|_| invalid())?;
        let fits = (1..=MOST).contains(&count) && per.get().as_secs() <= LONGEST;
        if fits { Ok(Self { count, per }) } else { Err(invalid()) }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per)
    }
}

impl RateLimit {
    /// How many.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// In any span of so long.
    pub const fn per(self) -> Window {
        self.per
    }

    /// Whether it is counted exactly, whichever gate is asked: up to 100 a minute.
    pub fn is_exact(self) -> bool {
        u64::from(self.count) * 60 <= EXACT * self.per.get().as_secs()
    }

    /// The one of the two that admits more; of two equal rates the one that admits more at once.
    #[must_use]
    pub fn larger(self, other: Self) -> Self {
        let rate = |limit: Self, by: Self| u64::from(limit.count) * by.per.get().as_secs();
        let (own, others) = (rate(self, other), rate(other, self));
        if (own, self.count) >= (others, other.count) { self } else { other }
    }
}

/// What was admitted lately, one by one.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<Timestamp>);

impl Recent {
    /// Admits one more at `now`, or says in how many seconds it is worth trying again.
    pub fn admit(&mut self, limit: RateLimit, now: Timestamp) -> Result<(), u32> {
        let span = limit.per.signed();
        self.0.retain(|at| now.duration_since(*at) < span);
        let full = usize::try_from(limit.count).is_ok_and(|count| self.0.len() >= count);
        if !full {
            self.0.push_back(now);
            return Ok(());
        }
        let free = self.0.front().map_or(now, |first| *first + span);
        let wait = free.duration_since(now).as_millis().div_euclid(1000) + 1;
        Err(u32::try_from(wait).unwrap_or(1).max(1))
    }

    /// Whether nothing of it matters at `now` any more, under any limit.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let longest = jiff::SignedDuration::from_secs(3600);
        self.0.back().is_none_or(|last| now.duration_since(*last) >= longest)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn limit(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_reads_one_way_only() {
        assert_eq!(limit("5/1m").to_string(), "5/1m");
        for text in [
            "",
            "5",
            "5/",
            "/1m",
            "0/1m",
            "-1/1m",
            "+5/1m",
            "5/0s",
            "5/2h",
            "5/1m/1m",
            "9999999/1m",
        ] {
            assert!(text.parse::<RateLimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn up_to_a_hundred_a_minute_is_exact_and_the_larger_rate_wins() {
        assert!(limit("100/1m").is_exact() && limit("1/1s").is_exact());
        assert!(!limit("101/1m").is_exact() && !limit("2/1s").is_exact());
        assert_eq!(limit("5/1m").larger(limit("1/10s")), limit("1/10s"));
        assert_eq!(limit("6/1m").larger(limit("1/10s")), limit("6/1m"));
    }

    #[test]
    fn in_any_span_there_are_as_many_as_the_limit_says_and_no_more() {
        let (limit, start) = (limit("3/1m"), Timestamp::UNIX_EPOCH);
        let mut recent = Recent::default();
        let mut admitted: Vec<i64> = Vec::new();
        for second in 0..300_i64 {
            let now = start + SignedDuration::from_secs(second);
            match recent.admit(limit, now) {
                Ok(()) => admitted.push(second),
                Err(wait) => assert!((1..=60).contains(&wait), "{wait}"),
            }
        }
        assert!(admitted.windows(4).all(|four| four[3] - four[0] >= 60), "{admitted:?}");
        assert_eq!(admitted.len(), 15);
        assert!(recent.is_over(start + SignedDuration::from_hours(2)));
    }
}

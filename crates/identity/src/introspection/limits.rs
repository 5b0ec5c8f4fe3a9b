//! How much an issuer is asked. Anybody can make up tokens; whoever does must neither make an
//! issuer busy nor keep those away whose tokens it has vouched for before.

use std::time::Duration;

use jiff::Timestamp;

/// Questions about tokens that nobody vouched for yet: so many at once.
const STRANGERS: usize = 32;
/// Questions about tokens that the issuer vouched for a moment ago: so many at once.
const FAMILIARS: usize = 64;
/// Of strangers so many in a row, and then so many a second.
const BURST: u32 = 256;
const PER_SECOND: u32 = 100;
/// After an issuer did not answer: 1 s, 2 s, 4 s and so on, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Whose token a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Nobody vouched for it yet.
    Stranger,
    /// The issuer vouched for it a moment ago.
    Familiar,
}

/// Why nothing is asked at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAsked {
    /// There is too much to ask.
    Busy,
    /// The issuer did not answer a moment ago.
    Silent,
}

#[derive(Debug)]
pub(super) struct Limits {
    strangers: usize,
    familiars: usize,
    /// Questions that strangers may cause, and when that was counted.
    left: u32,
    counted_at: Option<Timestamp>,
    failures: u32,
    failed_at: Option<Timestamp>,
}

impl Default for Limits {
    fn default() -> Self {
        let (strangers, familiars) = (0, 0);
        Self { strangers, familiars, left: BURST, counted_at: None, failures: 0, failed_at: None }
    }
}

impl Limits {
    /// Counts a question in, or says why it is not asked.
    pub(super) fn begin(&mut self, asker: Asker, now: Timestamp) -> Result<(), NotAsked> {
        if self.is_silent(now) {
            return Err(NotAsked::Silent);
        }
        match asker {
            Asker::Familiar if self.familiars < FAMILIARS => self.familiars += 1,
            Asker::Stranger if self.strangers < STRANGERS => {
                self.refill(now);
                self.left = self.left.checked_sub(1).ok_or(NotAsked::Busy)?;
                self.strangers += 1;
            }
            Asker::Familiar | Asker::Stranger => return Err(NotAsked::Busy),
        }
        Ok(())
    }

    /// Counts it out.
    pub(super) fn end(&mut self, asker: Asker) {
        let count = match asker {
            Asker::Familiar => &mut self.familiars,
            Asker::Stranger => &mut self.strangers,
        };
        *count = count.saturating_sub(1);
    }

    pub(super) fn answered(&mut self) {
        (self.failures, self.failed_at) = (0, None);
    }

    /// It did not answer; says how often in a row.
    pub(super) fn failed(&mut self, now: Timestamp) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.failures
    }

    /// Whether it did not answer so lately that it is not asked. A clock that went back counts as
    /// time gone by.
    pub(super) fn is_silent(&self, now: Timestamp) -> bool {
        let Some(failed_at) = self.failed_at else { return false };
        let doubled = 1_u64 << self.failures.saturating_sub(1).min(10);
        let pause = Duration::from_secs(doubled).min(LONGEST_PAUSE);
        now >= failed_at && now.duration_since(failed_at).unsigned_abs() < pause
    }

    fn refill(&mut self, now: Timestamp) {
        let since = *self.counted_at.get_or_insert(now);
        let whole = now.duration_since(since).as_millis() * i128::from(PER_SECOND) / 1000;
        if whole != 0 {
            let more = u32::try_from(whole).unwrap_or(0);
            self.left = self.left.saturating_add(more).min(BURST);
            self.counted_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn strangers(limits: &mut Limits, now: Timestamp) -> usize {
        let ask = |_: &usize| {
            let asked = limits.begin(Asker::Stranger, now).is_ok();
            if asked {
                limits.end(Asker::Stranger);
            }
            asked
        };
        (0..1000).take_while(ask).count()
    }

    #[test]
    fn strangers_have_a_burst_and_a_rate() {
        let mut limits = Limits::default();
        assert_eq!(strangers(&mut limits, at(0)), 256);
        assert_eq!(strangers(&mut limits, at(5)), 0);
        assert_eq!(strangers(&mut limits, at(500)), 50);
        assert_eq!(strangers(&mut limits, at(600_000)), 256);
        assert_eq!(strangers(&mut limits, at(0)), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn strangers_at_once_are_few_and_keep_no_familiar_away() {
        let mut limits = Limits::default();
        for _ in 0..32 {
            limits.begin(Asker::Stranger, at(0)).unwrap();
        }
        assert_eq!(limits.begin(Asker::Stranger, at(0)), Err(NotAsked::Busy));
        for _ in 0..64 {
            limits.begin(Asker::Familiar, at(0)).unwrap();
        }
        assert_eq!(limits.begin(Asker::Familiar, at(0)), Err(NotAsked::Busy));
        limits.end(Asker::Stranger);
        limits.begin(Asker::Stranger, at(0)).unwrap();
    }

    #[test]
    fn an_issuer_that_does_not_answer_is_left_alone_for_longer_and_longer() {
        let mut limits = Limits::default();
        let mut now = 0;
        for pause in [1000, 2000, 4000, 8000, 8000] {
            limits.failed(at(now));
            for asker in [Asker::Stranger, Asker::Familiar] {
                assert_eq!(limits.begin(asker, at(now + pause - 1)), Err(NotAsked::Silent));
            }
            now += pause;
            limits.begin(Asker::Familiar, at(now)).unwrap();
            limits.end(Asker::Familiar);
        }
        limits.answered();
        assert!(!limits.is_silent(at(now)));
    }
}

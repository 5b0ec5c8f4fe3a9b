//! How fast each receiver of notices is told: one that was down is asked by one message at a time, and is not
//! flooded when it is back.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

/// Between two messages to one receiver, after a few at once.
const INTERVAL: SignedDuration = SignedDuration::from_secs(1);
/// So many at once: with the next one no more than four in a second, which is what a channel of Teams takes.
const AT_ONCE: i32 = 3;
/// After the first failure; twice as long after each other one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// However long a receiver says that it wants to be left alone.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(1);
const SWEEP_ABOVE: usize = 1024;

/// Every receiver that was told something lately.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<String, Pace>>);

#[derive(Debug)]
struct Pace {
    /// When it would be told next if it were told once an interval.
    next: Timestamp,
    /// The last moment that somebody was sent away to.
    promised: Timestamp,
    /// Nobody asks it before, for that it failed; over once it takes something.
    rests_until: Timestamp,
    /// It said so itself: over with time alone, whatever it answers to what is under way.
    wishes_until: Timestamp,
    failures: u32,
}

impl Paces {
    /// Takes a turn at `receiver`, or says when to come again.
    pub(crate) fn turn(&self, receiver: &str, now: Timestamp) -> Result<(), Timestamp> {
        let mut all = self.all();
        if all.len() > SWEEP_ABOVE {
            all.retain(|_, pace| pace.next > now || pace.rest() > now);
        }
        let fresh = Pace {
            next: now,
            promised: now,
            rests_until: Timestamp::UNIX_EPOCH,
            wishes_until: Timestamp::UNIX_EPOCH,
            failures: 0,
        };
        let pace = all.entry(receiver.to_owned()).or_insert(fresh);
        let free = pace.rest().max(pace.next - INTERVAL * (AT_ONCE - 1));
        if free <= now {
            pace.next = pace.next.max(now) + INTERVAL;
            // Whoever comes while this one is under way to a receiver that fails waits for its answer.
            if pace.failures > 0 {
                pace.rests_until = now + pause(pace.failures);
            }
            return Ok(());
        }
        pace.promised = free.max(pace.promised + INTERVAL);
        Err(pace.promised)
    }

    /// `receiver` was told.
    pub(crate) fn told(&self, receiver: &str) {
        if let Some(pace) = self.all().get_mut(receiver) {
            (pace.failures, pace.rests_until) = (0, Timestamp::UNIX_EPOCH);
        }
    }

    /// `receiver` could not be told, and wants to be left alone for `rest`, if it says so: when to come again.
    pub(crate) fn failed(
        &self,
        receiver: &str,
        rest: Option<SignedDuration>,
        now: Timestamp,
    ) -> Timestamp {
        let mut all = self.all();
        let Some(pace) = all.get_mut(receiver) else { return now + FIRST_PAUSE };
        let rest = rest.unwrap_or_default().min(LONGEST_REST);
        pace.rests_until = pace.rests_until.max(now + pause(pace.failures));
        pace.wishes_until = pace.wishes_until.max(now + rest);
        pace.failures = pace.failures.saturating_add(1);
        pace.promised = pace.rest();
        pace.promised
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    fn rest(&self) -> Timestamp {
        self.rests_until.max(self.wishes_until)
    }
}

fn pause(failures: u32) -> SignedDuration {
    (FIRST_PAUSE * (1 << failures.min(6))).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_few_at_once_and_then_one_a_second_to_each() {
        let paces = Paces::default();
        for _ in 0..AT_ONCE {
            paces.turn("teams:a", at(0)).unwrap();
        }
        assert_eq!(paces.turn("teams:a", at(0)).unwrap_err(), at(1));
        assert_eq!(paces.turn("teams:a", at(0)).unwrap_err(), at(2));
        paces.turn("teams:b", at(0)).unwrap();
        paces.turn("teams:a", at(1)).unwrap();
        assert_eq!(paces.turn("teams:a", at(1)).unwrap_err(), at(3));
        paces.turn("teams:a", at(2)).unwrap();
    }

    #[test]
    fn who_is_down_is_asked_by_one_and_is_not_flooded_when_back() {
        let paces = Paces::default();
        paces.turn("teams:a", at(0)).unwrap();
        assert_eq!(paces.failed("teams:a", None, at(0)), at(1));
        let waiting: Vec<Timestamp> =
            (0..100).map(|_| paces.turn("teams:a", at(0)).unwrap_err()).collect();
        assert!(waiting.windows(2).all(|two| two[1].duration_since(two[0]) >= INTERVAL));
        // One asks, and whoever comes meanwhile waits.
        paces.turn("teams:a", at(1)).unwrap();
        paces.turn("teams:a", at(1)).unwrap_err();
        let mut tries = 0;
        for second in 2..3600 {
            if paces.turn("teams:a", at(second)).is_ok() {
                tries += 1;
                paces.failed("teams:a", None, at(second));
            }
        }
        assert!((50..80).contains(&tries), "{tries}");
        paces.told("teams:a");
        let taken = (0..60).filter(|_| paces.turn("teams:a", at(3600)).is_ok()).count();
        assert!(taken <= usize::try_from(AT_ONCE).unwrap(), "{taken}");
        assert_eq!(
            paces.failed("teams:a", Some(SignedDuration::from_secs(90)), at(3600)),
            at(3690)
        );
        assert_eq!(paces.failed("teams:a", Some(SignedDuration::MAX), at(3600)), at(7200));
    }

    #[test]
    fn who_wants_to_be_left_alone_is_whatever_comes_of_what_is_under_way() {
        let paces = Paces::default();
        let rest = Some(SignedDuration::from_secs(90));
        for _ in 0..AT_ONCE {
            paces.turn("teams:a", at(0)).unwrap();
        }
        assert_eq!(paces.failed("teams:a", rest, at(0)), at(90));
        // The second had arrived before, and the third fails without a wish.
        paces.told("teams:a");
        assert_eq!(paces.turn("teams:a", at(10)).unwrap_err(), at(91));
        assert_eq!(paces.failed("teams:a", None, at(10)), at(90));
        assert_eq!(paces.failed("teams:a", Some(SignedDuration::from_secs(1)), at(10)), at(90));
        paces.turn("teams:a", at(89)).unwrap_err();
        paces.turn("teams:a", at(90)).unwrap();
        // What is only ours is over once something arrives.
        paces.told("teams:a");
        paces.turn("teams:a", at(91)).unwrap();
    }
}

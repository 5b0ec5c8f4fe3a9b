//! Answers that a client does not let begin.
//!
//! Over HTTP/2 a client says how much it wants to receive. One that asks and then takes nothing makes the
//! gate keep an answer, and the upstream's connection, for as long as it likes: the cheapest way there is to
//! fill somebody's memory. A download that was begun and paused is another thing.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

/// How long an answer may wait for its first byte to be taken.
pub(super) const TO_BEGIN: Duration = Duration::from_secs(20);
/// Answers are told apart by when they came, to one of so many parts of that time.
const EPOCHS: usize = 4;

/// How many answers of one connection wait for their first byte to be taken, by when they came.
#[derive(Debug)]
pub(crate) struct Unsent {
    opened: Instant,
    within: Duration,
    epoch: Cell<u64>,
    waiting: [Cell<u32>; EPOCHS],
}

impl Unsent {
    /// For answers that may wait so long, or a part less.
    pub(super) fn new(within: Duration) -> Self {
        let (opened, epoch) = (Instant::now(), Cell::new(0));
        Self { opened, within, epoch, waiting: Default::default() }
    }

    /// One more waits, until what this returns is dropped.
    pub(crate) fn wait(self: &Rc<Self>) -> Waiting {
        let epoch = self.epoch.get();
        self.count(epoch, 1);
        Waiting { unsent: Rc::clone(self), epoch }
    }

    /// Whether one of them has waited too long. To be asked now and then.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        let epoch = self.within.as_secs().div_ceil(EPOCHS as u64).max(1);
        let epochs = now.saturating_duration_since(self.opened).as_secs() / epoch;
        let mut stalled = false;
        while self.epoch.get() < epochs && !stalled {
            self.epoch.set(self.epoch.get() + 1);
            // Whoever still waits here came when this place was used the last time.
            stalled = self.slot(self.epoch.get()).is_some_and(|slot| slot.get() > 0);
        }
        stalled
    }

    fn count(&self, epoch: u64, more: i32) {
        if let Some(slot) = self.slot(epoch) {
            slot.set(slot.get().saturating_add_signed(more));
        }
    }

    fn slot(&self, epoch: u64) -> Option<&Cell<u32>> {
        self.waiting.get(usize::try_from(epoch).unwrap_or_default() % EPOCHS)
    }
}

/// An answer of which nothing was taken yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    unsent: Rc<Unsent>,
    epoch: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.unsent.count(self.epoch, -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_nobody_takes_stalls_and_one_that_is_taken_does_not() {
        let unsent = Rc::new(Unsent::new(TO_BEGIN));
        let at = |seconds| unsent.opened + Duration::from_secs(seconds);
        for seconds in 0..100 {
            let taken = unsent.wait();
            assert!(!unsent.is_stalled(at(seconds)));
            drop(taken);
        }
        let _left = unsent.wait();
        let stalled = (100..200).find(|seconds| unsent.is_stalled(at(*seconds))).unwrap();
        assert!((115..=120).contains(&stalled), "{stalled}");
    }

    #[test]
    fn a_connection_that_was_not_looked_at_for_long_is_not_blamed_for_it() {
        let unsent = Rc::new(Unsent::new(TO_BEGIN));
        assert!(!unsent.is_stalled(unsent.opened + Duration::from_secs(1000)));
        let _waiting = unsent.wait();
        assert!(!unsent.is_stalled(unsent.opened + Duration::from_secs(1006)));
    }
}

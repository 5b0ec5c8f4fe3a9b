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
    /// Those that have waited for too long.
    stalled: Cell<u32>,
}

impl Unsent {
    /// For answers that may wait so long, or a part less.
    pub(super) fn new(within: Duration) -> Self {
        let (opened, epoch) = (Instant::now(), Cell::new(0));
        Self { opened, within, epoch, waiting: Default::default(), stalled: Cell::new(0) }
    }

    /// One more waits, until what this returns is dropped.
    pub(crate) fn wait(self: &Rc<Self>) -> Waiting {
        let epoch = self.epoch.get();
        self.count(epoch, 1);
        Waiting { unsent: Rc::clone(self), epoch }
    }

    /// How many of them have waited too long. To be asked now and then.
    pub(super) fn stalled(&self, now: Instant) -> u32 {
        let epoch = self.within.as_secs().div_ceil(EPOCHS as u64).max(1);
        let epochs = now.saturating_duration_since(self.opened).as_secs() / epoch;
        // After so many of them, nobody is left in a place.
        let first = epochs.saturating_sub(EPOCHS as u64).max(self.epoch.get());
        for epoch in first..epochs {
            // Whoever still waits here came when this place was used the last time.
            let late = self.slot(epoch + 1).map_or(0, Cell::take);
            self.stalled.set(self.stalled.get() + late);
        }
        self.epoch.set(epochs.max(self.epoch.get()));
        self.stalled.get()
    }

    fn count(&self, epoch: u64, more: i32) {
        let is_late = self.epoch.get() - epoch >= EPOCHS as u64;
        let count = if is_late { Some(&self.stalled) } else { self.slot(epoch) };
        if let Some(count) = count {
            count.set(count.get().saturating_add_signed(more));
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
            assert_eq!(unsent.stalled(at(seconds)), 0);
            drop(taken);
        }
        let left = unsent.wait();
        let stalled = (100..200).find(|seconds| unsent.stalled(at(*seconds)) > 0).unwrap();
        assert!((115..=120).contains(&stalled), "{stalled}");
        // It goes on to be late, and nobody else is blamed for it.
        for seconds in 120..200 {
            let taken = unsent.wait();
            assert_eq!(unsent.stalled(at(seconds)), 1);
            drop(taken);
        }
        let second = unsent.wait();
        assert_eq!(unsent.stalled(at(300)), 2);
        drop(left);
        assert_eq!(unsent.stalled(at(301)), 1);
        drop(second);
        assert_eq!(unsent.stalled(at(302)), 0);
        assert!(unsent.waiting.iter().all(|place| place.get() == 0));
    }

    #[test]
    fn a_connection_that_was_not_looked_at_for_long_is_not_blamed_for_it() {
        let unsent = Rc::new(Unsent::new(TO_BEGIN));
        assert_eq!(unsent.stalled(unsent.opened + Duration::from_secs(1000)), 0);
        let _waiting = unsent.wait();
        assert_eq!(unsent.stalled(unsent.opened + Duration::from_secs(1006)), 0);
    }
}

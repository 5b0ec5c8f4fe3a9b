//! How much is under way: counted by each core in a place of its own, summed by whoever asks.
//!
//! A core writes only its own slot, so counting needs no locked instruction and moves no cache line
//! between cores.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// What one core has under way.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Slot {
    requests: AtomicU32,
    connections: AtomicU32,
    pending: AtomicU32,
    begun: AtomicU64,
}

/// What all cores have under way.
#[derive(Debug)]
pub(crate) struct Load(Box<[Slot]>);

/// What can be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Requests, to the end of their answers.
    Requests,
    /// Open connections.
    Connections,
    /// Requests that wait for a connection to be made.
    Pending,
}

impl What {
    const fn of(self, slot: &Slot) -> &AtomicU32 {
        match self {
            Self::Requests => &slot.requests,
            Self::Connections => &slot.connections,
            Self::Pending => &slot.pending,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Connections => "connections",
            Self::Pending => "pending",
        }
    }
}

impl Load {
    pub(crate) fn new(cores: usize) -> Self {
        Self((0..cores.max(1)).map(|_| Slot::default()).collect())
    }

    /// How many cores count.
    pub(crate) fn cores(&self) -> usize {
        self.0.len()
    }

    /// What `core` counts of `what`.
    pub(crate) fn own(&self, core: usize, what: What) -> u32 {
        self.0.get(core).map_or(0, |slot| what.of(slot).load(Relaxed))
    }

    /// What all of them count.
    pub(crate) fn sum(&self, what: What) -> u32 {
        self.0.iter().fold(0, |sum, slot| sum.saturating_add(what.of(slot).load(Relaxed)))
    }

    /// Requests that ever began.
    pub(crate) fn begun(&self) -> u64 {
        self.0.iter().map(|slot| slot.begun.load(Relaxed)).sum()
    }

    /// Whether one more stays within `limit`. Of a large limit, each core takes a quarter of its part
    /// without a look at the others. Several that look at the same moment may each go over by one.
    pub(crate) fn has_room(&self, core: usize, what: What, limit: u32) -> bool {
        const LARGE: u32 = 1024;
        let cores = u32::try_from(self.0.len()).unwrap_or(u32::MAX).saturating_mul(4);
        let unasked = if limit < LARGE { 0 } else { limit / cores };
        self.own(core, what) < unasked || self.sum(what) < limit
    }

    /// INVARIANT: only the thread of `core` calls this with it.
    pub(crate) fn more(&self, core: usize, what: What) {
        let Some(slot) = self.0.get(core) else { return };
        let count = what.of(slot);
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        if what == What::Requests {
            slot.begun.store(slot.begun.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// INVARIANT: as for `more`.
    pub(crate) fn less(&self, core: usize, what: What) {
        let Some(slot) = self.0.get(core) else { return };
        let count = what.of(slot);
        count.store(count.load(Relaxed).saturating_sub(1), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_up_to_the_limit_however_cores_share_it() {
        for cores in 1..5 {
            let load = Load::new(cores);
            for taken in 0..7 {
                assert!(load.has_room(0, What::Requests, 7), "{cores} cores, {taken} taken");
                load.more(0, What::Requests);
            }
            for core in 0..cores {
                assert!(!load.has_room(core, What::Requests, 7), "core {core} of {cores}");
            }
            load.less(0, What::Requests);
            assert!(load.has_room(0, What::Requests, 7));
            assert_eq!(load.begun(), 7);
        }
    }
}

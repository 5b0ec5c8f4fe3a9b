//! How late a core is: how long what is ready waits until the core gets to it.
//!
//! Everything on a core takes its turn. A core that has more to do than it can makes each of its requests
//! wait for all the others, and each new one makes it worse. So a core that is too late takes nothing new
//! until it has caught up. One look that comes too late is a machine that paused; two in a row are a core
//! that does not keep up. A request reads a flag for it, and no clock.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::time::Instant;

use crate::core::Core;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Whether a core keeps up.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    looks: Cell<Looks>,
}

/// What the last looks say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Looks {
    /// How many in a row came too late.
    in_row: u32,
}

impl Lateness {
    /// Whether the core takes nothing new.
    pub(crate) fn is_too_much(&self) -> bool {
        self.looks.get().are_too_late()
    }
}

impl Looks {
    const ENOUGH: u32 = 2;

    fn are_too_late(self) -> bool {
        self.in_row >= Self::ENOUGH
    }

    fn and(self, is_late: bool) -> Self {
        Self { in_row: if is_late { self.in_row.saturating_add(1) } else { 0 } }
    }
}

/// Looks whether `core` is more than `most` late, for as long as it runs.
pub(crate) async fn watch(core: Rc<Core>, most: Duration) {
    loop {
        let due = Instant::now() + LOOK;
        tokio::time::sleep_until(due).await;
        let late = Instant::now().saturating_duration_since(due);
        let (before, after) = {
            let before = core.lateness.looks.get();
            (before, before.and(late > most))
        };
        core.lateness.looks.set(after);
        if before.are_too_late() != after.are_too_late() {
            let (number, late_ms) = (core.number, late.as_millis());
            if after.are_too_late() {
                tracing::warn!(core = number, late_ms, "core.late: it takes nothing new");
            } else {
                tracing::info!(core = number, "core.on_time: it takes new requests again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pause_is_no_overload_and_one_look_in_time_ends_it() {
        let mut looks = Looks::default();
        let mut says = |is_late| {
            looks = looks.and(is_late);
            looks.are_too_late()
        };
        assert!(!says(true) && !says(false) && !says(true));
        assert!(says(true) && says(true));
        assert!(!says(false) && !says(true));
    }
}

//! How long a connection may carry nothing, and how much it may carry.

use std::{cell::Cell, time::Instant};

use portcullis_policy::bundle::TcpLimits;

/// The bounds of one connection, and when it was seen to carry something last.
#[derive(Debug)]
pub(super) struct Bounds {
    limits: TcpLimits,
    /// What it had carried then.
    seen: Cell<(u64, Instant)>,
}

impl Bounds {
    pub(super) fn new(limits: TcpLimits, now: Instant) -> Self {
        Self { limits, seen: Cell::new((0, now)) }
    }

    /// Whether it may carry so many bytes in all.
    pub(super) fn admit(&self, bytes: u64) -> bool {
        self.limits.max_bytes.is_none_or(|most| bytes <= most)
    }

    /// Whether it has carried nothing for too long. It is looked at now and then, so that no byte that passes
    /// costs a look at a clock.
    pub(super) fn is_idle(&self, bytes: u64, now: Instant) -> bool {
        let (carried, since) = self.seen.get();
        if carried != bytes {
            self.seen.set((bytes, now));
            return false;
        }
        now.saturating_duration_since(since) >= self.limits.idle.get()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_model::Window;

    use super::*;

    #[test]
    fn what_carries_nothing_is_idle_and_what_carries_is_not() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let limits = TcpLimits { idle: Window::minutes(1), max_bytes: Some(10) };
        let bounds = Bounds::new(limits, begun);
        assert!(!bounds.is_idle(0, at(59)) && bounds.is_idle(0, at(60)));
        assert!(!bounds.is_idle(5, at(70)) && !bounds.is_idle(5, at(129)));
        assert!(bounds.is_idle(5, at(130)));
        assert!(bounds.admit(10) && !bounds.admit(11));
        let none = Bounds::new(TcpLimits { max_bytes: None, ..limits }, begun);
        assert!(none.admit(u64::MAX));
    }
}

//! What was said of late: a tool that tries again and again is told each time, and whoever looks on is not.
//!
//! It is asked before control is, so that no tool can make it busy with questions; nothing is kept for longer than
//! a few seconds.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use tokio::time::Instant;

/// So long the same is not said again.
const AGAIN: Duration = Duration::from_secs(5);

/// What it was said of, and when.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<String, Instant>);

impl Said {
    /// Whether something is to be said of `what`, an operation or else a service; then it is taken for said.
    pub(super) fn is_due(&mut self, what: &str, now: Instant) -> bool {
        self.0.retain(|_, said| now.duration_since(*said) < AGAIN);
        match self.0.entry(what.to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(now);
                true
            }
        }
    }

    /// `operation` was granted: what is refused from now on is something else.
    pub(super) fn forget(&mut self, operation: &str) {
        let is_of = |what: &str| {
            let rest = operation.strip_prefix(what);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.retain(|what, _| !is_of(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_and_again_is_said_once_in_a_while() {
        let (mut said, start) = (Said::default(), Instant::now());
        assert!(said.is_due("shop.PUT", start));
        for second in 1..5 {
            assert!(!said.is_due("shop.PUT", start + Duration::from_secs(second)));
        }
        assert!(said.is_due("shop.POST", start + Duration::from_secs(4)), "another operation");
        assert!(said.is_due("shop.PUT", start + AGAIN), "retries do not put it off");
        assert!(said.is_due("shop.PUT", start + AGAIN * 3));
        assert_eq!(said.0.len(), 1, "what is long ago is not kept");
    }

    #[test]
    fn what_was_granted_is_said_when_it_is_refused_again() {
        let (mut said, now) = (Said::default(), Instant::now());
        for what in ["shop", "shop.PUT", "shop.POST", "sho"] {
            assert!(said.is_due(what, now));
        }
        said.forget("shop.PUT");
        assert!(said.is_due("shop.PUT", now) && said.is_due("shop", now));
        assert!(!said.is_due("shop.POST", now) && !said.is_due("sho", now));
    }
}

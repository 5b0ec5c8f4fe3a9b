//! How a sink is doing, for people and metrics.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Form, SinkSpec};

/// However long a receiver says that it wants to be left alone.
const LONGEST_REST: Duration = Duration::from_hours(1);

/// Kept by whoever reads for the sink, read by everybody.
#[derive(Debug, Default)]
pub struct Standing(Mutex<State>);

#[derive(Debug, Default, Clone)]
pub(super) struct State {
    /// Since when and why what was sent was set aside, while nothing has arrived since.
    pub(super) passed_over: Option<(Timestamp, String)>,
    pub(super) next: u64,
    pub(super) behind: u64,
    pub(super) delivered: u64,
    pub(super) failures: u64,
    pub(super) delivered_at: Option<Timestamp>,
    pub(super) failing_since: Option<Timestamp>,
    pub(super) trouble: Option<String>,
    /// It wants to be left alone until then.
    rests_until: Option<Instant>,
}

/// How a sink is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkView {
    /// Its name in configuration.
    pub name: String,
    /// Where it leads, without anything secret.
    pub place: String,
    /// What it gets.
    pub form: Form,
    /// The position that is read next.
    pub next: u64,
    /// Entries of the log that have not been looked at.
    pub behind: u64,
    /// Events that arrived since the process started.
    pub delivered: u64,
    /// Attempts that failed since the process started.
    pub failures: u64,
    /// When something last arrived.
    pub delivered_at: Option<Timestamp>,
    /// Since when nothing arrives.
    pub failing_since: Option<Timestamp>,
    /// Why.
    pub trouble: Option<String>,
}

impl Standing {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It said that it wants to be left alone; an hour at most is believed. What it said before stays, if that
    /// is longer: several messages may be under way.
    pub(crate) fn rests(&self, rest: SignedDuration) {
        let rest = Duration::try_from(rest).unwrap_or_default().min(LONGEST_REST);
        if rest.is_zero() {
            return;
        }
        let until = Instant::now().checked_add(rest);
        let mut state = self.state();
        state.rests_until = state.rests_until.max(until);
    }

    /// For how long it still wants to be left alone.
    pub(crate) fn rest(&self) -> Option<Duration> {
        let rest = self.state().rests_until?.saturating_duration_since(Instant::now());
        Some(rest).filter(|rest| !rest.is_zero())
    }

    pub(super) fn view(&self, spec: &SinkSpec) -> SinkView {
        let State {
            next, behind, delivered, failures, delivered_at, failing_since, trouble, ..
        } = self.state().clone();
        SinkView {
            name: spec.name.clone(),
            place: spec.place.clone(),
            form: spec.form,
            next,
            behind,
            delivered,
            failures,
            delivered_at,
            failing_since,
            trouble,
        }
    }

    /// Since when and why what was sent was set aside, if nothing has arrived since.
    pub(crate) fn passed_over(&self) -> Option<(Timestamp, String)> {
        self.state().passed_over.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_that_was_asked_for_is_made_longer_and_never_shorter() {
        let standing = Standing::default();
        standing.rests(SignedDuration::ZERO);
        assert_eq!(standing.rest(), None);
        standing.rests(SignedDuration::from_mins(30));
        let asked = standing.state().rests_until;
        for shorter in [0, -1, 60] {
            standing.rests(SignedDuration::from_secs(shorter));
            assert_eq!(standing.state().rests_until, asked, "{shorter}");
        }
        standing.rests(SignedDuration::MAX);
        assert!(standing.state().rests_until > asked);
        assert!(standing.rest().unwrap() <= LONGEST_REST);
    }
}

//! How a sink is doing, for people and metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{Form, SinkSpec};

/// Kept by whoever reads for the sink, read by everybody.
#[derive(Debug, Default)]
pub struct Standing(Mutex<State>);

#[derive(Debug, Default, Clone)]
pub(super) struct State {
    pub(super) next: u64,
    pub(super) behind: u64,
    pub(super) delivered: u64,
    pub(super) failures: u64,
    pub(super) delivered_at: Option<Timestamp>,
    pub(super) failing_since: Option<Timestamp>,
    pub(super) trouble: Option<String>,
    pub(super) rests_until: Option<Timestamp>,
    /// What was last sent was set aside: that what comes after it goes on is no sign that anything arrives.
    pub(super) passed_over: bool,
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
    /// It wants to be left alone until then.
    pub rests_until: Option<Timestamp>,
}

impl Standing {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something arrived that is no entry that waits: a test, or what was set aside.
    pub(crate) fn arrived(&self, at: Timestamp) {
        let mut state = self.state();
        state.delivered_at = state.delivered_at.max(Some(at));
        // What waits at the head says by itself when it arrives.
        if std::mem::take(&mut state.passed_over) {
            state.failing_since = None;
            state.trouble = None;
        }
    }

    pub(crate) fn view(&self, spec: &SinkSpec) -> SinkView {
        let State {
            next,
            behind,
            delivered,
            failures,
            delivered_at,
            failing_since,
            trouble,
            rests_until,
            passed_over: _,
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
            rests_until,
        }
    }
}

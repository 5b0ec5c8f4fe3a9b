//! Runs, and until when each is believed to go on.
//!
//! In memory on purpose: a restart gives every run its whole interval again, because while control
//! was away nobody could have been heard. No run outlives the end that is stored with it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use portcullis_model::SignInId;

/// When each run has to be heard of again.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats(Mutex<HashMap<SignInId, Timestamp>>);

impl Heartbeats {
    /// It was heard of.
    pub(crate) fn heard(&self, run: SignInId, until: Timestamp) {
        self.runs().insert(run, until);
    }

    /// Until when it is believed to go on; `None` for what is no run, or over.
    pub(crate) fn until(&self, run: SignInId) -> Option<Timestamp> {
        self.runs().get(&run).copied()
    }

    /// It is over.
    pub(crate) fn over(&self, run: SignInId) {
        self.runs().remove(&run);
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<SignInId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

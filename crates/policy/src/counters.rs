//! How often policies could not be evaluated.

use std::sync::atomic::{AtomicU64, Ordering};

/// Evaluation errors since the bundle was loaded, for metrics.
#[derive(Debug, Default)]
pub struct EvaluationErrors {
    permits: AtomicU64,
    forbids: AtomicU64,
    too_long: AtomicU64,
}

impl EvaluationErrors {
    /// Permits that did not apply because they could not be evaluated.
    pub fn permits(&self) -> u64 {
        self.permits.load(Ordering::Relaxed)
    }

    /// Forbids that denied because they could not be evaluated.
    pub fn forbids(&self) -> u64 {
        self.forbids.load(Ordering::Relaxed)
    }

    /// Evaluations that took too long, and so denied.
    pub fn too_long(&self) -> u64 {
        self.too_long.load(Ordering::Relaxed)
    }

    pub(crate) fn count_too_long(&self) {
        self.too_long.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_permit(&self) {
        self.permits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_forbid(&self) {
        self.forbids.fetch_add(1, Ordering::Relaxed);
    }
}

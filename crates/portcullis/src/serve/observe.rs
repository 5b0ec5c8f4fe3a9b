//! What operators ask: metrics, and whether the process can serve.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_api::parts::{Readiness, RenderMetrics};
use portcullis_control::Control;
use portcullis_log::{Health, HealthState};
use prometheus_client::{encoding::text::encode, registry::Registry};

/// Renders `registry`.
pub(super) fn metrics(registry: Registry) -> RenderMetrics {
    let registry = Mutex::new(registry);
    Box::new(move || {
        let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        match encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "metrics cannot be rendered");
                String::new()
            }
        }
    })
}

/// What keeps the process from serving.
pub(super) fn readiness(health: Arc<Health>, control: &Arc<Control>) -> Readiness {
    let control = Arc::downgrade(control);
    Box::new(move || {
        let record = match health.state() {
            HealthState::Working => None,
            HealthState::Behind => Some("the record is behind".to_owned()),
            HealthState::Broken(why) => Some(format!("the record cannot be written: {why}")),
        };
        let events = match control.upgrade() {
            Some(control) if control.is_on_record() => None,
            Some(_) => Some("events do not reach the record".to_owned()),
            None => Some("the process is stopping".to_owned()),
        };
        record.into_iter().chain(events).collect()
    })
}

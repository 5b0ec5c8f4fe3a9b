//! What operators ask: metrics, and whether the process can serve.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis_api::{
    parts::{Readiness, Ready, RenderMetrics, Standing},
    services::{HealthBody, InstanceBody},
};
use portcullis_control::Snapshots;
use portcullis_log::HealthState;
use portcullis_proxy::{Health, Metrics};
use portcullis_store::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::counter::ConstCounter,
    registry::Registry,
};

use super::{certificates::Certificates, house::House};
use crate::ship::Shipping;

/// How the gate finds the instances of a service.
pub(super) fn standing(metrics: &Arc<Metrics>) -> Standing {
    let metrics = Arc::clone(metrics);
    Box::new(move |service| {
        let all = metrics.standing(service).into_iter().map(|instance| InstanceBody {
            name: instance.instance.to_string(),
            zone: instance.zone,
            health: match instance.health {
                Health::Up => HealthBody::Up,
                Health::Unwell => HealthBody::Unwell,
                Health::Ejected => HealthBody::Ejected,
            },
        });
        all.collect()
    })
}

/// A store that takes longer is as good as gone.
const STORE_ANSWERS: Duration = Duration::from_secs(2);

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

/// What the bundle in force could not evaluate, as the decision point counts it.
#[derive(Debug)]
pub(super) struct Evaluations(pub(super) Arc<Snapshots>);

impl Collector for Evaluations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.0.current();
        let found = snapshot.bundle().evaluation_errors();
        let counts = [
            ("permits_in_error", "Permits that did not apply: they erred", found.permits()),
            ("forbids_in_error", "Forbids that denied: they erred", found.forbids()),
            ("evaluations_too_long", "Evaluations that denied: too long", found.too_long()),
        ];
        for (name, help, count) in counts {
            let counter = ConstCounter::new(count);
            let name = format!("portcullis_policy_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

/// What keeps the process from serving: the record, the way to it, the store, or a door without a
/// certificate.
pub(super) fn readiness(
    house: &House,
    certificates: &Arc<Certificates>,
    shipping: Option<Arc<Shipping>>,
) -> Readiness {
    let (health, store) = (house.log.handle().health(), Arc::clone(&house.store));
    let control = Arc::downgrade(&house.control);
    let certificates = Arc::clone(certificates);
    Box::new(move || {
        let record = match health.state() {
            HealthState::Working => None,
            HealthState::Behind => Some("the record is behind".to_owned()),
            HealthState::Stalled(why) => {
                Some(format!("the record waits for room, and goes on by itself: {why}"))
            }
            HealthState::Broken(why) => {
                Some(format!("the record cannot be written until the next start: {why}"))
            }
        };
        let events = match control.upgrade() {
            Some(control) if control.is_on_record() => None,
            Some(_) => Some("events do not reach the record".to_owned()),
            None => Some("the process is stopping".to_owned()),
        };
        let unshipped = shipping.as_ref().and_then(|shipping| shipping.trouble());
        let notes = unshipped.map(|why| format!("the record is not shipped: {why}"));
        let notes = notes.into_iter().collect();
        let (store, missing) = (Arc::clone(&store), certificates.missing());
        Box::pin(async move {
            let record = record.into_iter().chain(events).chain(missing);
            let reasons = record.chain(trouble_of(store.as_ref()).await).collect();
            Ready { reasons, notes }
        })
    })
}

/// Why the store cannot be read, if so.
async fn trouble_of(store: &dyn Store) -> Option<String> {
    match tokio::time::timeout(STORE_ANSWERS, store.last_logged()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("the store cannot be read: {error}")),
        Err(_) => Some("the store does not answer".to_owned()),
    }
}

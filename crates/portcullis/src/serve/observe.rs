//! What operators ask: metrics, and whether the process can serve.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis_api::{
    parts::{MetricsFormat, Readiness, Ready, RenderMetrics, Standing},
    services::{HealthBody, InstanceBody},
};
use portcullis_control::Snapshots;
use portcullis_log::{Health, HealthState, Log, LogError, Reader};
use portcullis_proxy::Metrics;
use portcullis_store::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode_registry},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
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
                portcullis_proxy::Health::Up => HealthBody::Up,
                portcullis_proxy::Health::Unwell => HealthBody::Unwell,
                portcullis_proxy::Health::Ejected => HealthBody::Ejected,
            },
        });
        all.collect()
    })
}

/// A store that takes longer is as good as gone.
const STORE_ANSWERS: Duration = Duration::from_secs(2);

/// Renders `registry`, and what the gate counts beside it.
pub(super) fn metrics(registry: Registry, gate: Arc<Metrics>) -> RenderMetrics {
    let registry = Mutex::new(registry);
    Box::new(move |format| {
        let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if let Err(error) = encode_registry(&mut text, &registry) {
            tracing::error!(%error, "metrics cannot be rendered");
            return String::new();
        }
        gate.render(&mut text);
        match format {
            MetricsFormat::OpenMetrics => text + "# EOF\n",
            MetricsFormat::Prometheus => super::exposition::classic(&text),
        }
    })
}

/// Shows what the decision point and the record count.
pub(super) fn register(
    house: &House,
    shipping: Option<&Arc<Shipping>>,
    registry: &mut Registry,
) -> Result<(), LogError> {
    let snapshots = Arc::clone(house.control.snapshots());
    registry.register_collector(Box::new(Evaluations(snapshots)));
    registry.register_collector(Box::new(Record::of(&house.log)?));
    registry.register_collector(Box::new(house.anchors.clone()));
    super::record_metrics::register(registry, house, shipping);
    Ok(())
}

/// What is seen of the record.
#[derive(Debug)]
struct Record {
    health: Arc<Health>,
    reader: Reader,
}

impl Record {
    fn of(log: &Log) -> Result<Self, LogError> {
        Ok(Self { health: log.handle().health(), reader: Reader::open(log.directory())? })
    }
}

impl Collector for Record {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut show = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            let name = format!("portcullis_record_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, gauge.metric_type())?;
            gauge.encode(metric)
        };
        let working = if self.health.is_working() { 1.0 } else { 0.0 };
        show("working", "1 while the record is written and is not behind", working)?;
        let help = "How long what is not in a signed checkpoint yet may have waited for that";
        show("lag_seconds", help, self.health.lag().as_secs_f64())?;
        // What cannot be read is not shown: nothing is no size.
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 entries")]
        let size = self.reader.size().map(|size| size as f64);
        if let Ok(size) = size {
            show("entries", "Entries in the newest signed checkpoint", size)?;
        }
        if let Some(signed) = self.reader.signed_at() {
            let help = "When the newest checkpoint was signed, in seconds since 1970";
            show("checkpoint_timestamp_seconds", help, signed.as_secs_f64())?;
        }
        Ok(())
    }
}

/// What the bundle in force could not evaluate, as the decision point counts it.
#[derive(Debug)]
struct Evaluations(Arc<Snapshots>);

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
        let unsealed = health.unsealed();
        let unsealed =
            unsealed.map(|why| format!("the record is not sealed until the next start: {why}"));
        let notes = notes.into_iter().chain(unsealed).collect();
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

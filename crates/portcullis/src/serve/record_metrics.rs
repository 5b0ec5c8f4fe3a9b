//! How the record is, for Prometheus.

use std::{fmt, sync::Arc};

use portcullis_log::{Health, HealthState};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{connected::Connected, house::House, passed_on::PassedOn};
use crate::ship::Shipping;

/// Adds what is known of the record of `house`, and of who gets it, to the metrics.
pub(super) fn register(registry: &mut Registry, house: &House, shipping: Option<&Arc<Shipping>>) {
    let (health, shipping) = (house.log.handle().health(), shipping.cloned());
    registry.register_collector(Box::new(RecordMetrics { health, shipping }));
    registry.register_collector(Box::new(PassedOn::of(&house.control)));
    registry.register_collector(Box::new(Connected::of(&house.control)));
}

/// Asks the record when somebody wants to know.
#[derive(Debug)]
struct RecordMetrics {
    health: Arc<Health>,
    shipping: Option<Arc<Shipping>>,
}

impl Collector for RecordMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.health.state();
        let gauges = [
            ("bytes", "Bytes that it takes; 0 without a quota", count(self.health.used())),
            (
                "sealed_segments",
                "Spans of 65,536 entries that are sealed",
                count(self.health.sealed()),
            ),
            ("waits_for_room", "1 while the disk has no room", i64::from(is_stalled(&state))),
            ("broken", "1 from a failed sync to the next start", i64::from(is_broken(&state))),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let name = format!("portcullis_record_{name}");
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        if let Some(shipping) = &self.shipping {
            encode_shipping(shipping, &mut encoder)?;
        }
        let stalls = ConstCounter::new(self.health.stalls());
        let help = "Times that the disk had no room for the record";
        let name = "portcullis_record_stalls";
        stalls.encode(encoder.encode_descriptor(name, help, None, stalls.metric_type())?)
    }
}

fn encode_shipping(
    shipping: &Shipping,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let gauges = [
        ("shipped_entries", "Entries that are copied elsewhere", count(shipping.entries())),
        (
            "shipped_segments",
            "Sealed segments that are copied elsewhere",
            count(shipping.segments()),
        ),
        ("unshipped", "1 while copying fails", i64::from(shipping.trouble().is_some())),
    ];
    for (name, help, value) in gauges {
        let gauge = ConstGauge::new(value);
        let name = format!("portcullis_record_{name}");
        gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
    }
    let failures = ConstCounter::new(shipping.failures());
    let (name, help) = ("portcullis_record_shipping_failures", "Times that copying failed");
    failures.encode(encoder.encode_descriptor(name, help, None, failures.metric_type())?)
}

fn is_stalled(state: &HealthState) -> bool {
    matches!(state, HealthState::Stalled(_))
}

fn is_broken(state: &HealthState) -> bool {
    matches!(state, HealthState::Broken(_))
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

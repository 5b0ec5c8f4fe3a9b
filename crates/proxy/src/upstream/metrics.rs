//! What is counted of upstreams. Labels are names of services and of their instances: as many as the
//! configuration lists and discovery takes, and no more.

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{Registry, conditions::Conditions, load::What, service::Service};

/// Reads the registry whenever somebody asks, so that requests pay nothing for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Upstreams(Arc<OnceLock<Arc<Registry>>>);

impl Upstreams {
    /// What is read from now on.
    pub(crate) fn watch(&self, registry: Arc<Registry>) {
        let _ = self.0.set(registry);
    }

    pub(crate) fn watched(&self) -> Option<&Registry> {
        self.0.get().map(|registry| &**registry)
    }
}

const OF_INSTANCES: [(&str, &str, What); 2] = [
    ("upstream_requests", "Requests under way, by instance", What::Requests),
    ("upstream_connections", "Open connections, by instance", What::Connections),
];

impl Collector for Upstreams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(registry) = self.0.get() else { return Ok(()) };
        let all = registry.all();
        for (name, help, what) in OF_INSTANCES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for service in &all {
                for instance in &service.instances {
                    let value = i64::from(instance.load.sum(what));
                    let labels =
                        [("service", service.name.as_str()), ("instance", instance.name.as_str())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        states(&mut encoder, &all)?;
        let help = "How often an instance was left out because its requests failed";
        let mut family =
            encoder.encode_descriptor("upstream_ejections", help, None, MetricType::Counter)?;
        for service in &all {
            for instance in &service.instances {
                let labels =
                    [("service", service.name.as_str()), ("instance", instance.name.as_str())];
                let count = instance.ejections.load(Relaxed);
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        counts(&mut encoder, &all)
    }
}

fn states(encoder: &mut DescriptorEncoder<'_>, all: &[Arc<Service>]) -> fmt::Result {
    type Asks = fn(&Conditions, usize, u64) -> bool;
    let of_instances: [(&str, &str, Asks); 2] = [
        ("upstream_up", "1 while an instance is well and not left out", Conditions::is_up),
        ("upstream_ejected", "1 while an instance is left out", Conditions::is_ejected),
    ];
    for (name, help, asks) in of_instances {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for service in all {
            let now = service.now();
            let conditions = service.conditions();
            for (at, instance) in service.instances.iter().enumerate() {
                let labels =
                    [("service", service.name.as_str()), ("instance", instance.name.as_str())];
                let says = i64::from(asks(&conditions, at, now));
                ConstGauge::new(says).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    let help = "1 while so few instances are up that all are used";
    let mut family = encoder.encode_descriptor("upstream_panic", help, None, MetricType::Gauge)?;
    for service in all {
        let panic = i64::from(service.conditions().choice(service.now()).panic);
        let labels = [("service", service.name.as_str())];
        ConstGauge::new(panic).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counts(encoder: &mut DescriptorEncoder<'_>, all: &[Arc<Service>]) -> fmt::Result {
    let help = "Requests sent again, and those that the budget left no room for";
    let mut family =
        encoder.encode_descriptor("upstream_retries", help, None, MetricType::Counter)?;
    for service in all {
        let made = service.counts.retries.load(Relaxed);
        let over = service.counts.over_budget.load(Relaxed);
        for (what, count) in [("made", made), ("over_budget", over)] {
            let labels = [("service", service.name.as_str()), ("what", what)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Requests refused because as much was under way as may be, by limit";
    let mut family =
        encoder.encode_descriptor("upstream_overloads", help, None, MetricType::Counter)?;
    for service in all {
        for what in [What::Requests, What::Connections, What::Pending] {
            let count = service.counts.refused(what);
            let labels = [("service", service.name.as_str()), ("limit", what.word())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Failed attempts to find instances; the last answer that was one stays";
    let mut family = encoder.encode_descriptor(
        "upstream_discovery_failures",
        help,
        None,
        MetricType::Counter,
    )?;
    for service in all.iter().filter(|service| service.settings.dns.is_some()) {
        let labels = [("service", service.name.as_str())];
        let count = service.counts.unknown.load(Relaxed);
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

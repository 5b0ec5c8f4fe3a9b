//! What operators see of the record being passed on, and of alerts. Labels are names from the configuration.

use std::sync::Arc;

use portcullis_control::{Control, export::SinkView};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// See the module. Control is not kept alive by it.
#[derive(Debug)]
pub(super) struct PassedOn(pub(super) std::sync::Weak<Control>);

impl PassedOn {
    pub(super) fn of(control: &Arc<Control>) -> Self {
        Self(Arc::downgrade(control))
    }
}

type Ended = Result<(), std::fmt::Error>;

impl Collector for PassedOn {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Ended {
        let Some(control) = self.0.upgrade() else { return Ok(()) };
        let views = control.sinks().views();
        if !views.is_empty() {
            let behind = "Entries of the record that a sink has not been told of";
            gauges(&mut encoder, &views, "behind", behind, |view| view.behind)?;
            let failing = "1 while nothing arrives at a sink";
            gauges(&mut encoder, &views, "failing", failing, |view| {
                u64::from(view.failing_since.is_some())
            })?;
            let delivered = "Events that arrived at a sink";
            counters(&mut encoder, &views, "delivered", delivered, |view| view.delivered)?;
            let failures = "Attempts to reach a sink that failed";
            counters(&mut encoder, &views, "failures", failures, |view| view.failures)?;
        }
        let fired = control.rules().counts();
        if !fired.is_empty() {
            let help = "Times that an alert rule fired";
            let kind = ConstCounter::new(0u64).metric_type();
            let mut metric =
                encoder.encode_descriptor("portcullis_alerts_fired", help, None, kind)?;
            for (rule, count) in fired {
                let labels = [("rule", rule)];
                ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn labels(view: &SinkView) -> [(&'static str, String); 2] {
    [("kind", view.form.word().to_owned()), ("sink", view.name.clone())]
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    views: &[SinkView],
    name: &str,
    help: &str,
    of: impl Fn(&SinkView) -> u64,
) -> Ended {
    let kind = ConstGauge::new(0i64).metric_type();
    let name = format!("portcullis_export_{name}");
    let mut metric = encoder.encode_descriptor(&name, help, None, kind)?;
    for view in views {
        let value = i64::try_from(of(view)).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(metric.encode_family(&labels(view))?)?;
    }
    Ok(())
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    views: &[SinkView],
    name: &str,
    help: &str,
    of: impl Fn(&SinkView) -> u64,
) -> Ended {
    let kind = ConstCounter::new(0u64).metric_type();
    let name = format!("portcullis_export_{name}");
    let mut metric = encoder.encode_descriptor(&name, help, None, kind)?;
    for view in views {
        ConstCounter::new(of(view)).encode(metric.encode_family(&labels(view))?)?;
    }
    Ok(())
}

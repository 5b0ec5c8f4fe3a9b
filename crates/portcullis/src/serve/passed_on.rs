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

pub(super) type Ended = Result<(), std::fmt::Error>;
/// Names from the configuration.
pub(super) type Labels = [(&'static str, String); 2];

impl Collector for PassedOn {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Ended {
        let Some(control) = self.0.upgrade() else { return Ok(()) };
        let views = control.sinks().views();
        let encoder = &mut encoder;
        let of =
            |value: fn(&SinkView) -> u64| views.iter().map(move |view| (labels(view), value(view)));
        let help = "Entries of the record that a sink has not been told of";
        gauges(encoder, "portcullis_export_behind", help, of(|view| view.behind))?;
        let help = "1 while nothing arrives at a sink";
        let failing = of(|view| u64::from(view.failing_since.is_some()));
        gauges(encoder, "portcullis_export_failing", help, failing)?;
        let help = "Events that arrived at a sink";
        counters(encoder, "portcullis_export_delivered", help, of(|view| view.delivered))?;
        let help = "Attempts to reach a sink that failed";
        counters(encoder, "portcullis_export_failures", help, of(|view| view.failures))?;
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

fn labels(view: &SinkView) -> Labels {
    [("kind", view.form.word().to_owned()), ("sink", view.name.clone())]
}

/// Where there is no value, there is no such metric.
pub(super) fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels, u64)>,
) -> Ended {
    let values = values
        .map(|(labels, value)| (labels, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))));
    each(encoder, name, help, values)
}

/// The same.
pub(super) fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels, u64)>,
) -> Ended {
    each(encoder, name, help, values.map(|(labels, value)| (labels, ConstCounter::new(value))))
}

fn each(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels, impl EncodeMetric)>,
) -> Ended {
    let mut values = values.peekable();
    let Some((_, first)) = values.peek() else { return Ok(()) };
    let mut metric = encoder.encode_descriptor(name, help, None, first.metric_type())?;
    for (labels, value) in values {
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

//! What operators see of connected systems. Labels are names from the configuration.

use std::sync::{Arc, Weak};

use jiff::Timestamp;
use portcullis_control::{Control, views::ConnectorView};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// See the module. Control is not kept alive by it.
#[derive(Debug)]
pub(super) struct Connected(Weak<Control>);

impl Connected {
    pub(super) fn of(control: &Arc<Control>) -> Self {
        Self(Arc::downgrade(control))
    }
}

type Ended = Result<(), std::fmt::Error>;

impl Collector for Connected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Ended {
        let Some(control) = self.0.upgrade() else { return Ok(()) };
        let views = control.connectors_now();
        let encoder = &mut encoder;
        let help = "1 unless a connected system does not take what it is sent, or does not answer";
        gauges(encoder, &views, "up", help, |view| Some(u64::from(view.state.is_up())))?;
        let help = "Messages that are due and that a connected system has not taken";
        gauges(encoder, &views, "waiting", help, |view| Some(view.waiting))?;
        let help = "Messages that were set aside and wait for somebody";
        gauges(encoder, &views, "set_aside", help, |view| Some(view.set_aside))?;
        let help = "When a connected system last took or answered something, in seconds since 1970";
        let answered = |view: &ConnectorView| seconds(view.answered_at);
        gauges(encoder, &views, "answered_timestamp_seconds", help, answered)?;
        let help = "When a message of a connected system last came in, in seconds since 1970";
        gauges(encoder, &views, "heard_timestamp_seconds", help, |view| seconds(view.heard_at))?;
        let help = "Until when what a connected system keeps is known, in seconds since 1970";
        let known = |view: &ConnectorView| seconds(view.known_until);
        gauges(encoder, &views, "known_until_timestamp_seconds", help, known)?;
        failures(encoder, &views)
    }
}

fn seconds(at: Option<Timestamp>) -> Option<u64> {
    at.and_then(|at| u64::try_from(at.as_second()).ok())
}

fn labels(view: &ConnectorView) -> [(&'static str, String); 2] {
    [("kind", view.kind.to_owned()), ("connector", view.name.clone())]
}

/// Of those that have a value; where none has, there is no such metric.
fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    views: &[ConnectorView],
    name: &str,
    help: &str,
    of: impl Fn(&ConnectorView) -> Option<u64>,
) -> Ended {
    let values = views.iter().filter_map(|view| Some((view, of(view)?)));
    let values: Vec<_> = values.collect();
    if values.is_empty() {
        return Ok(());
    }
    let kind = ConstGauge::new(0i64).metric_type();
    let name = format!("portcullis_connector_{name}");
    let mut metric = encoder.encode_descriptor(&name, help, None, kind)?;
    for (view, value) in values {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(metric.encode_family(&labels(view))?)?;
    }
    Ok(())
}

fn failures(encoder: &mut DescriptorEncoder<'_>, views: &[ConnectorView]) -> Ended {
    if views.is_empty() {
        return Ok(());
    }
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "Attempts to reach a connected system that failed";
    let name = "portcullis_connector_failures";
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for view in views {
        ConstCounter::new(view.failures).encode(metric.encode_family(&labels(view))?)?;
    }
    Ok(())
}

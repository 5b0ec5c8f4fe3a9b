//! What operators see of connected systems. Labels are names from the configuration.

use std::sync::{Arc, Weak};

use jiff::Timestamp;
use portcullis_control::{Control, views::ConnectorView};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::passed_on::{Ended, Labels, counters, gauges};

/// See the module. Control is not kept alive by it.
#[derive(Debug)]
pub(super) struct Connected(Weak<Control>);

impl Connected {
    pub(super) fn of(control: &Arc<Control>) -> Self {
        Self(Arc::downgrade(control))
    }
}

impl Collector for Connected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Ended {
        let Some(control) = self.0.upgrade() else { return Ok(()) };
        let views = control.connectors_now();
        let encoder = &mut encoder;
        let of = |value: fn(&ConnectorView) -> Option<u64>| {
            views.iter().filter_map(move |view| Some((labels(view), value(view)?)))
        };
        let help = "1 unless a connected system does not take what it is sent, or does not answer";
        let up = of(|view| Some(u64::from(view.state.is_up())));
        gauges(encoder, "portcullis_connector_up", help, up)?;
        let help = "Messages that are due and that a connected system has not taken";
        gauges(encoder, "portcullis_connector_waiting", help, of(|view| Some(view.waiting)))?;
        let help = "Messages that were set aside and wait for somebody";
        gauges(encoder, "portcullis_connector_set_aside", help, of(|view| Some(view.set_aside)))?;
        let help = "When a connected system last took or answered something, in seconds since 1970";
        let answered = of(|view| seconds(view.answered_at));
        gauges(encoder, "portcullis_connector_answered_timestamp_seconds", help, answered)?;
        let help = "When a message of a connected system last came in, in seconds since 1970";
        let heard = of(|view| seconds(view.heard_at));
        gauges(encoder, "portcullis_connector_heard_timestamp_seconds", help, heard)?;
        let help = "Until when what a connected system keeps is known, in seconds since 1970";
        let known = of(|view| seconds(view.known_until));
        gauges(encoder, "portcullis_connector_known_until_timestamp_seconds", help, known)?;
        let help = "Attempts to reach a connected system that failed";
        let failures = of(|view| Some(view.failures));
        counters(encoder, "portcullis_connector_failures", help, failures)
    }
}

fn seconds(at: Option<Timestamp>) -> Option<u64> {
    at.and_then(|at| u64::try_from(at.as_second()).ok())
}

fn labels(view: &ConnectorView) -> Labels {
    [("kind", view.kind.to_owned()), ("connector", view.name.clone())]
}

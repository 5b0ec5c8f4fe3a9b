//! What a sampled request did, phase by phase.
//!
//! A request that is not sampled pays one look at an `Option` for each phase. One that is remembers
//! when its phases began; the spans are made when its answer is over, and handed on without waiting.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    InstanceName, Span, SpanKind, SpanValue, TraceParent, Traces,
    trace::{SpanId, TraceId, known_method},
};

use crate::{canonical::Speaks, core::Core, exchange::Exchange, filter::request::scheme};

/// Where a request is. Each ends where the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Detect,
    Identify,
    Route,
    Inspect,
    Decide,
    Hold,
    Limit,
    Reveal,
    Record,
    Connect,
    /// The upstream has it.
    Forward,
    /// The answer's head is looked at.
    Filter,
    Refuse,
    /// The answer is on its way to the client.
    Answer,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Identify => "identify",
            Self::Route => "route",
            Self::Inspect => "inspect",
            Self::Decide => "decide",
            Self::Hold => "hold",
            Self::Limit => "limit",
            Self::Reveal => "reveal",
            Self::Record => "record",
            Self::Connect => "connect",
            Self::Forward => "forward",
            Self::Filter => "filter",
            Self::Refuse => "refuse",
            Self::Answer => "answer",
        }
    }
}

/// The spans of one request, if it is sampled. They are handed on when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Spans(Option<Box<Recording>>);

#[derive(Debug)]
struct Recording {
    traces: Arc<dyn Traces>,
    trace: TraceId,
    parent: Option<SpanId>,
    id: SpanId,
    /// What the upstream is told.
    forward: SpanId,
    began: Timestamp,
    started: Instant,
    phases: RefCell<Vec<(Phase, Duration)>>,
    told: Cell<(&'static str, Option<&'static str>)>,
    status: Cell<Option<StatusCode>>,
    answered_by: RefCell<Option<InstanceName>>,
    known: RefCell<Known>,
}

/// What is said of a request.
#[derive(Debug, Default)]
struct Known {
    name: Cow<'static, str>,
    attributes: Vec<(&'static str, SpanValue)>,
    forwarded: Vec<(&'static str, SpanValue)>,
}

impl Spans {
    /// Begins with the trace that goes on to the upstream, and what is recorded of this request.
    pub(crate) fn begin(
        core: &Core,
        sent: Option<&TraceParent>,
        now: Timestamp,
        started: Instant,
    ) -> (TraceParent, Self) {
        let trace = TraceParent::next(sent, core.random());
        let Some(traces) = &core.parts.traces else { return (trace, Self::default()) };
        let is_sampled = traces.samples(&trace, sent);
        // A caller who is not followed says nothing to the upstream either.
        let trace = trace.sampled(is_sampled);
        if !is_sampled {
            return (trace, Self::default());
        }
        let mut phases = Vec::with_capacity(16);
        phases.push((Phase::Detect, Duration::ZERO));
        let recording = Recording {
            traces: Arc::clone(traces),
            trace: trace.trace_id_bytes(),
            parent: sent.map(TraceParent::span_id),
            id: core.random(),
            forward: trace.span_id(),
            began: now,
            started,
            phases: RefCell::new(phases),
            told: Cell::default(),
            status: Cell::default(),
            answered_by: RefCell::default(),
            known: RefCell::default(),
        };
        (trace, Self(Some(Box::new(recording))))
    }

    /// Whether there are any: then metrics may point to the trace.
    pub(crate) fn is_sampled(&self) -> bool {
        self.0.is_some()
    }

    /// The next phase begins.
    #[inline]
    pub(crate) fn enter(&self, phase: Phase) {
        if let Some(recording) = &self.0 {
            recording.enter(phase);
        }
    }

    /// What was decided, and why it is refused if it is.
    pub(crate) fn told(&self, decision: &'static str, refusal: Option<&'static str>) {
        if let Some(recording) = &self.0 {
            recording.told.set((decision, refusal));
        }
    }

    /// This instance answered what was permitted.
    pub(crate) fn reached(&self, instance: &InstanceName) {
        if let Some(recording) = &self.0 {
            recording.told.set(("permit", None));
            recording.answered_by.replace(Some(instance.clone()));
        }
    }

    /// The answer has this status.
    pub(crate) fn answered(&self, status: StatusCode) {
        if let Some(recording) = &self.0 {
            recording.status.set(Some(status));
            recording.enter(Phase::Answer);
        }
    }

    /// Learns what is known of the request in the end.
    pub(crate) fn describe(&self, exchange: &Exchange) {
        if let Some(recording) = &self.0 {
            recording.known.replace(known(exchange));
        }
    }
}

impl Recording {
    fn enter(&self, phase: Phase) {
        self.phases.borrow_mut().push((phase, self.started.elapsed()));
    }

    /// The request's own span, and one for each phase.
    fn spans(&self) -> Vec<Span> {
        let phases = self.phases.take();
        let Known { name, mut attributes, mut forwarded } = self.known.take();
        let ended = self.started.elapsed();
        let status = self.status.get();
        let number = status.map(|status| SpanValue::Number(status.as_u16().into()));
        let (decision, refusal) = self.told.get();
        if let Some(instance) = self.answered_by.take() {
            forwarded.push(("portcullis.instance", text(instance.to_string())));
        }
        let words = [("portcullis.decision", Some(decision)), ("portcullis.refusal", refusal)];
        let words = words.into_iter().filter_map(|(key, word)| Some((key, word?)));
        attributes.extend(
            words.filter(|(_, word)| !word.is_empty()).map(|(key, word)| (key, text(word))),
        );
        let code = "http.response.status_code";
        attributes.extend(number.clone().map(|number| (code, number)));
        let failed = status.is_some_and(|status| status.is_server_error());
        if failed {
            attributes.push(("error.type", text(refusal.unwrap_or("upstream"))));
        } else if decision == "permit" && refusal.is_none() {
            forwarded.extend(number.map(|number| (code, number)));
        }
        let mut spans = Vec::with_capacity(phases.len() + 1);
        spans.push(Span {
            trace: self.trace,
            id: self.id,
            parent: self.parent,
            name,
            kind: SpanKind::Server,
            began: self.began,
            ended: at(self.began, ended),
            attributes,
            failed,
        });
        let ends = phases.iter().skip(1).map(|(_, began)| *began).chain([ended]);
        let own = u64::from_be_bytes(self.id);
        for (number, (&(phase, began), ended)) in (1..).zip(phases.iter().zip(ends)) {
            let forward = phase == Phase::Forward;
            spans.push(Span {
                trace: self.trace,
                // As good as random: the request's own is.
                id: if forward {
                    self.forward
                } else {
                    own.wrapping_add(number).max(1).to_be_bytes()
                },
                parent: Some(self.id),
                name: phase.name().into(),
                kind: if forward { SpanKind::Client } else { SpanKind::Internal },
                began: at(self.began, began),
                ended: at(self.began, ended),
                attributes: if forward { std::mem::take(&mut forwarded) } else { Vec::new() },
                failed: forward && failed && refusal.is_some(),
            });
        }
        spans
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.traces.take(self.spans());
    }
}

fn at(began: Timestamp, after: Duration) -> Timestamp {
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::ZERO);
    began.checked_add(after).unwrap_or(began)
}

fn text(text: impl Into<Cow<'static, str>>) -> SpanValue {
    SpanValue::Text(text.into())
}

/// Names from configuration, policies and closed sets. Not the path, the query or the caller: who reads
/// traces is not who may read the record, which has them under the same trace id.
fn known(exchange: &Exchange) -> Known {
    let method = known_method(exchange.method.as_str());
    let operation = exchange.operation.as_ref();
    let name = match operation {
        Some(operation) => format!("{method} {}", operation.as_str()).into(),
        None => method.into(),
    };
    let scheme = scheme(exchange.peer.tls.is_some());
    let mut attributes = vec![
        ("http.request.method", text(method)),
        ("url.scheme", text(scheme)),
        ("portcullis.request", text(exchange.id.to_string())),
    ];
    let mut forwarded = vec![("http.request.method", text(method))];
    if exchange.speaks == Speaks::Grpc {
        attributes.push(("rpc.system", text("grpc")));
        forwarded.push(("rpc.system", text("grpc")));
    }
    if let Some(service) = &exchange.service {
        // A host that leads to a service is one of its own; others are whatever a client writes.
        attributes.push(("server.address", text(exchange.host().to_owned())));
        attributes.push(("portcullis.service", text(service.to_string())));
    }
    if let Some(instance) = &exchange.instance {
        attributes.push(("portcullis.instance", text(instance.to_string())));
    }
    attributes.extend(operation.map(|name| ("portcullis.operation", text(name.to_string()))));
    let grant = exchange.grant.or(exchange.only);
    attributes.extend(grant.map(|grant| ("portcullis.grant", text(grant.to_string()))));
    Known { name, attributes, forwarded }
}

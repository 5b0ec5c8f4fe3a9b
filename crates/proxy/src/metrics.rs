//! What the gate counts. Labels are service names and closed enums, never anything that a client
//! or a user chooses.

mod latency;

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;
use jiff::Timestamp;
use portcullis_model::{Refusal, ServiceName, TraceParent};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry,
};

use self::latency::{DECISIONS, Latencies, Latency, REQUESTS};

use crate::upstream::{Registry, Standing, metrics::Upstreams};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: String,
    decision: &'static str,
    status: &'static str,
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: &'static str,
}

/// One request that waited, or could not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HoldLabels {
    end: &'static str,
}

/// One client connection that was closed before it was served.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TurnedAwayLabels {
    reason: &'static str,
}

/// Why a client connection was closed before it was served.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TurnedAway {
    /// There are too many.
    Limit,
    /// Its source has too many.
    Source,
    /// Its source has begun too many handshakes.
    Handshakes,
    /// A trusted proxy did not say whose it is.
    ProxyProtocol,
    /// The core does not keep up, and has no time for handshakes.
    Late,
}

/// All metrics of the gate, shared by its cores.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    took: Latencies,
    forwarded: Latencies,
    decisions: Latencies,
    open: Gauge,
    watched: Gauge,
    turned_away: Family<TurnedAwayLabels, Counter>,
    waiting: Gauge,
    holds: Family<HoldLabels, Counter>,
    upstreams: Upstreams,
}

impl Metrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut registry::Registry) -> Arc<Self> {
        let metrics = Self {
            requests: Family::default(),
            refusals: Family::default(),
            took: Latencies::new(
                "portcullis_gate_request_seconds",
                "Time from a request's head to its answer's head, by service and decision",
                REQUESTS,
            ),
            forwarded: Latencies::new(
                "portcullis_gate_upstream_seconds",
                "Time from a forwarded request to its answer's head, by service",
                REQUESTS,
            ),
            decisions: Latencies::new(
                "portcullis_gate_decision_seconds",
                "Time to decide",
                DECISIONS,
            ),
            open: Gauge::default(),
            watched: Gauge::default(),
            turned_away: Family::default(),
            waiting: Gauge::default(),
            holds: Family::default(),
            upstreams: Upstreams::default(),
        };
        let registry = registry.sub_registry_with_prefix("portcullis_gate");
        let requests = "Requests by service, decision and class of status";
        registry.register("requests", requests, metrics.requests.clone());
        registry.register("refusals", "Refusals by code", metrics.refusals.clone());
        registry.register("client_connections", "Open client connections", metrics.open.clone());
        let watched = "Registered long-lived connections";
        registry.register("connections", watched, metrics.watched.clone());
        let turned_away = "Client connections closed before they were served, by reason";
        registry.register("connections_turned_away", turned_away, metrics.turned_away.clone());
        let waiting = "Requests that wait for an approval";
        registry.register("held", waiting, metrics.waiting.clone());
        let holds = "Requests that waited for an approval, by how it ended";
        registry.register("holds", holds, metrics.holds.clone());
        registry.register_collector(Box::new(metrics.upstreams.clone()));
        Arc::new(metrics)
    }

    /// Writes what its registry does not: histograms, as `OpenMetrics` text.
    pub fn render(&self, text: &mut String) {
        for latencies in [&self.took, &self.forwarded, &self.decisions] {
            latencies.render(text);
        }
    }

    /// From now on, what `registry` knows is shown as well.
    pub(crate) fn watch_upstreams(&self, registry: Arc<Registry>) {
        self.upstreams.watch(registry);
    }

    /// How the instances of `service` are; nothing before the gate is open.
    pub fn standing(&self, service: &ServiceName) -> Vec<Standing> {
        self.upstreams.watched().map(|all| all.standing(service)).unwrap_or_default()
    }
}

/// One of what a gauge shows, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered<'a> {
    pub(crate) service: Option<&'a ServiceName>,
    pub(crate) decision: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) took: Duration,
    /// How much of that the upstream had it.
    pub(crate) upstream: Option<Duration>,
    pub(crate) sampled: Sampled,
}

/// The trace of what is sampled, and the time.
pub(crate) type Sampled = Option<(TraceParent, Timestamp)>;

type Key = (Option<ServiceName>, &'static str, &'static str);

/// Where requests of one kind are counted.
#[derive(Debug)]
struct Requests {
    counter: Counter,
    took: Arc<Latency>,
    forwarded: Option<Arc<Latency>>,
}

/// The metrics as one core counts them: a counter that was found once is not looked for again.
#[derive(Debug)]
pub(crate) struct CoreMetrics {
    shared: Arc<Metrics>,
    requests: RefCell<HashMap<Key, Rc<Requests>, foldhash::fast::RandomState>>,
    decisions: Arc<Latency>,
}

impl CoreMetrics {
    pub(crate) fn new(shared: Arc<Metrics>) -> Self {
        let decisions = shared.decisions.join(String::new());
        Self { shared, requests: RefCell::default(), decisions }
    }

    /// One request was answered.
    pub(crate) fn answered(&self, answered: Answered<'_>) {
        let Answered { service, decision, status, took, upstream, sampled } = answered;
        let key = (service.cloned(), decision, class(status));
        let known = self.requests.borrow().get(&key).map(Rc::clone);
        let requests = known.unwrap_or_else(|| self.requests(key));
        requests.counter.inc();
        requests.took.observe(took, sampled);
        if let (Some(forwarded), Some(upstream)) = (&requests.forwarded, upstream) {
            forwarded.observe(upstream, sampled);
        }
    }

    /// Where requests of this kind are counted from now on.
    fn requests(&self, key: Key) -> Rc<Requests> {
        let (service, decision, status) = key.clone();
        let mut all = self.requests.borrow_mut();
        // Times are not told apart by status.
        let alike = all.iter().find(|((other, how, _), _)| (other, *how) == (&service, decision));
        let alike = alike.map(|(_, requests)| Rc::clone(requests));
        let service = service.map(|service| service.to_string()).unwrap_or_default();
        let (took, forwarded) = if let Some(alike) = alike {
            (Arc::clone(&alike.took), alike.forwarded.clone())
        } else {
            let of = format!("service=\"{service}\"");
            let took = self.shared.took.join(format!("{of},decision=\"{decision}\""));
            let forwarded = (decision == "permit").then(|| self.shared.forwarded.join(of));
            (took, forwarded)
        };
        let labels = RequestLabels { service, decision, status };
        let counter = self.shared.requests.get_or_create_owned(&labels);
        let requests = Rc::new(Requests { counter, took, forwarded });
        all.insert(key, Rc::clone(&requests));
        requests
    }

    /// One request was refused.
    pub(crate) fn refused(&self, refusal: &Refusal, answered: Answered<'_>) {
        self.answered(answered);
        self.shared.refusals.get_or_create(&RefusalLabels { code: refusal.code() }).inc();
    }

    pub(crate) fn decided(&self, took: Duration, sampled: Sampled) {
        self.decisions.observe(took, sampled);
    }

    /// One more client connection, for as long as what this returns lives.
    pub(crate) fn connection_opened(&self) -> Counted {
        self.shared.open.inc();
        Counted(self.shared.open.clone())
    }

    pub(crate) fn turned_away(&self, reason: TurnedAway) {
        let reason = match reason {
            TurnedAway::Limit => "limit",
            TurnedAway::Source => "source",
            TurnedAway::Handshakes => "handshakes",
            TurnedAway::ProxyProtocol => "proxy_protocol",
            TurnedAway::Late => "late",
        };
        self.shared.turned_away.get_or_create(&TurnedAwayLabels { reason }).inc();
    }

    /// So many requests wait more or less.
    pub(crate) fn waiting(&self, more: i64) {
        self.shared.waiting.inc_by(more);
    }

    /// A request does not wait any longer, or not at all.
    pub(crate) fn held(&self, end: &'static str) {
        self.shared.holds.get_or_create(&HoldLabels { end }).inc();
    }

    /// So many registered connections more or less.
    pub(crate) fn watched(&self, more: i64) {
        self.shared.watched.inc_by(more);
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

//! What the gate counts. Labels are service names and closed enums, never anything that a client
//! or a user chooses.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;
use portcullis_model::{Refusal, ServiceName};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry,
};

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
    decisions: Histogram,
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
        let buckets = [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2];
        let metrics = Self {
            requests: Family::default(),
            refusals: Family::default(),
            decisions: Histogram::new(buckets),
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
        registry.register("decision_seconds", "Time to decide", metrics.decisions.clone());
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

type Key = (Option<ServiceName>, &'static str, &'static str);

/// The metrics as one core counts them: a counter that was found once is not looked for again.
#[derive(Debug)]
pub(crate) struct CoreMetrics {
    shared: Arc<Metrics>,
    requests: RefCell<HashMap<Key, Rc<Counter>, foldhash::fast::RandomState>>,
}

impl CoreMetrics {
    pub(crate) fn new(shared: Arc<Metrics>) -> Self {
        Self { shared, requests: RefCell::default() }
    }

    /// One request was answered.
    pub(crate) fn answered(
        &self,
        service: Option<&ServiceName>,
        decision: &'static str,
        status: StatusCode,
    ) {
        let status = class(status);
        let key = (service.cloned(), decision, status);
        if let Some(counter) = self.requests.borrow().get(&key) {
            counter.inc();
            return;
        }
        let service = service.map_or("", |service| service.as_str()).to_owned();
        let labels = RequestLabels { service, decision, status };
        let counter = self.shared.requests.get_or_create_owned(&labels);
        counter.inc();
        self.requests.borrow_mut().insert(key, Rc::new(counter));
    }

    /// One request was refused.
    pub(crate) fn refused(
        &self,
        service: Option<&ServiceName>,
        refusal: &Refusal,
        status: StatusCode,
    ) {
        self.answered(service, refusal.decision(), status);
        self.shared.refusals.get_or_create(&RefusalLabels { code: refusal.code() }).inc();
    }

    pub(crate) fn decided(&self, took: Duration) {
        self.shared.decisions.observe(took.as_secs_f64());
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

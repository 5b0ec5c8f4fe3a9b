//! One core: everything that requests on this thread share, and nothing that another thread sees.

use std::{
    cell::{Cell, RefCell},
    net::TcpListener,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::Method;
use jiff::Timestamp;
use portcullis_identity::{TokenCache, dpop::Replays};
use portcullis_model::{ConnectionId, EventId, GrantId, PolicyId, RequestId, SignInId};
use portcullis_policy::{DecisionCache, Snapshot};
use tokio::sync::{mpsc, watch};

use crate::{
    browser::Seen,
    busy_poll::Work,
    caught::{Panicked, caught},
    connection::Live,
    gate::{GateConfig, GateParts, ListenerConfig},
    hold::Holds,
    identify::Identities,
    late::{self, Lateness},
    limit::Rates,
    listener::{self, Arrival, Entrance, Peers, Seats, Sources},
    metrics::CoreMetrics,
    names::Names,
    ports::Journal,
    record::Anonymous,
    share::Shares,
    upstream::{Registry, Upstreams},
};

/// Workload tokens whose verification one core remembers.
const REMEMBERED_TOKENS: usize = 16_384;

/// The state of one core.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) number: usize,
    pub(crate) config: Arc<GateConfig>,
    pub(crate) parts: GateParts,
    pub(crate) journal: Rc<dyn Journal>,
    pub(crate) decisions: RefCell<DecisionCache>,
    pub(crate) tokens: RefCell<TokenCache>,
    pub(crate) replays: Arc<Replays>,
    pub(crate) identities: Identities,
    pub(crate) seen: Seen<SignInId>,
    pub(crate) grants_used: Seen<GrantId>,
    pub(crate) rates: Rates,
    pub(crate) upstreams: Upstreams,
    pub(crate) live: Live,
    pub(crate) peers: Peers,
    pub(crate) work: Rc<Work>,
    pub(crate) metrics: CoreMetrics,
    pub(crate) anonymous: Anonymous,
    pub(crate) seats: Seats,
    pub(crate) holds: Arc<Holds>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) shares: Shares,
    pub(crate) lateness: Lateness,
    /// No more is accepted, and nothing waits any longer.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) stopping: Cell<bool>,
    /// What a request begins with: made once.
    pub(crate) no_policies: Arc<[PolicyId]>,
    pub(crate) names: Names,
    methods: RefCell<Vec<(Method, Arc<str>)>>,
    randomness: RefCell<Randomness>,
    /// Counted by this core alone, as every request has it.
    snapshot: RefCell<Rc<Snapshot>>,
    changes: RefCell<watch::Receiver<u64>>,
}

/// What all cores of a gate have one of.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) rates: Rates,
    pub(crate) holds: Arc<Holds>,
    pub(crate) replays: Arc<Replays>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) registry: Arc<Registry>,
}

impl Core {
    /// Opens the core's journal and takes the first snapshot.
    pub(crate) fn open(
        number: usize,
        config: Arc<GateConfig>,
        parts: GateParts,
        seats: Seats,
        shared: Shared,
    ) -> std::io::Result<Rc<Self>> {
        let Shared { rates, holds, replays, sources, registry } = shared;
        let journal = parts.journals.open(number)?;
        let decisions = decision_cache(&config);
        let mut seed = [0; 8];
        parts.entropy.fill(&mut seed);
        let seed = u64::from_le_bytes(seed);
        let changes = parts.feed.changes();
        let snapshot = parts.feed.current();
        Ok(Rc::new(Self {
            number,
            journal,
            decisions: RefCell::new(decisions),
            tokens: RefCell::new(TokenCache::new(REMEMBERED_TOKENS)),
            replays,
            identities: Identities::default(),
            seen: Seen::default(),
            grants_used: Seen::default(),
            rates,
            upstreams: Upstreams::new(
                number,
                &config.upstream_roots,
                Arc::clone(&parts.upstream_certificates),
                registry,
                seed,
            ),
            live: Live::default(),
            peers: Peers::default(),
            work: Rc::default(),
            metrics: CoreMetrics::new(Arc::clone(&parts.metrics)),
            anonymous: Anonymous::default(),
            seats,
            holds,
            sources,
            shares: Shares::default(),
            lateness: Lateness::default(),
            closing: watch::Sender::new(false),
            stopping: Cell::new(false),
            no_policies: [].into(),
            names: Names::default(),
            methods: RefCell::default(),
            randomness: RefCell::default(),
            snapshot: RefCell::new(Rc::new(Snapshot::clone(&snapshot))),
            changes: RefCell::new(changes),
            config,
            parts,
        }))
    }

    /// Whoever panicked may have left half of something there.
    pub(crate) fn forget_decisions(&self) {
        self.decisions.replace(decision_cache(&self.config));
        self.tokens.replace(TokenCache::new(REMEMBERED_TOKENS));
    }

    /// The newest snapshot. Asking whether there is a newer one costs one atomic load.
    pub(crate) fn snapshot(&self) -> Rc<Snapshot> {
        let mut changes = self.changes.borrow_mut();
        if changes.has_changed().unwrap_or(true) {
            changes.mark_unchanged();
            *self.snapshot.borrow_mut() = Rc::new(Snapshot::clone(&self.parts.feed.current()));
        }
        Rc::clone(&self.snapshot.borrow())
    }

    /// The newest snapshot, if its bundle is another than that of `known`.
    pub(crate) fn newer_than(&self, known: &Snapshot) -> Option<Rc<Snapshot>> {
        let newest = self.snapshot();
        (newest.stamp().generation != known.stamp().generation).then_some(newest)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// A new request id: 48 bits of time, 80 random bits.
    pub(crate) fn request_id(&self, now: Timestamp) -> RequestId {
        RequestId::from_bits(self.ulid_bits(now))
    }

    /// A new connection id.
    pub(crate) fn connection_id(&self, now: Timestamp) -> ConnectionId {
        ConnectionId::from_bits(self.ulid_bits(now))
    }

    /// A new id of an entry of the record.
    pub(crate) fn event_id(&self, now: Timestamp) -> EventId {
        EventId::from_bits(self.ulid_bits(now))
    }

    /// Random bytes without a system call each.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        self.randomness.borrow_mut().take(self.parts.entropy.as_ref())
    }

    /// The name of a method, made once: those that pass are few.
    pub(crate) fn method_name(&self, method: &Method) -> Arc<str> {
        let mut methods = self.methods.borrow_mut();
        if let Some((_, name)) = methods.iter().find(|(known, _)| known == method) {
            return Arc::clone(name);
        }
        let name: Arc<str> = method.as_str().into();
        methods.push((method.clone(), Arc::clone(&name)));
        name
    }

    fn ulid_bits(&self, now: Timestamp) -> u128 {
        let millis = u128::try_from(now.as_millisecond()).unwrap_or(0);
        let random = u128::from_le_bytes(self.random());
        (millis << 80) | (random >> 48)
    }
}

fn decision_cache(config: &GateConfig) -> DecisionCache {
    if config.decision_cache { DecisionCache::default() } else { DecisionCache::disabled() }
}

/// A store of random bytes, filled by one draw for many requests; each byte is used once.
#[derive(Default)]
struct Randomness {
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Randomness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Randomness({} left)", self.bytes.len())
    }
}

impl Randomness {
    const STORE: usize = 4096;

    fn take<const N: usize>(&mut self, entropy: &dyn portcullis_model::Entropy) -> [u8; N] {
        if self.bytes.len() < N {
            self.bytes.resize(Self::STORE, 0);
            entropy.fill(&mut self.bytes);
        }
        let taken = self.bytes.last_chunk().copied().unwrap_or([0; N]);
        self.bytes.truncate(self.bytes.len().saturating_sub(N));
        taken
    }
}

/// Accepts and serves until told to stop, then drains.
pub(crate) async fn run(
    core: Rc<Core>,
    sockets: Vec<(ListenerConfig, TcpListener)>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    mut stopping: watch::Receiver<Option<Duration>>,
) {
    let closed = core.closing.subscribe();
    let mut entrances = Vec::new();
    for (number, (config, socket)) in sockets.into_iter().enumerate() {
        let entrance = Rc::new(Entrance::new(number, config));
        entrances.push(Rc::clone(&entrance));
        let accept = listener::accept(Rc::clone(&core), entrance, socket, closed.clone());
        tokio::task::spawn_local(accept);
    }
    let take_over = listener::take_over(Rc::clone(&core), entrances, arrivals, closed);
    tokio::task::spawn_local(take_over);
    tokio::task::spawn_local(watch(Rc::clone(&core)));
    if let Some(most) = core.config.bounds.late {
        tokio::task::spawn_local(late::watch(Rc::clone(&core), most));
    }
    if let Some(most) = core.config.busy_poll {
        tokio::task::spawn_local(Rc::clone(&core.work).stay_awake(most));
    }
    let grace = match stopping.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    };
    core.closing.send_replace(true);
    core.peers.close();
    drain(&core, grace).await;
    crate::record::counted(&core, true);
}

/// Watches what is open, whatever happens. Who cannot be judged is cut: nobody lives on because a
/// decision about somebody panicked.
async fn watch(core: Rc<Core>) {
    while caught(pin!(crate::connection::watch_all(Rc::clone(&core)))).await == Err(Panicked) {
        tracing::error!("the gate panicked over its live connections; all of this core are cut");
        core.forget_decisions();
        core.live.cut_all(crate::ports::ConnectionEnd::PolicyChanged);
    }
}

/// Waits for open connections to finish, then cuts what is left and waits for that.
async fn drain(core: &Core, grace: Duration) {
    const LAST: Duration = Duration::from_secs(1);
    if tokio::time::timeout(grace, idle(core)).await.is_ok() {
        return;
    }
    core.stopping.set(true);
    core.live.cut_all(crate::ports::ConnectionEnd::ShuttingDown);
    let _ = tokio::time::timeout(LAST, idle(core)).await;
}

/// Resolves when no client connection and no tunnel is left.
async fn idle(core: &Core) {
    while core.seats.taken() > 0 || !core.live.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

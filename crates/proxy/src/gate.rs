//! The gate as a whole: bind everything, then one thread per core.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use ipnet::IpNet;
use portcullis_identity::{Workloads, dpop::Replays};
use portcullis_model::{Clock, Entropy, ServiceName, Traces};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, watch},
};

use crate::{
    bounds::Bounds,
    core::{self, Core, Shared},
    filter::assertion::AssertionSigner,
    hold::{HoldLimits, Holds},
    limit::Rates,
    listener::{self, Arrival, LiveTls, Seats, Sources},
    metrics::Metrics,
    ports::{
        Approvals, BrowserSignIns, Connections, Consumption, Contents, Countries, Journals, Limits,
        Refusals, SealedUses, Sightings, SnapshotFeed, UpstreamCertificates,
    },
    upstream::{Registry, keeper},
};

/// One place where traffic enters.
#[derive(Clone)]
pub struct ListenerConfig {
    /// Its name, for messages.
    pub name: String,
    /// Where it listens; port 0 picks a free one.
    pub address: SocketAddr,
    /// Sockets that listen there already, handed over by whoever keeps them; otherwise it binds its own.
    pub sockets: Arc<[TcpListener]>,
    /// With TLS: what it presents and whom it believes.
    pub tls: Option<Arc<LiveTls>>,
    /// Networks of proxies that begin each connection with a PROXY protocol header, and are
    /// believed. Others are not.
    pub proxies: Vec<IpNet>,
    /// Connections lead to a TCP service, and no HTTP is spoken.
    pub direct: Option<Direct>,
}

/// Where a direct port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direct {
    /// To this service.
    Service(ServiceName),
    /// To the one that has the server name of the TLS handshake among its hosts.
    ServerName,
}

impl fmt::Debug for ListenerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListenerConfig({} on {})", self.name, self.address)
    }
}

/// What the gate is told.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// Where traffic enters.
    pub listeners: Vec<ListenerConfig>,
    /// The control URL, without a trailing slash: refusals point there.
    pub control_url: String,
    /// How browsers sign in; they do not where no provider of people is configured.
    pub browsers: Option<Browsers>,
    /// Whom upstreams with `https://` must be certified by.
    pub upstream_roots: Arc<rustls::RootCertStore>,
    /// What clients may take.
    pub bounds: Arc<Bounds>,
    /// Whether cores remember decisions. Without, each request is evaluated: for measurements.
    pub decision_cache: bool,
    /// How long a core with quick work looks for more before it sleeps; `None`: not at all.
    pub busy_poll: Option<Duration>,
    /// How many requests may wait at the gate.
    pub holds: HoldLimits,
    /// The zone that the gate is in, if that matters.
    pub zone: Option<String>,
}

/// How browsers sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Browsers {
    /// Also without TLS, on loopback hosts: the demo.
    pub cleartext: bool,
}

/// What the gate is given.
#[derive(Debug, Clone)]
pub struct GateParts {
    /// Where snapshots come from.
    pub feed: Arc<dyn SnapshotFeed>,
    /// The record.
    pub journals: Arc<dyn Journals>,
    /// Spends uses of counted grants.
    pub consumption: Arc<dyn Consumption>,
    /// Counts small rates.
    pub limits: Arc<dyn Limits>,
    /// Keeps what policies have kept of requests.
    pub contents: Arc<dyn Contents>,
    /// Keeps requestable refusals.
    pub refusals: Arc<dyn Refusals>,
    /// Opens access requests for requests that wait.
    pub approvals: Arc<dyn Approvals>,
    /// Browsers' sign-ins.
    pub browsers: Arc<dyn BrowserSignIns>,
    /// Hears of workloads.
    pub sightings: Arc<dyn Sightings>,
    /// Live connections, as others see them.
    pub connections: Arc<dyn Connections>,
    /// The issuers of workload tokens.
    pub workloads: Arc<Workloads>,
    /// Emergencies by sealed credential, if this gate accepts any.
    pub sealed: Option<Arc<dyn SealedUses>>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Signs what upstreams are told about the caller.
    pub signer: Arc<AssertionSigner>,
    /// Where addresses are.
    pub countries: Arc<dyn Countries>,
    /// What connections to upstreams present and believe, where a service says so.
    pub upstream_certificates: Arc<dyn UpstreamCertificates>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Where spans of sampled requests go, if any are.
    pub traces: Option<Arc<dyn Traces>>,
}

/// Why the gate cannot open.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A listener cannot be bound.
    #[error("listener `{name}` cannot use {address}: {source}; is another program using the port?")]
    Bind {
        /// Its name.
        name: String,
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or key is unusable.
    #[error("the TLS certificate or key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// A thread or its runtime did not start.
    #[error("a worker thread did not start: {0}")]
    Worker(std::io::Error),
}

/// A gate, ready to open.
#[derive(Debug)]
pub struct Gate {
    config: Arc<GateConfig>,
    parts: GateParts,
}

/// An open gate.
#[derive(Debug)]
pub struct GateHandle {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<Option<Duration>>,
    threads: Vec<JoinHandle<()>>,
}

impl Gate {
    /// Puts a gate together; nothing is bound yet.
    pub fn new(config: GateConfig, parts: GateParts) -> Self {
        Self { config: Arc::new(config), parts }
    }

    /// What all of `cores` cores have one of.
    fn shared(&self, cores: usize) -> Shared {
        let (config, parts) = (&self.config, &self.parts);
        let holds = Arc::new(Holds::new(config.holds, parts.entropy.as_ref()));
        let replays = Arc::new(Replays::new(parts.clock.now()));
        let sources = Sources::new(Arc::clone(&config.bounds));
        let registry = Arc::new(Registry::new(cores, config.zone.clone()));
        parts.metrics.watch_upstreams(Arc::clone(&registry));
        Shared { rates: Rates::default(), holds, replays, sources, registry }
    }

    /// Binds every listener for every core, then starts the threads. A port in use is an error here
    /// and never a warning later.
    pub fn run(self, cores: usize) -> Result<GateHandle, GateError> {
        let cores = cores.max(1);
        let mut sockets: Vec<Vec<(ListenerConfig, TcpListener)>> = Vec::new();
        sockets.resize_with(cores, Vec::new);
        let mut addresses = Vec::new();
        for listener in &self.config.listeners {
            let bind = |source| GateError::Bind {
                name: listener.name.clone(),
                address: listener.address,
                source,
            };
            let handed = &listener.sockets;
            let address = match handed.first() {
                Some(socket) => socket.local_addr(),
                None => listener::reserve(listener.address),
            };
            let address = address.map_err(bind)?;
            for (core, own) in sockets.iter_mut().enumerate() {
                let socket = match core.checked_rem(handed.len()).and_then(|at| handed.get(at)) {
                    Some(socket) => {
                        listener::find_out_who_is_gone(socket).and_then(|()| socket.try_clone())
                    }
                    None => listener::bind(address),
                };
                own.push((listener.clone(), socket.map_err(bind)?));
            }
            addresses.push(address);
        }
        let (stop, stopping) = watch::channel(None);
        let shared = self.shared(cores);
        let mut threads = Vec::with_capacity(cores + 1);
        threads.push(keeper::start(
            Arc::clone(&shared.registry),
            Arc::clone(&self.parts.feed),
            Arc::clone(&self.config.upstream_roots),
            Arc::clone(&self.parts.upstream_certificates),
            stopping.clone(),
        )?);
        let seats = listener::seats(cores);
        for (number, (own, seats)) in sockets.into_iter().zip(seats).enumerate() {
            threads.push(self.start(number, own, seats, &shared, stopping.clone())?);
        }
        Ok(GateHandle { addresses, stop, threads })
    }

    fn start(
        &self,
        number: usize,
        sockets: Vec<(ListenerConfig, TcpListener)>,
        (seats, arrivals): (Seats, mpsc::UnboundedReceiver<Arrival>),
        shared: &Shared,
        stopping: watch::Receiver<Option<Duration>>,
    ) -> Result<JoinHandle<()>, GateError> {
        let (config, parts) = (Arc::clone(&self.config), self.parts.clone());
        let shared = shared.clone();
        let (started, report) = std::sync::mpsc::sync_channel(1);
        let run = move || {
            let runtime =
                Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let opened = runtime.and_then(|runtime| {
                // The journal starts tasks of its own, on this core.
                let open = async || Core::open(number, config, parts, seats, shared);
                let core = runtime.block_on(open())?;
                Ok((runtime, core))
            });
            match opened {
                Ok((runtime, core)) => {
                    let _ = started.send(Ok(()));
                    runtime.block_on(core::run(core, sockets, arrivals, stopping));
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("gate-{number}"))
            .spawn(run)
            .map_err(GateError::Worker)?;
        let died = || std::io::Error::other("it ended at once");
        report.recv().unwrap_or_else(|_| Err(died())).map_err(GateError::Worker)?;
        Ok(thread)
    }
}

impl GateHandle {
    /// Where the listeners listen, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, lets what is under way finish for at most `grace`, then cuts it. Blocks.
    pub fn shutdown(self, grace: Duration) {
        let _ = self.stop.send(Some(grace));
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a gate thread ended in a panic");
            }
        }
    }
}

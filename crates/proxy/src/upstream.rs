//! Upstreams: where instances are, which of them a request goes to, and one pool of connections per
//! core for each.
//!
//! What is known of instances is shared by the whole process ([`Registry`]); how requests are spread
//! over them is each core's own business ([`balancer`]). One thread beside the cores looks after
//! health checks, discovery and the budget of retries ([`keeper`]).

mod address;
mod balancer;
pub(crate) mod carriers;
mod conditions;
mod connect;
mod counted;
mod discovery;
mod dns;
mod endpoint;
mod first;
mod health;
pub(crate) mod keeper;
mod lane;
mod load;
pub(crate) mod metrics;
mod pool;
mod raw;
mod registry;
mod service;
mod shared;
mod standing;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use foldhash::fast::RandomState;
use portcullis_model::{InstanceName, ServiceName, refusal::UpstreamTrouble};
use portcullis_policy::Snapshot;

use balancer::Balancer;

pub(crate) use conditions::Failure;
pub(crate) use connect::Connectors;
pub(crate) use endpoint::{Endpoint, Kind, Turn};
pub(crate) use lane::{Channel, Lane, Sent, Tunnelled};
pub(crate) use raw::Duplex;
pub(crate) use registry::Registry;
pub use standing::{Health, Standing};
pub use tls::{ClientTls, ServerAuthorities};

use crate::ports::UpstreamCertificates;

/// All upstreams of one core.
#[derive(Debug)]
pub(crate) struct Upstreams {
    core: usize,
    connectors: Connectors,
    registry: Arc<Registry>,
    balancers: RefCell<HashMap<ServiceName, Rc<Balancer>, RandomState>>,
    /// What the balancers are as of: the newest bundle that a request came with, and discovery.
    generation: Cell<u64>,
    version: Cell<u64>,
    /// Moves with either.
    epoch: Cell<u64>,
    random: Cell<u64>,
    /// The time as it was told last: twice a second.
    now: Cell<Instant>,
}

impl Upstreams {
    pub(crate) fn new(
        core: usize,
        roots: &rustls::RootCertStore,
        certificates: Arc<dyn UpstreamCertificates>,
        registry: Arc<Registry>,
        seed: u64,
    ) -> Self {
        Self {
            core,
            connectors: Connectors::new(roots, certificates),
            registry,
            balancers: RefCell::default(),
            generation: Cell::new(0),
            version: Cell::new(0),
            epoch: Cell::new(1),
            random: Cell::new(seed | 1),
            now: Cell::new(Instant::now()),
        }
    }

    /// The instance to use: the addressed one, or one that the balancer picks.
    pub(crate) fn pick(
        &self,
        snapshot: &Snapshot,
        service: &ServiceName,
        addressed: Option<&InstanceName>,
    ) -> Result<Turn, UpstreamTrouble> {
        let balancer = self.balancer(snapshot, service)?;
        match addressed {
            Some(name) => balancer.addressed(name, self.now.get()),
            None => balancer.pick(self.now.get(), || self.random()),
        }
    }

    /// An instance to use instead of those that were `tried`, if the balancer may pick another.
    pub(crate) fn pick_other(
        &self,
        snapshot: &Snapshot,
        service: &ServiceName,
        tried: &[InstanceName],
    ) -> Option<Turn> {
        self.balancer(snapshot, service).ok()?.pick_other(tried)
    }

    /// A connection for `turn` that can carry one request.
    pub(crate) async fn lane(&self, turn: Turn, kind: Kind) -> Result<Lane, UpstreamTrouble> {
        match turn.pooled_for(kind) {
            Ok(lane) => Ok(lane),
            Err(turn) => turn.connect(&self.connectors, kind).await,
        }
    }

    /// Tells the time, and closes pooled connections that nobody has used for a while.
    pub(crate) fn forget_idle(&self, now: Instant) {
        self.now.set(now);
        self.balancers.borrow_mut().retain(|_, balancer| {
            balancer.forget_idle(now);
            balancer.epoch.get() == self.epoch.get() || balancer.is_used()
        });
    }

    /// The balancer of `service`, as of the newest bundle and what discovery has found.
    fn balancer(
        &self,
        snapshot: &Snapshot,
        service: &ServiceName,
    ) -> Result<Rc<Balancer>, UpstreamTrouble> {
        let (generation, version) = (snapshot.stamp().generation, self.registry.version());
        if generation > self.generation.get() || version != self.version.get() {
            self.generation.set(generation.max(self.generation.get()));
            self.version.set(version);
            self.epoch.set(self.epoch.get() + 1);
        }
        if let Some(balancer) = self.balancers.borrow().get(service)
            && balancer.epoch.get() == self.epoch.get()
        {
            return Ok(Rc::clone(balancer));
        }
        self.renew(snapshot, service)
    }

    /// Rare: something has moved, or the service is new here.
    fn renew(
        &self,
        snapshot: &Snapshot,
        name: &ServiceName,
    ) -> Result<Rc<Balancer>, UpstreamTrouble> {
        let generation = snapshot.stamp().generation;
        let catalog = snapshot.bundle().catalog();
        let source = catalog.service(name).ok_or(UpstreamTrouble::Unreachable)?.source();
        let service = self.registry.service(source, generation);
        let mut balancers = self.balancers.borrow_mut();
        let old = balancers.get(name);
        let balancer = match old.filter(|old| old.is_of(&service)) {
            Some(same) => Rc::clone(same),
            None => Rc::new(Balancer::new(service, self.core, old.map(|old| &**old))),
        };
        // A request that was decided before the last bundle does not vouch for the newest.
        let is_newest = generation == self.generation.get();
        balancer.epoch.set(if is_newest { self.epoch.get() } else { 0 });
        balancers.insert(name.clone(), Rc::clone(&balancer));
        Ok(balancer)
    }

    /// Good enough to spread requests, and nothing else (xorshift).
    fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }
}

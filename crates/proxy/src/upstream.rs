//! Upstreams: where instances are, and one pool of connections per core for each.

mod connect;
mod endpoint;
mod lane;
mod tls;

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Instant};

use foldhash::fast::RandomState;
use portcullis_model::{InstanceName, ServiceName, refusal::UpstreamTrouble};
use portcullis_policy::{ServiceSource, edge::UpstreamTls};

pub(crate) use connect::Connectors;
pub(crate) use endpoint::{Endpoint, Kind};
pub(crate) use lane::{Channel, Lane, Sent};
pub use tls::{ClientTls, ServerAuthorities};

use crate::ports::UpstreamCertificates;

/// All upstreams of one core.
#[derive(Debug)]
pub(crate) struct Upstreams {
    connectors: Connectors,
    endpoints: RefCell<HashMap<String, Rc<Endpoint>, RandomState>>,
    /// Of services with settings of their own: what one believes is no reason for another to.
    secured: RefCell<HashMap<UpstreamTls, HashMap<String, Rc<Endpoint>>, RandomState>>,
    turns: RefCell<HashMap<ServiceName, usize, RandomState>>,
}

impl Upstreams {
    pub(crate) fn new(
        roots: &rustls::RootCertStore,
        certificates: Arc<dyn UpstreamCertificates>,
    ) -> Self {
        Self {
            connectors: Connectors::new(roots, certificates),
            endpoints: RefCell::default(),
            secured: RefCell::default(),
            turns: RefCell::default(),
        }
    }

    /// The instance to use: the addressed one, or the next of those that the balancer may pick, and
    /// of them one that has just failed only if there is no other.
    pub(crate) fn pick(
        &self,
        service: &ServiceSource,
        addressed: Option<&InstanceName>,
    ) -> Result<(InstanceName, Rc<Endpoint>), UpstreamTrouble> {
        if let Some(addressed) = addressed {
            let url = service.instances.get(addressed).ok_or(UpstreamTrouble::Unreachable)?;
            return Ok((addressed.clone(), self.endpoint(service, url)?));
        }
        let turn = self.turn(&service.name);
        let count = balanced(service).count();
        let first = turn.checked_rem(count).ok_or(UpstreamTrouble::Unreachable)?;
        let mut failed = None;
        for (name, url) in balanced(service).cycle().skip(first).take(count) {
            let endpoint = self.endpoint(service, url)?;
            if !endpoint.has_just_failed() {
                return Ok((name.clone(), endpoint));
            }
            failed.get_or_insert((name.clone(), endpoint));
        }
        failed.ok_or(UpstreamTrouble::Unreachable)
    }

    /// An instance to use instead of `failed`, if the balancer may pick another.
    pub(crate) fn pick_other(
        &self,
        service: &ServiceSource,
        addressed: Option<&InstanceName>,
        failed: &InstanceName,
    ) -> Option<(InstanceName, Rc<Endpoint>)> {
        if addressed.is_some() {
            return None;
        }
        let mut others = balanced(service).filter(|(name, _)| *name != failed).peekable();
        others.peek()?;
        // The turn has moved past the failed one; should others have moved it on, any other will do.
        self.pick(service, None).ok().filter(|(name, _)| name != failed).or_else(|| {
            let (name, url) = others.next()?;
            Some((name.clone(), self.endpoint(service, url).ok()?))
        })
    }

    /// A connection to `endpoint` that can carry one request.
    pub(crate) async fn lane(
        &self,
        endpoint: &Rc<Endpoint>,
        kind: Kind,
    ) -> Result<Lane, UpstreamTrouble> {
        match endpoint.pooled_for(kind) {
            Some(lane) => Ok(lane),
            None => endpoint.connect(&self.connectors, kind).await,
        }
    }

    /// Closes pooled connections that nobody has used for a while.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let secured = self.secured.borrow();
        let secured = secured.values().flat_map(HashMap::values);
        for endpoint in self.endpoints.borrow().values().chain(secured) {
            endpoint.forget_idle(now);
        }
    }

    fn turn(&self, service: &ServiceName) -> usize {
        let mut turns = self.turns.borrow_mut();
        if let Some(turn) = turns.get_mut(service) {
            *turn = turn.wrapping_add(1);
            return *turn;
        }
        turns.insert(service.clone(), 0);
        0
    }

    fn endpoint(
        &self,
        service: &ServiceSource,
        url: &str,
    ) -> Result<Rc<Endpoint>, UpstreamTrouble> {
        if let Some(tls) = &service.edge.upstream_tls {
            return self.secured(tls, url);
        }
        if let Some(endpoint) = self.endpoints.borrow().get(url) {
            return Ok(Rc::clone(endpoint));
        }
        let endpoint = Rc::new(Endpoint::parse(url).ok_or(UpstreamTrouble::Unreachable)?);
        self.endpoints.borrow_mut().insert(url.to_owned(), Rc::clone(&endpoint));
        Ok(endpoint)
    }

    fn secured(&self, tls: &UpstreamTls, url: &str) -> Result<Rc<Endpoint>, UpstreamTrouble> {
        if let Some(endpoint) = self.secured.borrow().get(tls).and_then(|alike| alike.get(url)) {
            return Ok(Rc::clone(endpoint));
        }
        let endpoint = Endpoint::parse(url).ok_or(UpstreamTrouble::Unreachable)?;
        let endpoint = Rc::new(endpoint.secured_by(tls.clone()));
        let mut secured = self.secured.borrow_mut();
        let alike = secured.entry(tls.clone()).or_default();
        alike.insert(url.to_owned(), Rc::clone(&endpoint));
        Ok(endpoint)
    }
}

/// The instances that the balancer may pick.
fn balanced(service: &ServiceSource) -> impl Iterator<Item = (&InstanceName, &String)> + Clone {
    service.instances.iter().filter(|(name, _)| !service.addressed_only.contains(name))
}

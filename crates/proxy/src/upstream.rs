//! Upstreams: where instances are, and one pool of connections per core for each.

mod connect;
mod endpoint;
mod lane;

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Instant};

use portcullis_model::{InstanceName, ServiceName, refusal::UpstreamTrouble};
use portcullis_policy::ServiceSource;

pub(crate) use connect::Connectors;
pub(crate) use endpoint::{Endpoint, Kind};
pub(crate) use lane::{Channel, Lane, Sent};

/// All upstreams of one core.
#[derive(Debug)]
pub(crate) struct Upstreams {
    connectors: Connectors,
    endpoints: RefCell<HashMap<String, Rc<Endpoint>>>,
    turns: RefCell<HashMap<ServiceName, usize>>,
}

impl Upstreams {
    pub(crate) fn new(roots: &rustls::RootCertStore) -> Self {
        let connectors = Connectors::new(roots);
        Self { connectors, endpoints: RefCell::default(), turns: RefCell::default() }
    }

    /// The instance to use: the addressed one, or the next of those that the balancer may pick.
    pub(crate) fn pick(
        &self,
        service: &ServiceSource,
        addressed: Option<&InstanceName>,
    ) -> Result<(InstanceName, Rc<Endpoint>), UpstreamTrouble> {
        if let Some(addressed) = addressed {
            let url = service.instances.get(addressed).ok_or(UpstreamTrouble::Unreachable)?;
            return Ok((addressed.clone(), self.endpoint(url)?));
        }
        let turn = self.turn(&service.name);
        let balanced =
            || service.instances.iter().filter(|(name, _)| !service.addressed_only.contains(name));
        let count = balanced().count();
        let index = turn.checked_rem(count).ok_or(UpstreamTrouble::Unreachable)?;
        let (name, url) = balanced().nth(index).ok_or(UpstreamTrouble::Unreachable)?;
        Ok((name.clone(), self.endpoint(url)?))
    }

    /// A connection to `endpoint` that can carry one request.
    pub(crate) async fn lane(
        &self,
        endpoint: &Rc<Endpoint>,
        kind: Kind,
    ) -> Result<Lane, UpstreamTrouble> {
        // Connecting is rare, and its future is large: boxed, so that idle connections are small.
        match endpoint.pooled_for(kind) {
            Some(lane) => Ok(lane),
            None => Box::pin(endpoint.connect(&self.connectors, kind)).await,
        }
    }

    /// Closes pooled connections that nobody has used for a while.
    pub(crate) fn forget_idle(&self, now: Instant) {
        for endpoint in self.endpoints.borrow().values() {
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

    fn endpoint(&self, url: &str) -> Result<Rc<Endpoint>, UpstreamTrouble> {
        if let Some(endpoint) = self.endpoints.borrow().get(url) {
            return Ok(Rc::clone(endpoint));
        }
        let endpoint = Rc::new(Endpoint::parse(url).ok_or(UpstreamTrouble::Unreachable)?);
        self.endpoints.borrow_mut().insert(url.to_owned(), Rc::clone(&endpoint));
        Ok(endpoint)
    }
}

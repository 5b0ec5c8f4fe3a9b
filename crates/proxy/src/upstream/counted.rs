//! What counts against the limits of an instance and of its service, for as long as it lives.

use std::{cell::Cell, sync::Arc};

use portcullis_model::refusal::UpstreamTrouble;
use portcullis_policy::upstream::Limits;

use super::{
    Endpoint,
    load::What,
    service::{Instance, Service},
};

/// A connection, or a request that waits for one, for as long as this lives. Stays on its core.
#[derive(Debug)]
pub(crate) struct Counted {
    service: Arc<Service>,
    instance: Arc<Instance>,
    core: usize,
    what: What,
    over: Cell<bool>,
}

/// Who has as much as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The instance.
    Instance,
    /// The service with all its instances.
    Service,
}

impl Counted {
    fn count(endpoint: &Endpoint, what: What) -> Self {
        let (service, instance) = (Arc::clone(endpoint.service()), Arc::clone(endpoint.instance()));
        let core = endpoint.core();
        service.counts.load.more(core, what);
        instance.load.more(core, what);
        Self { service, instance, core, what, over: Cell::new(false) }
    }

    /// A connection that is about to be made. What rests is closed where there is no room otherwise.
    pub(super) fn room(endpoint: &Endpoint) -> Result<Self, UpstreamTrouble> {
        while let Some(full) = full(endpoint, What::Connections) {
            if !endpoint.close_resting(full) {
                endpoint.service().counts.refuse(What::Connections);
                return Err(UpstreamTrouble::Overloaded);
            }
        }
        Ok(Self::count(endpoint, What::Connections))
    }

    /// A connection that is open already.
    pub(super) fn connection(endpoint: &Endpoint) -> Self {
        Self::count(endpoint, What::Connections)
    }

    /// A request that waits for a connection to be made.
    pub(super) fn waiting(endpoint: &Endpoint) -> Result<Self, UpstreamTrouble> {
        if full(endpoint, What::Pending).is_some() {
            endpoint.service().counts.refuse(What::Pending);
            return Err(UpstreamTrouble::Overloaded);
        }
        Ok(Self::count(endpoint, What::Pending))
    }

    /// It is being closed: it counts no longer, though that takes a moment.
    pub(super) fn end(&self) {
        if !self.over.replace(true) {
            self.service.counts.load.less(self.core, self.what);
            self.instance.load.less(self.core, self.what);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.end();
    }
}

/// Who has no room for one more.
pub(super) fn full(endpoint: &Endpoint, what: What) -> Option<Full> {
    let settings = &endpoint.service().settings;
    let of = |limits: &Limits| match what {
        What::Requests => limits.requests,
        What::Connections => limits.connections,
        What::Pending => limits.pending,
    };
    let core = endpoint.core();
    if !endpoint.instance().load.has_room(core, what, of(&settings.instance_limits)) {
        return Some(Full::Instance);
    }
    let all = &endpoint.service().counts.load;
    (!all.has_room(core, what, of(&settings.service_limits))).then_some(Full::Service)
}

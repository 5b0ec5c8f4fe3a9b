//! Requests that come before anybody has found out where the instances of their service are: after a start, and
//! after a bundle that asks for something else. They wait for the first answer, good or bad, for as long as they
//! would for a connection. Once there was one, nobody waits here any more.

use std::sync::Arc;

use portcullis_model::{InstanceName, ServiceName, refusal::UpstreamTrouble};
use portcullis_policy::Snapshot;

use super::{Turn, Upstreams, load::What, service::Service};

/// A request that waits, as it is counted.
#[derive(Debug)]
struct Waiting {
    service: Arc<Service>,
    core: usize,
}

impl Waiting {
    fn new(service: &Arc<Service>, core: usize) -> Result<Self, UpstreamTrouble> {
        let limit = service.settings.service_limits.pending;
        if !service.counts.load.has_room(core, What::Pending, limit) {
            service.counts.refuse(What::Pending);
            return Err(UpstreamTrouble::Overloaded);
        }
        service.counts.load.more(core, What::Pending);
        Ok(Self { service: Arc::clone(service), core })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.service.counts.load.less(self.core, What::Pending);
    }
}

impl Upstreams {
    /// What [`Self::pick`] says once somebody knows where instances are, if nobody did when it failed with
    /// `trouble`.
    pub(crate) async fn pick_late(
        &self,
        snapshot: &Snapshot,
        service: &ServiceName,
        addressed: Option<&InstanceName>,
        trouble: UpstreamTrouble,
    ) -> Result<Turn, UpstreamTrouble> {
        let known = self.registry.lookup(service).filter(|known| known.looking().is_some());
        let Some(first) = known.filter(|_| trouble == UpstreamTrouble::Unreachable) else {
            return Err(trouble);
        };
        let _waiting = Waiting::new(&first, self.core)?;
        let answered = async {
            // A bundle that comes meanwhile may ask for something else.
            while let Some(mut looking) = self.registry.lookup(service)?.looking() {
                looking.wait_for(|looked| *looked).await.ok()?;
            }
            Some(())
        };
        let most = first.settings.timeouts.connect.get();
        let answered = tokio::time::timeout(most, answered).await.ok().flatten();
        answered.ok_or(trouble)?;
        self.pick(snapshot, service, addressed)
    }
}

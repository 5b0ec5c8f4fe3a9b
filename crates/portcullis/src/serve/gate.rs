//! Opens the gate on all its listeners.

use std::sync::Arc;

use anyhow::Result;
use portcullis_model::Traces;
use portcullis_proxy::{
    AssertionSigner, Browsers, Gate, GateConfig, GateHandle, GateParts, ListenerConfig, Metrics,
    ports::{Countries, SealedUses},
};
use tokio::runtime::Handle;

use super::{
    Cores,
    certificates::{Asked, Certificates},
    handed::Handed,
    house::House,
    sealed::SealedFolder,
};
use crate::{
    adapters::{ControlFeed, ControlPorts, LogJournals},
    config::Loaded,
};

/// What it is made with beside the house and its certificates.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) signer: Arc<AssertionSigner>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cores: Cores,
    pub(super) handed: Handed,
    pub(super) countries: Arc<dyn Countries>,
    pub(super) traces: Option<Arc<dyn Traces>>,
}

/// Opens it. A port in use or an unusable key is an error here.
pub(super) fn open(
    loaded: &Loaded,
    house: &House,
    certificates: &Certificates,
    runtime: &Handle,
    given: Given,
) -> Result<GateHandle> {
    let Given { signer, metrics, cores, mut handed, countries, traces } = given;
    let listeners = loaded.config.listeners.iter().map(|listener| ListenerConfig {
        name: listener.name.clone(),
        address: listener.address,
        tls: certificates.listener(&listener.name),
        sockets: handed.listener(&listener.name).into(),
        proxies: listener.proxy_protocol.as_ref().map(|it| it.from.clone()).unwrap_or_default(),
        direct: listener.tcp.clone(),
    });
    let config = GateConfig {
        listeners: listeners.collect(),
        control_url: base_url(&loaded.config.control.url),
        browsers: browsers(loaded),
        upstream_roots: Arc::clone(certificates.roots()),
        bounds: Arc::new(loaded.config.limits.bounds()),
        decision_cache: cores.decision_cache,
        busy_poll: cores.busy_poll,
        holds: loaded.config.holding.limits(),
        zone: loaded.config.zone.clone(),
    };
    let ports = Arc::new(ControlPorts::new(Arc::clone(&house.control), runtime.clone()));
    let all = GateParts {
        feed: Arc::new(ControlFeed(Arc::clone(house.control.snapshots()))),
        journals: Arc::new(LogJournals(house.log.handle())),
        consumption: Arc::clone(&ports) as _,
        limits: Arc::clone(&ports) as _,
        contents: Arc::clone(&ports) as _,
        refusals: Arc::clone(&ports) as _,
        approvals: Arc::clone(&ports) as _,
        browsers: Arc::clone(&ports) as _,
        sightings: Arc::clone(&ports) as _,
        connections: ports,
        sealed: sealed(loaded, house, runtime)?,
        workloads: Arc::clone(&house.workloads),
        countries,
        upstream_certificates: Arc::new(Asked(Arc::clone(certificates.upstreams()))),
        entropy: Arc::clone(&house.entropy),
        clock: Arc::clone(&house.clock),
        signer,
        metrics,
        traces,
    };
    Ok(Gate::new(config, all).run(cores.number)?)
}

/// Sealed credentials, and the task that keeps on disk which are revoked, and the time: as long as there are snapshots.
fn sealed(loaded: &Loaded, house: &House, runtime: &Handle) -> Result<Option<Arc<dyn SealedUses>>> {
    let Some(folder) = SealedFolder::open(loaded)? else { return Ok(None) };
    let desk = Arc::new(folder.desk(Arc::clone(&house.clock))?);
    let _entered = runtime.enter();
    drop(folder.keep(Arc::clone(&desk), Arc::clone(house.control.snapshots())));
    Ok(Some(desk))
}

/// Browsers sign in where there is somebody to vouch for people.
fn browsers(loaded: &Loaded) -> Option<Browsers> {
    let somebody = !loaded.config.identity.people.is_empty();
    somebody.then_some(Browsers { cleartext: loaded.config.demo })
}

/// A URL as others append paths to it.
pub(super) fn base_url(url: &url::Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

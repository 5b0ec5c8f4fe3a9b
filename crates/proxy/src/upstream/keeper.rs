//! The one thread beside the cores: asks instances whether they are well, finds them, and fills up the
//! budgets of retries. Cores only see what has come of it.

use std::{collections::HashMap, rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use portcullis_model::ServiceName;
use tokio::{
    sync::watch,
    task::{AbortHandle, LocalSet, spawn_local},
};

use super::{
    Connectors, Endpoint, Registry,
    discovery::{self, Discovery},
    dns, health,
    service::Service,
};
use crate::{
    gate::GateError,
    ports::{SnapshotFeed, UpstreamCertificates},
};

/// How often budgets are filled up.
const SECOND: Duration = Duration::from_secs(1);

/// Starts it. It ends when the gate stops.
pub(crate) fn start(
    registry: Arc<Registry>,
    feed: Arc<dyn SnapshotFeed>,
    roots: Arc<rustls::RootCertStore>,
    certificates: Arc<dyn UpstreamCertificates>,
    mut stopping: watch::Receiver<Option<Duration>>,
) -> Result<JoinHandle<()>, GateError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(GateError::Worker)?;
    let run = move || {
        let keeper = Keeper {
            registry,
            feed,
            connectors: Rc::new(Connectors::new(&roots, certificates)),
            kept: HashMap::new(),
        };
        LocalSet::new().block_on(&runtime, async move {
            tokio::select! {
                () = keeper.run() => {}
                _ = stopping.wait_for(Option::is_some) => {}
            }
        });
    };
    let thread = std::thread::Builder::new().name("upstreams".to_owned()).spawn(run);
    thread.map_err(GateError::Worker)
}

struct Keeper {
    registry: Arc<Registry>,
    feed: Arc<dyn SnapshotFeed>,
    connectors: Rc<Connectors>,
    kept: HashMap<ServiceName, Kept>,
}

/// What runs for one service.
struct Kept {
    service: Arc<Service>,
    _checks: Tasks,
    discovery: Tasks,
}

/// Tasks that end with this.
#[derive(Default)]
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Keeper {
    async fn run(mut self) {
        let mut changes = self.feed.changes();
        let mut seconds = tokio::time::interval(SECOND);
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut generation = None;
        loop {
            changes.mark_unchanged();
            let snapshot = self.feed.current();
            let newest = snapshot.stamp().generation;
            if generation.replace(newest) != Some(newest) {
                let catalog = snapshot.bundle().catalog();
                for service in catalog.services() {
                    self.registry.service(service.source(), newest);
                }
                self.registry.retain(|name| catalog.service(name).is_some());
            }
            drop(snapshot);
            self.keep();
            tokio::select! {
                moved = changes.changed() => if moved.is_err() { return },
                () = self.registry.moved.notified() => {}
                _ = seconds.tick() => self.registry.all().iter().for_each(|it| it.refill()),
            }
        }
    }

    /// Starts what is missing, ends what is left over.
    fn keep(&mut self) {
        let all = self.registry.all();
        self.kept.retain(|name, _| all.iter().any(|service| service.name == *name));
        for service in all {
            let old = self.kept.remove(&service.name);
            let kept = match old {
                Some(old) if Arc::ptr_eq(&old.service, &service) => old,
                Some(old) if old.service.settings.dns == service.settings.dns => {
                    Kept { _checks: self.checks(&service), service, discovery: old.discovery }
                }
                _ => Kept {
                    _checks: self.checks(&service),
                    discovery: self.discovery(&service),
                    service,
                },
            };
            self.kept.insert(kept.service.name.clone(), kept);
        }
    }

    fn checks(&self, service: &Arc<Service>) -> Tasks {
        let Some(check) = &service.settings.health else { return Tasks::default() };
        let endpoints = (0..service.instances.len())
            .filter_map(|at| Some((at, Rc::new(Endpoint::new(service, at, usize::MAX)?))));
        let tasks = endpoints.map(|(at, endpoint)| {
            let checking = health::watch(
                Arc::clone(service),
                at,
                endpoint,
                check.clone(),
                Rc::clone(&self.connectors),
            );
            spawn_local(checking).abort_handle()
        });
        Tasks(tasks.collect())
    }

    fn discovery(&self, service: &Arc<Service>) -> Tasks {
        let Some(source) = &service.settings.dns else { return Tasks::default() };
        let discovery: Box<dyn Discovery> = match dns::Dns::new(source.clone()) {
            Ok(dns) => Box::new(dns),
            Err(error) => {
                tracing::error!(service = %service.name, error, "instances cannot be looked for");
                return Tasks::default();
            }
        };
        let finding = discovery::follow(discovery, Arc::clone(service), Arc::clone(&self.registry));
        Tasks(vec![spawn_local(finding).abort_handle()])
    }
}

//! The one thread beside the cores: asks instances whether they are well, finds them, and fills up the
//! budgets of retries. Cores only see what has come of it.

use std::{collections::HashMap, rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use portcullis_model::ServiceName;
use portcullis_policy::upstream::HealthCheck;
use tokio::{
    sync::watch,
    task::{AbortHandle, LocalSet, spawn_local},
};

use super::{
    Connectors, Registry,
    discovery::{self, Discovery},
    dns, health,
    service::{Instance, Service},
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
    checks: Vec<Checked>,
    discovery: Option<Task>,
}

/// One instance that is asked whether it is well.
struct Checked {
    instance: Arc<Instance>,
    /// As it was when that began.
    check: HealthCheck,
    _task: Task,
}

/// A task that ends with this.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
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
                old => self.renew(old, service),
            };
            self.kept.insert(kept.service.name.clone(), kept);
        }
    }

    /// What runs for the newest list of instances, of what ran for the one before whatever is still right.
    fn renew(&self, old: Option<Kept>, service: Arc<Service>) -> Kept {
        let (checks, discovery) = match old {
            Some(old) if old.service.settings.dns == service.settings.dns => {
                (old.checks, old.discovery)
            }
            Some(old) => (old.checks, self.discovery(&service)),
            None => (Vec::new(), self.discovery(&service)),
        };
        Kept { checks: self.checks(&service, checks), service, discovery }
    }

    /// Instances that stay are asked on as they were: what is known of them would never be enough if it were
    /// forgotten with each change of the others.
    fn checks(&self, service: &Arc<Service>, mut old: Vec<Checked>) -> Vec<Checked> {
        let Some(check) = &service.settings.health else { return Vec::new() };
        let checked = service.instances.iter().map(|instance| {
            let stays =
                old.iter().position(|it| Arc::ptr_eq(&it.instance, instance) && it.check == *check);
            if let Some(at) = stays {
                return old.swap_remove(at);
            }
            let watching = health::watch(
                Arc::clone(&self.registry),
                service.name.clone(),
                Arc::clone(instance),
                check.clone(),
                Rc::clone(&self.connectors),
            );
            let task = Task(spawn_local(watching).abort_handle());
            Checked { instance: Arc::clone(instance), check: check.clone(), _task: task }
        });
        checked.collect()
    }

    fn discovery(&self, service: &Arc<Service>) -> Option<Task> {
        let source = service.settings.dns.as_ref()?;
        let discovery: Box<dyn Discovery> = match dns::Dns::new(source.clone()) {
            Ok(dns) => Box::new(dns),
            Err(error) => {
                tracing::error!(service = %service.name, error, "instances cannot be looked for");
                self.registry.not_found(service);
                return None;
            }
        };
        let finding = discovery::follow(discovery, Arc::clone(service), Arc::clone(&self.registry));
        Some(Task(spawn_local(finding).abort_handle()))
    }
}

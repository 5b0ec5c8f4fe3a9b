//! All services of the process, each with the newest list of its instances.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use portcullis_model::{InstanceName, ServiceName};
use portcullis_policy::{ServiceSource, upstream::DnsSource};
use tokio::sync::Notify;

use super::{
    conditions::Condition,
    discovery::Found,
    service::{Counts, Instance, Service},
};

/// All services of the process. Cores keep what they got from it until it or the bundle moves.
#[derive(Debug)]
pub(crate) struct Registry {
    cores: usize,
    zone: Option<String>,
    started: Instant,
    services: Mutex<HashMap<ServiceName, Known>>,
    /// Moves when discovery has found something else.
    version: AtomicU64,
    /// A service is new, or another than before.
    pub(super) moved: Notify,
}

#[derive(Debug)]
struct Known {
    /// The bundle that it was last asked for with.
    generation: u64,
    source: ServiceSource,
    /// What discovery has found, for services that are discovered.
    found: Option<Vec<Found>>,
    service: Arc<Service>,
}

impl Registry {
    pub(crate) fn new(cores: usize, zone: Option<String>) -> Self {
        Self {
            cores: cores.max(1),
            zone,
            started: Instant::now(),
            services: Mutex::default(),
            version: AtomicU64::new(0),
            moved: Notify::new(),
        }
    }

    /// The number of the last finding.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The service as `source` says it is, unless a newer bundle has said otherwise already.
    pub(crate) fn service(&self, source: &ServiceSource, generation: u64) -> Arc<Service> {
        let mut services = self.services();
        if let Some(known) = services.get_mut(&source.name)
            && (known.generation >= generation || known.source == *source)
        {
            known.generation = known.generation.max(generation);
            return Arc::clone(&known.service);
        }
        let before = services.remove(&source.name);
        let same = |known: &&Known| {
            is_asked_like(known.source.upstream.dns.as_ref(), source.upstream.dns.as_ref())
        };
        let found = before.as_ref().filter(same).and_then(|it| it.found.clone());
        let old = before.as_ref().map(|it| &*it.service);
        let service = Arc::new(self.build(source, found.as_deref(), old));
        let known =
            Known { generation, source: source.clone(), found, service: Arc::clone(&service) };
        services.insert(source.name.clone(), known);
        drop(services);
        if let Some(before) = before.filter(|before| !before.service.asks_with(&service)) {
            // Nobody will answer those who wait for that: they look at what there is now.
            self.version.fetch_add(1, Ordering::AcqRel);
            before.service.looked();
        }
        self.moved.notify_one();
        service
    }

    /// Discovery has found the instances of `service`. Those that left get nothing new; what is under
    /// way to them goes on.
    pub(super) fn found(&self, of: &Arc<Service>, found: Vec<Found>) {
        let mut services = self.services();
        let Some(known) = services.get_mut(&of.name) else { return };
        let is_other = known.source.upstream.dns != of.settings.dns;
        if is_other || known.found.as_ref() == Some(&found) {
            return;
        }
        let names = found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(" ");
        tracing::info!(service = %of.name, instances = names, "instances found");
        let service = Arc::new(self.build(&known.source, Some(&found), Some(&known.service)));
        known.service = Arc::clone(&service);
        known.found = Some(found);
        drop(services);
        self.version.fetch_add(1, Ordering::AcqRel);
        service.looked();
        self.moved.notify_one();
    }

    /// Discovery has found nothing for `service`: whoever waited for the first answer has it.
    pub(super) fn not_found(&self, of: &Service) {
        if let Some(newest) = self.lookup(&of.name)
            && newest.settings.dns == of.settings.dns
        {
            newest.looked();
        }
    }

    /// The newest list that `instance` is in, and its place there.
    pub(super) fn place_of(
        &self,
        service: &ServiceName,
        instance: &Arc<Instance>,
    ) -> Option<(Arc<Service>, usize)> {
        let service = self.lookup(service)?;
        let at = service.instances.iter().position(|it| Arc::ptr_eq(it, instance))?;
        Some((service, at))
    }

    /// Forgets the services that `is_there` does not know.
    pub(super) fn retain(&self, is_there: impl Fn(&ServiceName) -> bool) {
        self.services().retain(|name, _| is_there(name));
    }

    /// One of them.
    pub(super) fn lookup(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.services().get(name).map(|known| Arc::clone(&known.service))
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Service>> {
        let mut all: Vec<_> =
            self.services().values().map(|known| Arc::clone(&known.service)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn services(&self) -> MutexGuard<'_, HashMap<ServiceName, Known>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new list. Instances that were there before keep what is known of them.
    fn build(
        &self,
        source: &ServiceSource,
        found: Option<&[Found]>,
        old: Option<&Service>,
    ) -> Service {
        let counts =
            old.map_or_else(|| Arc::new(Counts::new(self.cores)), |it| Arc::clone(&it.counts));
        let now = super::conditions::millis(self.started.elapsed());
        let conditions = old.map(|old| old.conditions().clone());
        let is_first = old.is_none_or(|old| old.instances.is_empty());
        let member = |name: &InstanceName, url: &str, address, weight| {
            let zone = source.upstream.zones.get(name);
            let near = zone.is_some() && zone == self.zone.as_ref();
            let place =
                Condition::new(!source.addressed_only.contains(name), near).weighing(weight);
            let mut before = old.into_iter().flat_map(|old| old.instances.iter().enumerate());
            let before = before.find(|(_, it)| it.is_at(name, url, address));
            if let Some((at, instance)) = before {
                let known = conditions.as_ref().and_then(|all| all.of(at));
                let condition = known.map_or(place, |known| known.moved_to(place));
                let is_checked = source.upstream.health.is_some();
                let condition = if is_checked { condition } else { condition.unchecked(now) };
                return (Arc::clone(instance), condition);
            }
            let instance = Instance::new(name.clone(), url.to_owned(), address, self.cores);
            (Arc::new(instance), if is_first { place } else { place.coming(now) })
        };
        let members = if let Some(found) = found {
            let all = found.iter();
            all.map(|it| member(&it.name, &it.url, Some(it.address), it.weight)).collect()
        } else {
            let all = source.instances.iter();
            all.map(|(name, url)| member(name, url, None, 100)).collect()
        };
        Service::new(source, members, counts, self.started).asking_like(old)
    }
}

/// Whether both are asked for the same: whom, and how often, changes nothing about what was found.
fn is_asked_like(one: Option<&DnsSource>, other: Option<&DnsSource>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (&one.name, &one.scheme) == (&other.name, &other.scheme),
        _ => false,
    }
}

//! One service's instances as the whole process knows them. Cores look at what has changed through
//! one atomic, and take the lock only then.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use portcullis_model::{InstanceName, ServiceName};
use portcullis_policy::{ServiceSource, edge::UpstreamTls, upstream::UpstreamSource};
use tokio::sync::watch;

use super::{
    conditions::{Choice, Condition, Conditions, Failure, millis},
    load::{Load, What},
};

/// One instance, whichever list it is in.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) name: InstanceName,
    /// Scheme, host and port.
    pub(crate) url: String,
    /// Where it is, if discovery has found that out.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) load: Load,
    /// Failures since the last success.
    in_row: AtomicU32,
    pub(crate) ejections: AtomicU64,
}

/// What is counted for a service, whatever becomes of its instances.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) load: Load,
    /// Retries that may still be made, and those that were.
    budget: AtomicI64,
    /// Requests that had begun when the budget was filled up last.
    paid_for: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) over_budget: AtomicU64,
    /// Requests refused, by what there was too much of.
    pub(crate) refused: [AtomicU64; 3],
    /// Answers of discovery that were none.
    pub(crate) unknown: AtomicU64,
}

/// One service with its list of instances. The list never changes: there is a new service then.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: ServiceName,
    pub(crate) settings: UpstreamSource,
    /// What its instances must prove, where it is not the usual.
    pub(crate) tls: Option<UpstreamTls>,
    pub(crate) instances: Vec<Arc<Instance>>,
    pub(crate) counts: Arc<Counts>,
    conditions: Mutex<Conditions>,
    /// Moves with every change of a condition.
    changes: AtomicU64,
    started: Instant,
    /// Whether there was an answer, good or bad, to where its instances are.
    looked: Arc<watch::Sender<bool>>,
}

impl Instance {
    pub(crate) fn new(
        name: InstanceName,
        url: String,
        address: Option<SocketAddr>,
        cores: usize,
    ) -> Self {
        let (in_row, ejections) = (AtomicU32::default(), AtomicU64::default());
        Self { name, url, address, load: Load::new(cores), in_row, ejections }
    }

    /// Whether it is the same instance at the same place.
    pub(crate) fn is_at(&self, name: &InstanceName, url: &str, at: Option<SocketAddr>) -> bool {
        self.name == *name && self.url == url && self.address == at
    }
}

impl Counts {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            load: Load::new(cores),
            budget: AtomicI64::new(i64::MIN),
            paid_for: AtomicU64::default(),
            retries: AtomicU64::default(),
            over_budget: AtomicU64::default(),
            refused: Default::default(),
            unknown: AtomicU64::default(),
        }
    }

    /// A request was refused because there is too much of `what`.
    pub(crate) fn refuse(&self, what: What) {
        if let Some(count) = self.refused.get(what as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How many were, because there is too much of `what`.
    pub(crate) fn refused(&self, what: What) -> u64 {
        self.refused.get(what as usize).map_or(0, |count| count.load(Relaxed))
    }
}

impl Service {
    pub(crate) fn new(
        source: &ServiceSource,
        instances: Vec<(Arc<Instance>, Condition)>,
        counts: Arc<Counts>,
        started: Instant,
    ) -> Self {
        let (instances, conditions) = instances.into_iter().unzip();
        let (name, settings) = (source.name.clone(), source.upstream.clone());
        let tls = source.edge.upstream_tls.clone();
        let conditions = Mutex::new(Conditions::new(settings.clone(), conditions));
        let changes = AtomicU64::new(1);
        let looked = Arc::new(watch::Sender::new(settings.dns.is_none()));
        Self { name, settings, tls, instances, counts, conditions, changes, started, looked }
    }

    /// Asks where its instances are together with `old`, if that asks for the same.
    pub(super) fn asking_like(mut self, old: Option<&Self>) -> Self {
        if let Some(old) = old.filter(|old| old.settings.dns == self.settings.dns) {
            self.looked = Arc::clone(&old.looked);
        }
        self
    }

    /// Whether an answer to one is an answer to the other.
    pub(super) fn asks_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.looked, &other.looked)
    }

    /// There was an answer, or none that can be waited for any longer.
    pub(super) fn looked(&self) {
        self.looked.send_replace(true);
    }

    /// What tells when there is a first answer to where its instances are, while there was none.
    pub(super) fn looking(&self) -> Option<watch::Receiver<bool>> {
        let waits = self.instances.is_empty() && !*self.looked.borrow();
        waits.then(|| self.looked.subscribe())
    }

    /// Whether connections to its instances are as good as those to the instances of `other`.
    pub(crate) fn is_reached_like(&self, other: &Self) -> bool {
        self.settings == other.settings && self.tls == other.tls
    }

    /// Milliseconds on the clock that conditions are told.
    pub(crate) fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }

    /// The same of a moment that was read before.
    pub(crate) fn at(&self, instant: Instant) -> u64 {
        millis(instant.saturating_duration_since(self.started))
    }

    pub(crate) fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// What the balancer may pick, and the change that this is as of.
    pub(crate) fn choice(&self, now: u64) -> (u64, Choice) {
        let conditions = self.conditions();
        (self.changes(), conditions.choice(now))
    }

    /// An exchange with the instance at `at` went well. Costs a look at a line that rarely moves.
    pub(crate) fn succeeded(&self, at: usize) {
        let Some(instance) = self.instances.get(at) else { return };
        if instance.in_row.load(Relaxed) != 0 {
            instance.in_row.store(0, Relaxed);
        }
    }

    /// An exchange with the instance at `at` failed.
    pub(crate) fn failed(&self, at: usize, failure: Failure) {
        let Some(instance) = self.instances.get(at) else { return };
        let in_row = instance.in_row.fetch_add(1, Relaxed).saturating_add(1);
        let now = self.now();
        let mut conditions = self.conditions();
        let was_wary = conditions.is_wary(now);
        let ejected = conditions.failed(at, failure, in_row, now);
        if ejected {
            instance.ejections.fetch_add(1, Relaxed);
            tracing::warn!(service = %self.name, instance = %instance.name, in_row, "instance ejected");
        }
        // One failure after the other changes nothing: no core has to look.
        if ejected || !was_wary {
            self.changes.fetch_add(1, Relaxed);
        }
    }

    /// What the health checks of the instance at `at` say.
    pub(crate) fn checked(&self, at: usize, well: bool) {
        let Some(instance) = self.instances.get(at) else { return };
        let now = self.now();
        let mut conditions = self.conditions();
        if !conditions.checked(at, well, now) {
            return;
        }
        self.changes.fetch_add(1, Relaxed);
        if well {
            tracing::info!(service = %self.name, instance = %instance.name, "instance is well again");
        } else {
            tracing::warn!(service = %self.name, instance = %instance.name, "instance is not well");
        }
    }

    /// Takes one retry out of the budget, if there is one.
    pub(crate) fn may_retry(&self) -> bool {
        if self.counts.budget.load(Relaxed) == i64::MIN {
            self.refill();
        }
        let taken = self
            .counts
            .budget
            .try_update(Relaxed, Relaxed, |left| left.checked_sub(1).filter(|left| *left >= 0));
        let counter = if taken.is_ok() { &self.counts.retries } else { &self.counts.over_budget };
        counter.fetch_add(1, Relaxed);
        taken.is_ok()
    }

    /// A second has passed: its retries are added to the budget, which holds ten such seconds.
    pub(crate) fn refill(&self) {
        let begun = self.counts.load.begun();
        let paid_for = self.counts.paid_for.swap(begun, Relaxed);
        let retries = self.settings.retries;
        let of_all = begun.saturating_sub(paid_for).saturating_mul(u64::from(retries.share)) / 100;
        let second = i64::from(retries.floor) + i64::try_from(of_all).unwrap_or(i64::MAX / 16);
        let _ = self.counts.budget.try_update(Relaxed, Relaxed, |left| {
            Some(left.max(0).saturating_add(second).min(second.saturating_mul(10)))
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use portcullis_model::Window;
    use portcullis_policy::{bundle::OperationsSource, edge::EdgeSource, upstream::Retries};

    use super::*;

    /// A service with these instances.
    pub(crate) fn source(instances: &[(&str, &str)], upstream: UpstreamSource) -> ServiceSource {
        let instances =
            instances.iter().map(|(name, url)| (name.parse().unwrap(), url.to_string()));
        ServiceSource {
            name: "shop".parse().unwrap(),
            hosts: Vec::new(),
            path_prefix: None,
            labels: BTreeMap::new(),
            instances: instances.collect(),
            addressed_only: Vec::new(),
            operations: OperationsSource::Methods,
            groups: BTreeMap::new(),
            max_grant: Window::minutes(1),
            max_hold: Window::minutes(1),
            max_body: 0,
            max_bodies: BTreeMap::new(),
            upstream,
            strict_audit: false,
            anonymous: false,
            edge: EdgeSource::default(),
            place: (String::new(), None),
        }
    }

    fn service(share: u8, floor: u32) -> Service {
        let retries = Retries { share, floor, ..Retries::default() };
        let source = source(&[], UpstreamSource { retries, ..UpstreamSource::default() });
        Service::new(&source, Vec::new(), Arc::new(Counts::new(1)), Instant::now())
    }

    fn spent(service: &Service) -> usize {
        (0..10_000).take_while(|_| service.may_retry()).count()
    }

    #[test]
    fn a_budget_is_a_share_of_the_requests_and_a_floor() {
        let service = service(20, 3);
        assert_eq!(spent(&service), 3, "the floor is there from the beginning");
        service.refill();
        assert_eq!(spent(&service), 3);
        for _ in 0..100 {
            service.counts.load.more(0, What::Requests);
        }
        service.refill();
        assert_eq!(spent(&service), 23);
        // What nobody spends is kept for ten seconds.
        for _ in 0..60 {
            service.refill();
        }
        assert_eq!(spent(&service), 30);
        assert_eq!(service.counts.over_budget.load(Relaxed), 4);
    }

    #[test]
    fn without_a_budget_nothing_is_sent_again() {
        let service = service(0, 0);
        service.refill();
        assert_eq!(spent(&service), 0);
    }
}

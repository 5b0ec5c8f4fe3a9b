//! How many requests may wait: in all, at one service, for one principal, and in bytes. Shared by all cores; touched
//! by nothing but requests that wait.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use portcullis_model::{Entropy, PrincipalId, ServiceName};

use super::sealed::Key;

/// Bounds on requests that wait at the gate. One more is refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// Requests.
    pub requests: usize,
    /// Requests at one service.
    pub per_service: usize,
    /// Requests of one principal.
    pub per_principal: usize,
    /// Bytes of all their bodies.
    pub bytes: u64,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self { requests: 1000, per_service: 500, per_principal: 8, bytes: 64 * 1024 * 1024 }
    }
}

/// The seats of a gate, and the key that bodies are sealed with meanwhile.
#[derive(Debug)]
pub(crate) struct Holds {
    limits: HoldLimits,
    pub(super) key: Key,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    requests: usize,
    bytes: u64,
    of: HashMap<PrincipalId, usize>,
    at: HashMap<ServiceName, usize>,
}

/// Room for one request; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    holds: Arc<Holds>,
    principal: PrincipalId,
    service: ServiceName,
    bytes: u64,
}

impl Holds {
    pub(crate) fn new(limits: HoldLimits, entropy: &dyn Entropy) -> Self {
        Self { limits, key: Key::new(entropy), taken: Mutex::default() }
    }

    /// Room for one more request of `principal` at `service` with `bytes` of body, if there is any.
    pub(super) fn sit(
        self: &Arc<Self>,
        principal: &PrincipalId,
        service: &ServiceName,
        bytes: u64,
    ) -> Option<Seat> {
        let mut taken = self.taken();
        let own = taken.of.get(principal).copied().unwrap_or(0);
        let there = taken.at.get(service).copied().unwrap_or(0);
        let all = taken.bytes.saturating_add(bytes);
        if taken.requests >= self.limits.requests
            || there >= self.limits.per_service
            || own >= self.limits.per_principal
            || all > self.limits.bytes
        {
            return None;
        }
        taken.requests += 1;
        taken.bytes = all;
        taken.of.insert(principal.clone(), own + 1);
        taken.at.insert(service.clone(), there + 1);
        let (principal, service) = (principal.clone(), service.clone());
        Some(Seat { holds: Arc::clone(self), principal, service, bytes })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// It turned out to be this large, and no larger than was thought.
    pub(super) fn fit(&mut self, bytes: u64) {
        let spare = self.bytes.saturating_sub(bytes);
        let mut taken = self.holds.taken();
        taken.bytes = taken.bytes.saturating_sub(spare);
        self.bytes -= spare;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.holds.taken();
        taken.requests = taken.requests.saturating_sub(1);
        taken.bytes = taken.bytes.saturating_sub(self.bytes);
        one_less(&mut taken.of, &self.principal);
        one_less(&mut taken.at, &self.service);
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_model::PrincipalKind;
    use portcullis_testkit::SeededEntropy;

    use super::*;

    fn holds(limits: HoldLimits) -> Arc<Holds> {
        Arc::new(Holds::new(limits, &SeededEntropy::new(1)))
    }

    #[test]
    fn e39_requests_that_wait_are_bounded_in_all_for_each_and_in_bytes() {
        let ana = PrincipalId::new(PrincipalKind::User, "corp", "ana");
        let ben = PrincipalId::new(PrincipalKind::User, "corp", "ben");
        let limits = HoldLimits { requests: 3, per_service: 3, per_principal: 2, bytes: 100 };
        let holds = holds(limits);
        let shop: ServiceName = "shop".parse().unwrap();
        let mut first = holds.sit(&ana, &shop, 60).unwrap();
        assert!(holds.sit(&ben, &shop, 41).is_none(), "too large");
        first.fit(10);
        let second = holds.sit(&ana, &shop, 0).unwrap();
        assert!(holds.sit(&ana, &shop, 0).is_none(), "too many of one");
        let third = holds.sit(&ben, &shop, 90).unwrap();
        assert!(holds.sit(&ben, &shop, 0).is_none(), "too many in all");
        drop((first, second, third));
        assert!(holds.sit(&ana, &shop, 100).is_some());
        let taken = holds.taken();
        assert_eq!((taken.requests, taken.bytes, taken.of.len(), taken.at.len()), (0, 0, 0, 0));
    }

    #[test]
    fn one_service_has_not_all_the_seats() {
        let limits = HoldLimits { per_service: 2, per_principal: 3, ..HoldLimits::default() };
        let holds = holds(limits);
        let ana = PrincipalId::new(PrincipalKind::User, "corp", "ana");
        let [shop, bank] = ["shop", "bank"].map(|name| name.parse::<ServiceName>().unwrap());
        let first = holds.sit(&ana, &shop, 0).unwrap();
        let _second = holds.sit(&ana, &shop, 0).unwrap();
        assert!(holds.sit(&ana, &shop, 0).is_none());
        assert!(holds.sit(&ana, &bank, 0).is_some());
        drop(first);
        assert!(holds.sit(&ana, &shop, 0).is_some());
    }
}

//! How many requests may wait: in all, for one principal, and in bytes. Shared by all cores; touched
//! by nothing but requests that wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use portcullis_model::{Entropy, PrincipalId};

use super::sealed::Key;

/// Bounds on requests that wait at the gate. One more is refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// Requests.
    pub requests: usize,
    /// Requests of one principal.
    pub per_principal: usize,
    /// Bytes of all their bodies.
    pub bytes: u64,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self { requests: 1000, per_principal: 8, bytes: 64 * 1024 * 1024 }
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
}

/// Room for one request; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    holds: Arc<Holds>,
    principal: PrincipalId,
    bytes: u64,
}

impl Holds {
    pub(crate) fn new(limits: HoldLimits, entropy: &dyn Entropy) -> Self {
        Self { limits, key: Key::new(entropy), taken: Mutex::default() }
    }

    /// Room for one more request of `principal` with `bytes` of body, if there is any.
    pub(super) fn sit(self: &Arc<Self>, principal: &PrincipalId, bytes: u64) -> Option<Seat> {
        let mut taken = self.taken();
        let own = taken.of.get(principal).copied().unwrap_or(0);
        let all = taken.bytes.saturating_add(bytes);
        if taken.requests >= self.limits.requests
            || own >= self.limits.per_principal
            || all > self.limits.bytes
        {
            return None;
        }
        taken.requests += 1;
        taken.bytes = all;
        taken.of.insert(principal.clone(), own + 1);
        Some(Seat { holds: Arc::clone(self), principal: principal.clone(), bytes })
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
        if let Some(own) = taken.of.get_mut(&self.principal) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.principal);
            }
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
        let limits = HoldLimits { requests: 3, per_principal: 2, bytes: 100 };
        let holds = holds(limits);
        let mut first = holds.sit(&ana, 60).unwrap();
        assert!(holds.sit(&ben, 41).is_none(), "too large");
        first.fit(10);
        let second = holds.sit(&ana, 0).unwrap();
        assert!(holds.sit(&ana, 0).is_none(), "too many of one");
        let third = holds.sit(&ben, 90).unwrap();
        assert!(holds.sit(&ben, 0).is_none(), "too many in all");
        drop((first, second, third));
        assert!(holds.sit(&ana, 100).is_some());
        let taken = holds.taken();
        assert_eq!((taken.requests, taken.bytes, taken.of.len()), (0, 0, 0));
    }
}

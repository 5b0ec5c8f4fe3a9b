//! Who brought the policies in force, if it was a person.
//!
//! Nobody profits alone from policies that they brought into force themselves: their own access
//! requests take at least one review, by somebody who could review them under the policies before,
//! too.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use portcullis_model::{AccessRequest, PersonId, Principal};
use portcullis_policy::{Bundle, Snapshot};

/// One activation by a person.
#[derive(Debug)]
pub(crate) struct Brought {
    /// Who.
    pub(crate) person: PersonId,
    /// What was in force before they began; absent if it does not load any more.
    pub(crate) before: Option<Arc<Bundle>>,
}

/// The newest activations, by their generations. Those that no person made are not here.
#[derive(Debug, Default)]
pub(crate) struct BroughtBundles(Mutex<BTreeMap<u64, Arc<Brought>>>);

impl BroughtBundles {
    /// `generation` is brought by `person`, after `before` of the generation before.
    pub(crate) fn add(&self, generation: u64, person: PersonId, before: Option<Arc<Bundle>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = all.get(&(generation - 1)).filter(|earlier| earlier.person == person);
        // Going back twice is one change of theirs.
        let before = earlier.map_or(before, |earlier| earlier.before.clone());
        all.insert(generation, Arc::new(Brought { person, before }));
        // Somebody may still decide on the generation before.
        all.retain(|kept, _| *kept + 1 >= generation);
    }

    /// It did not come into force after all.
    pub(crate) fn forget(&self, generation: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&generation);
    }

    fn lookup(&self, snapshot: &Snapshot) -> Option<Arc<Brought>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&snapshot.stamp().generation).cloned()
    }

    /// Whether `caller` brought the policies of `snapshot`.
    pub(crate) fn by_caller(&self, snapshot: &Snapshot, caller: &Principal) -> bool {
        self.lookup(snapshot).is_some_and(|brought| caller.person == Some(brought.person))
    }

    /// If the requester brought the policies of `snapshot`: whether `allows` holds with those before
    /// as well. If they did not, it holds.
    pub(crate) fn also_before(
        &self,
        snapshot: &Snapshot,
        request: &AccessRequest,
        allows: impl FnOnce(&Snapshot) -> bool,
    ) -> bool {
        let Some(brought) = self.lookup(snapshot) else { return true };
        let since = snapshot.principal(&request.requester).and_then(|requester| requester.person);
        if request.person != Some(brought.person) && since != Some(brought.person) {
            return true;
        }
        let generation = snapshot.stamp().generation;
        brought.before.as_ref().is_some_and(|before| {
            allows(&snapshot.clone().with_bundle(Arc::clone(before), generation))
        })
    }
}

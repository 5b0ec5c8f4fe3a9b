//! What one core remembers of its decisions.
//!
//! Sound by its keys. A slice is keyed by bundle generation, principal epoch, what is known of who is
//! on call, operation and resource; an outcome by its slice, the grant and its version if one was used,
//! the incidents that matter, and the values of exactly the context attributes that the slice reads,
//! compared in full, not by their hash. Windows and uses of
//! grants are never remembered: they are checked each time.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

use portcullis_model::{GrantId, Way};

use crate::{
    Context,
    evaluate::Findings,
    facts::{Kept, Look, look},
    incidents::IncidentsKey,
    schedules::OnCallKey,
    slice::Slice,
};

/// Slices that are kept; each holds a few policies and entities.
const SLICES: usize = 2_048;
/// Outcomes that are kept.
const OUTCOMES: usize = 16_384;
/// Outcomes that depend on more bytes than this are not: keeping them would pin bodies in memory.
const HEAVIEST: usize = 1_024;

/// Decisions and slices remembered by one core. Sound by its keys; see the module documentation.
#[derive(Debug)]
pub struct DecisionCache {
    slices: Generations<SliceKey, Arc<Remembered>>,
    outcomes: Option<Generations<OutcomeKey, Vec<Entry>>>,
    visible: Generations<VisibleKey, bool>,
    hasher: RandomState,
    serial: u64,
}

impl Default for DecisionCache {
    fn default() -> Self {
        Self::with_limits(SLICES, OUTCOMES)
    }
}

impl DecisionCache {
    /// One that remembers slices and evaluates every decision.
    pub fn disabled() -> Self {
        Self { outcomes: None, ..Self::default() }
    }

    fn with_limits(slices: usize, outcomes: usize) -> Self {
        Self {
            slices: Generations::new(slices),
            outcomes: Some(Generations::new(outcomes)),
            visible: Generations::new(slices),
            hasher: RandomState::new(),
            serial: 0,
        }
    }

    /// One that forgets almost everything.
    #[cfg(test)]
    pub(crate) fn of_size(size: usize) -> Self {
        Self::with_limits(size, size)
    }

    /// The slice under `key`, made by `make` if it is not remembered.
    pub(crate) fn slice<E>(
        &mut self,
        key: SliceKey,
        make: impl FnOnce() -> Result<Slice, E>,
    ) -> Result<Arc<Remembered>, E> {
        if let Some(slice) = self.slices.lookup(&key) {
            return Ok(slice);
        }
        self.serial += 1;
        let slice = Arc::new(Remembered { serial: self.serial, slice: make()? });
        self.slices.insert(key, Arc::clone(&slice));
        Ok(slice)
    }

    /// The outcome of `asked` on `slice` in `context`, made by `make` if it is not remembered.
    pub(crate) fn outcome(
        &mut self,
        slice: &Remembered,
        asked: Asked,
        context: &Context,
        make: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let Some(outcomes) = self.outcomes.as_mut().filter(|_| slice.remembers(asked)) else {
            return make();
        };
        let looks =
            || slice.slice.keyed_by.iter().map(|read| look(read, context, &slice.slice.clocks));
        let mut hasher = self.hasher.build_hasher();
        looks().for_each(|look| look.hash(&mut hasher));
        let key = OutcomeKey { slice: slice.serial, asked, values: hasher.finish() };
        let mut entries = outcomes.lookup_mut(&key);
        let found = entries.as_deref_mut().and_then(|entries| {
            entries.iter().find(|entry| entry.is_for(looks())).map(|entry| entry.outcome.clone())
        });
        if let Some(outcome) = found {
            return outcome;
        }
        let outcome = make();
        if outcome.is_lasting() && looks().map(|look| look.weight()).sum::<usize>() <= HEAVIEST {
            let values = looks().map(Kept::from).collect();
            let entry = Entry { values, outcome: outcome.clone() };
            match entries {
                Some(entries) => entries.push(entry),
                None => outcomes.insert(key, vec![entry]),
            }
        }
        outcome
    }

    /// Whether a principal sees a service, made by `make` if it is not remembered.
    pub(crate) fn visible(&mut self, key: VisibleKey, make: impl FnOnce() -> bool) -> bool {
        if let Some(visible) = self.visible.lookup(&key) {
            return visible;
        }
        let visible = make();
        self.visible.insert(key, visible);
        visible
    }
}

/// What a slice is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SliceKey {
    pub(crate) generation: u64,
    pub(crate) epoch: u128,
    pub(crate) on_call: OnCallKey,
    pub(crate) operation: u32,
    pub(crate) resource: u32,
}

/// What visibility depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VisibleKey {
    pub(crate) generation: u64,
    pub(crate) epoch: u128,
    pub(crate) resource: u32,
}

/// A slice with a number that is never used again.
#[derive(Debug)]
pub(crate) struct Remembered {
    serial: u64,
    pub(crate) slice: Slice,
}

impl Remembered {
    fn remembers(&self, asked: Asked) -> bool {
        self.slice.is_cacheable()
            && (!matches!(asked, Asked::Ways(_)) || !self.slice.reads.grant_end())
    }
}

/// An incident as it was at one version, and whether it was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct IncidentSeen {
    pub(crate) version: u32,
    pub(crate) is_fresh: bool,
}

/// Which of the questions that make a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// Standing permits and all forbids.
    Standing,
    /// One grant, as it was at this version, and its incident.
    Grant(GrantId, u32, Option<IncidentSeen>),
    /// What would open it, with the incidents as they were.
    Ways(IncidentsKey),
}

/// Its answer.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Found(Findings),
    Ways(Arc<[Way]>),
}

impl Outcome {
    /// Whether it would be the same another time: how long it took need not be.
    fn is_lasting(&self) -> bool {
        match self {
            Self::Found(found) => !found.took_too_long,
            Self::Ways(_) => true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct OutcomeKey {
    slice: u64,
    asked: Asked,
    /// Only to find the entry; the values are compared.
    values: u64,
}

#[derive(Debug)]
struct Entry {
    values: Box<[Kept]>,
    outcome: Outcome,
}

impl Entry {
    fn is_for<'a>(&self, looks: impl Iterator<Item = Look<'a>>) -> bool {
        self.values.iter().zip(looks).all(|(kept, look)| kept.is(look))
    }
}

/// A bounded map: when the young half is full, it becomes the old one, and the old one is forgotten.
/// What is used stays, what is not used goes, and no operation takes longer than a map's. Keys are
/// numbers that no client chooses, so a quick hash will do.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V, foldhash::fast::RandomState>,
    old: HashMap<K, V, foldhash::fast::RandomState>,
    limit: usize,
}

impl<K: Hash + Eq + Copy, V> Generations<K, V> {
    fn new(limit: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), limit }
    }

    fn lookup_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            self.insert(*key, value);
        }
        self.young.get_mut(key)
    }

    fn lookup(&mut self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        self.lookup_mut(key).cloned()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests;

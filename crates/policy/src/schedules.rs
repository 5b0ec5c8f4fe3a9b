//! Who is on call, as snapshots know it.
//!
//! What is said of a schedule may be known for a time only. Outside of it, and where nothing was ever
//! said, it is unknown.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use portcullis_model::{PrincipalId, Schedule, ScheduleName};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::rotations::Rotations;

/// All schedules. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schedules {
    all: RedBlackTreeMapSync<ScheduleName, Arc<Schedule>>,
    /// Grows with every change.
    epoch: u64,
    /// The epoch in which a name came or went.
    named: u64,
    /// The epoch in which somebody was last put on a schedule or taken off one.
    moved: HashTrieMapSync<PrincipalId, u64>,
}

/// Two equal ones, of one snapshot and its successors, stand for one state of knowledge about one
/// principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct OnCallKey {
    moved: u64,
    named: u64,
    /// How often people have taken turns.
    turns: i64,
    /// The epoch, and how many schedules are not known yet and not known any more.
    unknown: Option<(u64, u32, u32)>,
}

/// What is known of one principal at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct OnCall {
    /// The schedules that they are on.
    pub(crate) on: Vec<ScheduleName>,
    /// The schedules of which nothing else is known than their names.
    lapsed: BTreeSet<ScheduleName>,
    known: BTreeSet<ScheduleName>,
}

impl OnCall {
    /// Whether it is unknown who is on `schedule`.
    pub(crate) fn is_unknown(&self, schedule: &str) -> bool {
        !self.known.iter().any(|known| known.as_str() == schedule)
    }

    /// Whether that is unknown of any schedule that there is.
    pub(crate) fn some_unknown(&self) -> bool {
        !self.lapsed.is_empty()
    }
}

impl Schedules {
    pub(crate) fn lookup(&self, name: &ScheduleName) -> Option<&Arc<Schedule>> {
        self.all.get(name)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn put(&mut self, schedule: Arc<Schedule>) {
        self.epoch += 1;
        let nobody = BTreeSet::new();
        let before = self.all.get(&schedule.name).map(Arc::clone);
        if before.is_none() {
            self.named = self.epoch;
        }
        let before = before.as_ref().map_or(&nobody, |before| &before.people);
        for person in before.symmetric_difference(&schedule.people) {
            self.moved.insert_mut(person.clone(), self.epoch);
        }
        self.all.insert_mut(schedule.name.clone(), schedule);
    }

    pub(crate) fn remove(&mut self, name: &ScheduleName) {
        let Some(gone) = self.all.get(name).map(Arc::clone) else { return };
        self.epoch += 1;
        self.named = self.epoch;
        for person in &gone.people {
            self.moved.insert_mut(person.clone(), self.epoch);
        }
        self.all.remove_mut(name);
    }

    /// What stands for all that [`Self::on_call`] says.
    pub(crate) fn key(
        &self,
        principal: &PrincipalId,
        rotations: &Rotations,
        now: Timestamp,
    ) -> OnCallKey {
        let (mut early, mut late) = (0, 0);
        for schedule in self.said(rotations) {
            match when(schedule, now) {
                Ordering::Less => early += 1,
                Ordering::Equal => {}
                Ordering::Greater => late += 1,
            }
        }
        OnCallKey {
            moved: self.moved.get(principal).copied().unwrap_or(0),
            named: self.named,
            turns: rotations.turns(now),
            unknown: (early + late > 0).then_some((self.epoch, early, late)),
        }
    }

    pub(crate) fn on_call(
        &self,
        principal: &PrincipalId,
        rotations: &Rotations,
        now: Timestamp,
    ) -> OnCall {
        let mut found = OnCall::default();
        for schedule in self.at(rotations, now) {
            if !schedule.is_known(now) {
                found.lapsed.insert(schedule.name.clone());
                continue;
            }
            found.known.insert(schedule.name.clone());
            if schedule.people.contains(principal) {
                found.on.push(schedule.name.clone());
            }
        }
        found
    }

    /// Every schedule, known or not, whoever keeps it.
    pub(crate) fn at(&self, rotations: &Rotations, now: Timestamp) -> Vec<Arc<Schedule>> {
        let mut all: Vec<_> = self.said(rotations).map(Arc::clone).collect();
        all.extend(rotations.at(now));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// What was said of schedules that configuration does not keep.
    fn said<'a>(&'a self, rotations: &'a Rotations) -> impl Iterator<Item = &'a Arc<Schedule>> {
        self.all.values().filter(|schedule| !rotations.keeps(&schedule.name))
    }

    /// When what is known changes next by waiting.
    pub(crate) fn next_change(&self, rotations: &Rotations, now: Timestamp) -> Option<Timestamp> {
        let all = self.at(rotations, now);
        let times = all.iter().flat_map(|schedule| [schedule.since, schedule.until]);
        times.flatten().filter(|at| now < *at).min()
    }
}

/// `Less` before what is said holds, `Greater` after it.
fn when(schedule: &Schedule, now: Timestamp) -> Ordering {
    if schedule.since.is_some_and(|since| now < since) {
        Ordering::Less
    } else if schedule.is_known(now) {
        Ordering::Equal
    } else {
        Ordering::Greater
    }
}

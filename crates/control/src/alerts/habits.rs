//! What principals usually do, and where from.

use std::{cmp::Ordering, collections::HashMap};

use jiff::{SignedDuration, Timestamp};
use portcullis_store::{ExportChange, StoredHabit};

use super::Memory;

/// Habits that are remembered of all principals together; the ones seen longest ago are forgotten first.
const MOST: usize = 100_000;
/// That something was seen again is written down so seldom.
const WRITTEN_DOWN: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug, Default)]
pub(super) struct Habits(HashMap<Key, Habit>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: &'static str,
    principal: String,
    what: String,
}

#[derive(Debug, Clone, Copy)]
struct Habit {
    first: Timestamp,
    last: Timestamp,
    stored: Timestamp,
}

impl Habits {
    pub(super) fn of(stored: Vec<StoredHabit>) -> Self {
        let habit = |one: StoredHabit| {
            let key = Key { kind: one.kind, principal: one.principal, what: one.what };
            let (first, last) = (one.first_seen, one.last_seen);
            (key, Habit { first, last, stored: last })
        };
        Self(stored.into_iter().map(habit).collect())
    }

    /// Whether it is unusual for `principal` that `what` is seen at `at`.
    pub(super) fn is_unusual(
        &self,
        kind: &'static str,
        principal: &str,
        what: &str,
        at: Timestamp,
        memory: Memory,
    ) -> bool {
        let of = |what: &str| {
            self.0.get(&Key { kind, principal: principal.to_owned(), what: what.to_owned() })
        };
        let lately = |habit: &Habit| at.duration_since(habit.last) <= memory.remember.signed();
        let known = of("").is_some_and(|one| at.duration_since(one.first) >= memory.learn.signed());
        known && !of(what).is_some_and(lately)
    }

    /// Remembers that it was seen; what has to be written down of it goes to `changes`.
    pub(super) fn see(
        &mut self,
        kind: &'static str,
        principal: &str,
        what: &str,
        at: Timestamp,
        remember: SignedDuration,
        changes: &mut Vec<ExportChange>,
    ) {
        if self.0.len() + 2 > MOST {
            self.make_room(changes);
        }
        let seldom = WRITTEN_DOWN.min(remember / 4);
        for what in ["", what] {
            let key = Key { kind, principal: principal.to_owned(), what: what.to_owned() };
            let fresh = !self.0.contains_key(&key);
            let habit = self.0.entry(key).or_insert(Habit { first: at, last: at, stored: at });
            habit.last = habit.last.max(at);
            if fresh || habit.last.duration_since(habit.stored) >= seldom {
                habit.stored = habit.last;
                changes.push(ExportChange::Habit(StoredHabit {
                    kind,
                    principal: principal.to_owned(),
                    what: what.to_owned(),
                    first_seen: habit.first,
                    last_seen: habit.last,
                }));
            }
        }
    }

    /// Forgets what was not seen since `before`, and whoever was not.
    pub(super) fn forget(
        &mut self,
        kind: &'static str,
        before: Timestamp,
        changes: &mut Vec<ExportChange>,
    ) {
        let count = self.0.len();
        self.0.retain(|key, habit| key.kind != kind || habit.last >= before);
        if self.0.len() < count {
            // What the store has may be older than what is known here.
            changes.push(ExportChange::ForgetHabits { kind, before: before - WRITTEN_DOWN });
        }
    }

    /// A quarter goes. What is forgotten will be unusual once: better a call too many.
    fn make_room(&mut self, changes: &mut Vec<ExportChange>) {
        let mut times: Vec<Timestamp> = self.0.values().map(|habit| habit.last).collect();
        times.sort_unstable();
        let Some(before) = times.get(times.len() / 4).copied() else { return };
        tracing::warn!(
            habits = self.0.len(),
            "too many habits to remember: the oldest are forgotten"
        );
        // Of those of the same moment, as many as it takes.
        let mut too_many = times.partition_point(|last| *last <= before) - times.len() / 4;
        self.0.retain(|_, habit| match habit.last.cmp(&before) {
            Ordering::Equal if too_many > 0 => {
                too_many -= 1;
                true
            }
            Ordering::Less | Ordering::Equal => false,
            Ordering::Greater => true,
        });
        let forget = |kind| ExportChange::ForgetHabits { kind, before };
        changes.extend(StoredHabit::KINDS.map(forget));
    }
}

#[cfg(test)]
mod tests {
    use portcullis_model::Window;

    use super::*;

    const MEMORY: Memory = Memory { remember: Window::minutes(60), learn: Window::minutes(5) };

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[test]
    fn what_was_done_lately_is_usual_and_newcomers_have_no_habits() {
        let (mut habits, mut changes) = (Habits::default(), Vec::new());
        let unusual = |habits: &Habits, what: &str, minute| {
            habits.is_unusual("operation", "ana", what, at(minute), MEMORY)
        };
        let remember = MEMORY.remember.signed();
        assert!(!unusual(&habits, "read", 0), "nobody knows her");
        habits.see("operation", "ana", "read", at(0), remember, &mut changes);
        assert!(!unusual(&habits, "pay", 4), "she is still new");
        assert!(unusual(&habits, "pay", 5) && !unusual(&habits, "read", 5));
        assert!(!unusual(&habits, "read", 60) && unusual(&habits, "read", 61));
        assert_eq!(changes.len(), 2, "her, and what she did");
        habits.see("operation", "ana", "read", at(1), remember, &mut changes);
        assert_eq!(changes.len(), 2, "seldom written down");
        habits.see("operation", "ana", "read", at(16), remember, &mut changes);
        assert_eq!(changes.len(), 4);
        habits.see("operation", "ana", "pay", at(20), remember, &mut changes);
        habits.forget("operation", at(20), &mut changes);
        assert!(unusual(&habits, "read", 21), "forgotten, and she is still known");
        habits.forget("operation", at(21), &mut changes);
        assert!(habits.0.is_empty(), "and she is not");
    }

    #[test]
    fn names_alone_and_one_moment_do_not_make_it_forget_everything() {
        let remember = MEMORY.remember.signed();
        for all_at_once in [false, true] {
            let (mut habits, mut changes) = (Habits::default(), Vec::new());
            for n in 0..i64::try_from(MOST).unwrap() {
                let (who, when) = (format!("who-{n}"), at(if all_at_once { 0 } else { n }));
                habits.see("operation", &who, "read", when, remember, &mut changes);
                assert!(n < 50_000 || habits.0.len() > MOST / 2);
            }
            assert!(habits.0.len() <= MOST);
        }
    }

    #[test]
    fn there_are_so_many_habits_and_no_more() {
        let (mut habits, mut changes) = (Habits::default(), Vec::new());
        for n in 0..i64::try_from(MOST).unwrap() + 5000 {
            let who = format!("who-{}", n % 100);
            let remember = MEMORY.remember.signed();
            habits.see("operation", &who, &format!("op-{n}"), at(n), remember, &mut changes);
        }
        assert!(habits.0.len() <= MOST);
        assert!(!habits.is_unusual(
            "operation",
            "who-99",
            &format!("op-{}", MOST + 4999),
            at(1),
            MEMORY
        ));
    }
}

//! How contact with each connected system is: whoever speaks with one says how it went, and operators see it.
//!
//! Kept in memory, and bounded: of everything the last, in a line. Reasons have no secrets in them: whoever says
//! one promises that. It decides nothing, and after a start nothing is known until somebody was spoken with.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use super::text::visible;

/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 300;
/// However long a system says that it wants to be left alone.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(1);

/// A system, as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedSystem {
    /// The section of the configuration, in the singular: `teams`, `webhook`, `pagerduty`.
    pub kind: &'static str,
    /// Its name, as policies and the record have it: `teams:payments`, `slack`, `decisions:change-desk`.
    pub name: String,
    /// Where it leads, for people: without anything secret.
    pub place: String,
}

/// Contact with all systems that the configuration has.
#[derive(Debug, Default)]
pub(crate) struct Contacts(Vec<(ConnectedSystem, Mutex<Known>)>);

/// What is known of one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// When it last took or answered something.
    pub(crate) answered_at: Option<Timestamp>,
    /// When a message of it last came in, of those that it vouches for.
    pub(crate) heard_at: Option<Timestamp>,
    /// The last attempt did not get through.
    pub(crate) trouble: Option<Trouble>,
    /// What else keeps it from working, by what that is: it is over when whoever said it says so.
    pub(crate) apart: BTreeMap<&'static str, Trouble>,
    /// It wants to be left alone until then.
    pub(crate) rests_until: Option<Timestamp>,
    /// The last message in its name that did nothing: when, and why.
    pub(crate) refused: Option<(Timestamp, String)>,
    /// Attempts to reach it that failed.
    pub(crate) failures: u64,
}

/// What is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    /// Since when.
    pub(crate) since: Timestamp,
    /// When it was last so.
    pub(crate) last: Timestamp,
    /// In a line.
    pub(crate) why: String,
}

impl Contacts {
    /// With `systems`, in their order.
    pub(crate) fn new(systems: impl IntoIterator<Item = ConnectedSystem>) -> Self {
        Self(systems.into_iter().map(|system| (system, Mutex::default())).collect())
    }

    /// All of them, with what is known.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&ConnectedSystem, Known)> {
        self.0.iter().map(|(system, known)| (system, lock(known).clone()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It took something, or answered.
    pub(crate) fn answered(&self, name: &str, at: Timestamp) {
        let Some(mut known) = self.known(name) else { return };
        known.answered_at = known.answered_at.max(Some(at));
        known.trouble = None;
        known.rests_until = None;
    }

    /// An attempt did not get through; it wants to be left alone for `rest`, if it says so.
    pub(crate) fn failed(
        &self,
        name: &str,
        at: Timestamp,
        why: &str,
        rest: Option<SignedDuration>,
    ) {
        let Some(mut known) = self.known(name) else { return };
        known.failures = known.failures.saturating_add(1);
        known.rests_until = rest.map(|rest| at + rest.min(LONGEST_REST));
        let since = known.trouble.as_ref().map_or(at, |before| before.since);
        known.trouble = Some(Trouble { since, last: at, why: visible(why, LONGEST_REASON) });
    }

    /// A message came in that it vouches for.
    pub(crate) fn heard(&self, name: &str, at: Timestamp) {
        let Some(mut known) = self.known(name) else { return };
        known.heard_at = known.heard_at.max(Some(at));
    }

    /// A message in its name did nothing. Anybody may send such: it says nothing of how the system is.
    pub(crate) fn refused(&self, name: &str, at: Timestamp, why: &str) {
        let Some(mut known) = self.known(name) else { return };
        known.refused = Some((at, visible(why, LONGEST_REASON)));
    }

    /// `what` keeps it from working, whatever else it answers; `None` if it answered that it does no more.
    pub(crate) fn apart(&self, name: &str, what: &'static str, at: Timestamp, why: Option<&str>) {
        let Some(mut known) = self.known(name) else { return };
        let Some(why) = why else {
            known.apart.remove(what);
            known.answered_at = known.answered_at.max(Some(at));
            return;
        };
        let since = known.apart.get(what).map_or(at, |before| before.since);
        let trouble = Trouble { since, last: at, why: visible(why, LONGEST_REASON) };
        known.apart.insert(what, trouble);
    }

    /// `None` if the configuration has no such system.
    fn known(&self, name: &str) -> Option<MutexGuard<'_, Known>> {
        self.0.iter().find(|(system, _)| system.name == name).map(|(_, known)| lock(known))
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn contacts() -> Contacts {
        let place = "https://teams.example.com".to_owned();
        Contacts::new([ConnectedSystem { kind: "teams", name: "teams:a".to_owned(), place }])
    }

    fn known(contacts: &Contacts) -> Known {
        contacts.each().next().unwrap().1
    }

    #[test]
    fn trouble_lasts_from_the_first_failure_to_the_next_answer() {
        let contacts = contacts();
        contacts.failed("teams:a", at(1), "it answered 500", None);
        let rest = SignedDuration::MAX;
        contacts.failed("teams:a", at(2), "it answered 429\n", Some(rest));
        contacts.failed("teams:b", at(2), "nobody knows it", None);
        let seen = known(&contacts);
        assert_eq!(seen.rests_until, Some(at(2) + LONGEST_REST));
        let trouble = seen.trouble.unwrap();
        assert_eq!((trouble.since, trouble.last), (at(1), at(2)));
        assert_eq!(trouble.why, "it answered 429⟨U+000A⟩");
        contacts.answered("teams:a", at(3));
        contacts.answered("teams:a", at(2));
        let seen = known(&contacts);
        assert!(seen.trouble.is_none() && seen.rests_until.is_none());
        assert_eq!((seen.answered_at, seen.failures), (Some(at(3)), 2));
    }

    #[test]
    fn what_strangers_send_says_nothing_of_the_system_and_is_bounded() {
        let contacts = contacts();
        contacts.answered("teams:a", at(1));
        contacts.refused("teams:a", at(2), &"x".repeat(10_000));
        let seen = known(&contacts);
        assert!(seen.trouble.is_none() && seen.heard_at.is_none());
        assert!(seen.refused.unwrap().1.len() < 400);
    }

    #[test]
    fn what_stands_apart_is_over_when_it_is_said_to_be() {
        let contacts = contacts();
        contacts.apart("teams:a", "socket", at(1), Some("it is not connected"));
        contacts.apart("teams:a", "socket", at(2), Some("it still is not"));
        contacts.answered("teams:a", at(3));
        assert_eq!(known(&contacts).apart["socket"].since, at(1));
        contacts.apart("teams:a", "socket", at(4), None);
        assert!(known(&contacts).apart.is_empty());
    }
}

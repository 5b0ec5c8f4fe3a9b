//! Properties of decisions over generated policies, people, requests, grants and changes.
//!
//! `PROPTEST_CASES` asks for more than the few cases of every run.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_model::{Grant, GrantEnd, IncidentId, PrincipalKind, RequestId, Way, Window};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

use crate::{
    Answer, DecisionCache, Denial, Snapshot, Verdict,
    fixture::{ids, now, tell},
};

mod oracle;
mod world;

use oracle::Oracle;
use world::{Asking, Draft, Fact, Step, Town, asking, fact, incident_id, numbered, steps, town};

fn config() -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 32;
    }
    config
}

fn decide(snapshot: &Snapshot, asking: &Asking) -> Verdict {
    snapshot.decide(&asking.query(), &mut DecisionCache::disabled())
}

fn held(snapshot: &Snapshot, grant: Grant) -> Snapshot {
    let from = grant.starts_at;
    snapshot.clone().with_grant(Arc::new(grant), from)
}

fn said(snapshot: Snapshot, facts: &[Fact]) -> Snapshot {
    (0..).zip(facts).fold(snapshot, |snapshot, (number, fact)| fact.said(snapshot, number))
}

/// All that a verdict says.
fn all_of(verdict: &Verdict) -> String {
    let grant = match &verdict.answer {
        Answer::Permit(pass) => pass.grant().map(|grant| (grant.id, grant.version)),
        Answer::Requestable(_) | Answer::Deny(_) => None,
    };
    let Verdict { policies, valid_until, to_be_checked, .. } = verdict;
    format!("{} {grant:?} {policies:?} {valid_until:?} {to_be_checked:?}", tell(verdict))
}

/// Snapshots as they follow each other, and the grants that were issued.
struct History {
    towns: [Town; 2],
    snapshot: Snapshot,
    grants: Vec<Grant>,
    told: u32,
}

impl History {
    fn new(towns: [Town; 2]) -> Self {
        let snapshot = Snapshot::new(Arc::clone(&towns[0].bundle), 1);
        Self { towns, snapshot, grants: Vec::new(), told: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Ask(_) => {}
            Step::Activate(town) => {
                let generation = self.snapshot.stamp().generation + 1;
                let bundle = Arc::clone(&self.towns[*town].bundle);
                self.snapshot = self.snapshot.clone().with_bundle(bundle, generation);
            }
            Step::Say(fact) => {
                self.told += 1;
                self.snapshot = fact.said(self.snapshot.clone(), self.told);
            }
            Step::Issue(asking, rule, reviews, max_uses, incident) => {
                let grant = asking.grant_of(self.town(), *rule, *reviews, Window::minutes(20));
                let number = self.grants.len();
                let grant = Grant { incident: incident.clone(), ..numbered(grant, number) };
                self.grants.push(Grant { max_uses: *max_uses, ..grant });
                self.publish(number);
            }
            Step::Extend(at, minutes) => self.change(*at, |grant| {
                let expires_at = grant.expires_at + jiff::SignedDuration::from_mins(*minutes);
                Grant { expires_at, version: grant.version + 1, ..grant }
            }),
            Step::Review(at) => self.change(*at, |grant| {
                let (reviews, version) = (grant.reviews + 1, grant.version + 1);
                Grant { reviews, version, ..grant }
            }),
            Step::Use(at) => self.change(*at, |grant| {
                let used = grant.clone().consume(now(), RequestId::from_bits(1));
                used.unwrap_or(grant)
            }),
            Step::End(at) => self.change(*at, |grant| {
                grant.clone().end(now(), GrantEnd::Revoked, None).unwrap_or(grant)
            }),
        }
    }

    fn change(&mut self, at: usize, change: impl FnOnce(Grant) -> Grant) {
        if let Some(grant) = self.grants.get_mut(at) {
            *grant = change(grant.clone());
            self.publish(at);
        }
    }

    fn publish(&mut self, at: usize) {
        let grant = self.grants[at].clone();
        let from = grant.starts_at;
        self.snapshot = self.snapshot.clone().with_grant(Arc::new(grant), from);
    }

    fn town(&self) -> &Town {
        let digest = &self.snapshot.stamp().digest;
        self.towns.iter().find(|town| town.bundle.digest() == digest).unwrap()
    }
}

/// Properties over a world in which nothing happens hold as well.
#[test]
fn the_world_has_every_answer() {
    let mut runner = TestRunner::deterministic();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..300 {
        let town = town().new_tree(&mut runner).unwrap().current();
        let snapshot = Snapshot::new(Arc::clone(&town.bundle), 1);
        for _ in 0..20 {
            let asking = asking().new_tree(&mut runner).unwrap().current();
            let here = |asking| match decide(&snapshot, asking) {
                Verdict { answer: Answer::Permit(_), .. } => "permit",
                Verdict { answer: Answer::Requestable(ways), .. } => match ways.as_slice() {
                    [way] if way.is_emergency() => "only an emergency",
                    [_] => "one way",
                    _ => "several ways",
                },
                Verdict { answer: Answer::Deny(Denial::ErroringForbid), .. } => "erring",
                Verdict { answer: Answer::Deny(_), .. } => "deny",
            };
            *times.entry(here(&asking)).or_default() += 1;
            let ahead = decide(&snapshot, &asking.ahead());
            if !ahead.to_be_checked.is_empty() {
                let kind = if matches!(ahead.answer, Answer::Deny(_)) { "open" } else { "offered" };
                *times.entry(kind).or_default() += 1;
            }
        }
    }
    let all = ["permit", "one way", "only an emergency", "several ways", "erring", "deny"];
    for answer in all.into_iter().chain(["open", "offered"]) {
        assert!(times.get(answer).is_some_and(|times| *times >= 3), "{answer}: {times:?}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_slice_answers_as_all_policies_do(
        town in town(),
        questions in proptest::collection::vec(asking(), 12),
        grants in proptest::collection::vec((asking(), 0..10_usize, 0..=3_u8, incident_id()), 0..4),
        facts in proptest::collection::vec(fact(), 0..5),
    ) {
        let oracle = Oracle::of(&town);
        let mut snapshot = said(Snapshot::new(Arc::clone(&town.bundle), 1), &facts);
        for (number, (asking, rule, reviews, incident)) in grants.iter().enumerate() {
            let grant = asking.grant_of(&town, *rule, *reviews, Window::minutes(20));
            let grant = Grant { incident: incident.clone(), ..numbered(grant, number) };
            snapshot = held(&snapshot, grant);
        }
        for asking in &questions {
            let verdict = decide(&snapshot, asking);
            let (answer, policies) = oracle.decide(&snapshot, asking);
            prop_assert_eq!(tell(&verdict), answer, "{}\n{:?}", town.text, asking);
            if let Answer::Permit(_) = verdict.answer {
                prop_assert_eq!(ids(&verdict), policies, "{}\n{:?}", town.text, asking);
            }
        }
    }

    #[test]
    fn a_service_is_visible_to_whom_some_head_matches(town in town(), asking in asking()) {
        let seen = town.bundle.head_matches_service(&asking.subject, &asking.resource.service);
        prop_assert_eq!(seen, Oracle::of(&town).sees(&asking), "{}\n{:?}", town.text, asking);
    }

    #[test]
    fn f10_what_is_remembered_is_what_would_be_evaluated(
        towns in (town(), town()),
        steps in steps(),
    ) {
        let mut history = History::new([towns.0, towns.1]);
        // Two of them: a large one that forgets nothing, and one that forgets all the time.
        let mut caches = [DecisionCache::default(), DecisionCache::of_size(2)];
        let mut questions: Vec<&Asking> = Vec::new();
        for step in &steps {
            history.step(step);
            if let Step::Ask(asking) = step {
                questions.push(asking);
            }
            // What was asked before is asked again after every change.
            for asking in questions.iter().rev().take(4) {
                let evaluated = all_of(&decide(&history.snapshot, asking));
                for cache in &mut caches {
                    let remembered = history.snapshot.decide(&asking.query(), cache);
                    prop_assert_eq!(
                        all_of(&remembered), &*evaluated, "{}\n{:?}", history.town().text, asking
                    );
                    let pass = history.snapshot.pass(&asking.query(), cache);
                    let permitted = match &remembered.answer {
                        Answer::Permit(pass) => Some(format!("{pass:?}")),
                        Answer::Requestable(_) | Answer::Deny(_) => None,
                    };
                    prop_assert_eq!(pass.map(|pass| format!("{pass:?}")), permitted);
                }
            }
        }
    }

    #[test]
    fn n09_a_way_opens_what_it_promises_and_none_is_hidden(
        town in town(),
        questions in proptest::collection::vec(asking(), 8),
        facts in proptest::collection::vec(fact(), 0..5),
    ) {
        let snapshot = said(Snapshot::new(Arc::clone(&town.bundle), 1), &facts);
        for asking in &questions {
            let Answer::Requestable(ways) = decide(&snapshot, asking).answer else { continue };
            let opens = |rule: &str, reviews: u8, window: Window, incident: Option<&IncidentId>| {
                let incident = incident.cloned();
                let number = rule.trim_start_matches('p').parse().unwrap();
                let grant = asking.grant_of(&town, number, reviews, window);
                let grant = Grant { incident, ..grant };
                tell(&decide(&held(&snapshot, grant), asking)) == "permit by grant"
            };
            for way in &ways {
                let rule = way.rule.as_str();
                let incident = way.incident.as_ref();
                let opened = opens(rule, way.reviews, way.max_duration, incident);
                prop_assert!(opened, "{way:?}\n{}\n{asking:?}", town.text);
            }
            for (number, draft) in town.drafts.iter().enumerate().filter(|(_, d)| d.is_rule()) {
                let (id, window) = (Draft::id(number), Window::minutes(draft.minutes));
                let way = ways.iter().find(|way| way.rule.as_str() == id);
                let own = opens(&id, draft.reviews, window, None);
                let plain = |way: &Way| way.reviews == draft.reviews && way.incident.is_none();
                let as_it_is = way.is_some_and(plain);
                // Nobody issues that grant: an emergency is for people.
                let is_person = asking.subject.principal().id.kind == PrincipalKind::User;
                let own = own && (is_person || !draft.emergency);
                prop_assert_eq!(own, as_it_is, "{}\n{}\n{:?}", id, town.text, asking);
                if let Some(way) = way {
                    let incident = way.incident.as_ref();
                    prop_assert_eq!(way.is_emergency(), draft.emergency);
                    let mut fewer = draft.reviews..way.reviews;
                    let fewer = fewer.find(|n| opens(&id, *n, window, incident));
                    prop_assert_eq!(fewer, None, "{}\n{}\n{:?}", id, town.text, asking);
                    // An incident is asked for only where nothing goes without one.
                    let without = (draft.reviews..=5).find(|n| opens(&id, *n, window, None));
                    let needless = incident.is_some() && without.is_some();
                    prop_assert!(!needless, "{}\n{}\n{:?}", id, town.text, asking);
                    prop_assert_eq!(way.max_uses, draft.max_uses);
                    prop_assert_eq!(way.max_duration, window);
                }
            }
        }
    }

    #[test]
    fn n09_what_is_said_ahead_holds_for_the_request_that_comes(
        town in town(),
        questions in proptest::collection::vec(asking(), 8),
        facts in proptest::collection::vec(fact(), 0..5),
    ) {
        let snapshot = said(Snapshot::new(Arc::clone(&town.bundle), 1), &facts);
        for asking in &questions {
            let ahead = decide(&snapshot, &asking.ahead());
            let later = decide(&snapshot, asking);
            let told = format!("{}\n{asking:?}\nahead {}", town.text, all_of(&ahead));
            match (&ahead.answer, &later.answer) {
                (Answer::Permit(_), later) => {
                    prop_assert!(matches!(later, Answer::Permit(_)), "{told}\n{later:?}");
                }
                (Answer::Deny(_), Answer::Requestable(ways)) => {
                    prop_assert!(false, "{told}\nhidden {ways:?}");
                }
                (Answer::Deny(_), Answer::Permit(_)) => {
                    prop_assert!(!ahead.to_be_checked.is_empty(), "{told}");
                }
                (Answer::Requestable(promised), Answer::Requestable(ways)) => {
                    for way in ways {
                        let found = promised.iter().find(|other| other.rule == way.rule);
                        let told = format!("{told}\nhidden {way:?}");
                        prop_assert!(found.is_some_and(|f| f.reviews <= way.reviews), "{told}");
                    }
                }
                (Answer::Requestable(_), Answer::Deny(_)) => {
                    prop_assert!(!ahead.to_be_checked.is_empty(), "{told}\n{later:?}");
                }
                (Answer::Requestable(_), Answer::Permit(_)) | (Answer::Deny(_), Answer::Deny(_)) => {}
            }
        }
    }
}

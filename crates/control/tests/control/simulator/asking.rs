//! The reference model, second half: asking, reviewing, issuing.

use std::collections::BTreeSet;

use super::{
    model::{Grant, GrantKey, HOUR, Key, Model, Request, Review, Said, State, Wanted},
    rules::{BOOKS, LONGEST_MINUTES, Rule},
    steps::Who,
};

const MINUTE: i64 = 60;

/// A query with its way as policy has it now.
struct Issuable {
    wanted: Wanted,
    rule: &'static Rule,
    max_uses: Option<u32>,
}

fn needs_incident(rule: &str) -> bool {
    BOOKS[0].rule(rule).is_some_and(|rule| rule.incident)
}

impl Model {
    /// Whether `who` has these ways now.
    pub(super) fn could_ask(&self, who: Who, ways: &[&'static str], incident: u8) -> bool {
        ways.iter().all(|name| {
            let incident = needs_incident(name).then_some(incident);
            self.book().rule(name).is_some_and(|rule| self.admits(rule, who, incident))
        })
    }

    /// Whether an answer of `who` would count now.
    pub(super) fn could_review(&self, who: Who, request: Key) -> bool {
        let plain = Review { who, approve: true, minutes: None, only: None, instance: false };
        self.requests.get(&request).is_some_and(|request| self.may_count(request, &plain))
    }

    /// Whether something that is pending has a review of `who`.
    pub(super) fn has_reviewed(&self, who: Who) -> bool {
        let pending = self.requests.values().filter(|request| request.state == State::Pending);
        pending.flat_map(|request| &request.reviews).any(|review| review.who == who)
    }

    pub(super) fn ask(
        &mut self,
        key: Key,
        who: Who,
        ways: &[&'static str],
        incident: u8,
        instance: bool,
        minutes: Option<i64>,
    ) -> Said {
        let mut wanted = Vec::new();
        let mut rules = Vec::new();
        for name in ways {
            let incident = needs_incident(name).then_some(incident);
            let rule = self.book().rule(name);
            let Some(rule) = rule.filter(|rule| self.admits(rule, who, incident)) else {
                return Said::Refused;
            };
            wanted.push(Wanted { rule: name, operation: rule.operation, instance, incident });
            rules.push(rule);
        }
        let longest = rules.iter().map(|rule| rule.minutes).min().unwrap_or(0);
        let minutes = minutes.unwrap_or(longest);
        if minutes > longest {
            return Said::Refused;
        }
        // What is held already is not given again.
        let held: Vec<Option<GrantKey>> =
            wanted.iter().map(|wanted| self.held(who, wanted)).collect();
        if let (true, Some(Some(last))) = (held.iter().all(Option::is_some), held.last()) {
            return Said::Asked(last.0);
        }
        let request = Request {
            who,
            wanted,
            reviews_needed: rules.iter().map(|rule| rule.reviews).max().unwrap_or(0),
            uses_then: rules.iter().map(|rule| rule.uses).collect(),
            seconds: minutes * MINUTE,
            extends: None,
            reviews: Vec::new(),
            ends: self.ends_in(HOUR),
            state: State::Pending,
            grants: Vec::new(),
        };
        if let Some(same) = self.same(&request) {
            return Said::Asked(same);
        }
        if request.reviews_needed > 0 {
            self.requests.insert(key, request);
            return Said::Asked(key);
        }
        let missing: Vec<_> = request.wanted.iter().zip(&held).collect();
        if missing.iter().any(|(wanted, held)| held.is_none() && self.is_to_come(who, wanted)) {
            return Said::Refused;
        }
        self.requests.insert(key, request.clone());
        for ((wanted, rule), held) in request.wanted.iter().zip(rules).zip(held) {
            let issuable = Issuable { wanted: wanted.clone(), rule, max_uses: rule.uses };
            match held {
                Some(held) => self.note(key, held),
                None => self.issue(key, issuable, request.seconds, BTreeSet::new()),
            }
        }
        Said::Asked(key)
    }

    pub(super) fn extend(&mut self, key: Key, who: Who, of: GrantKey, minutes: i64) -> Said {
        let Some(grant) = self.grants.get(&of).cloned() else { return Said::Refused };
        let Wanted { rule, incident, .. } = grant.wanted;
        let rule = self.book().rule(rule).filter(|rule| self.admits(rule, who, incident));
        let Some(rule) = rule.filter(|_| grant.holder == who) else { return Said::Refused };
        let seconds = minutes * MINUTE;
        if minutes > rule.minutes
            || !grant.in_force(self.wall)
            || longest(&grant, rule) <= grant.ends.wall
            || self.wall + seconds <= grant.ends.wall
        {
            return Said::Refused;
        }
        let request = Request {
            who,
            wanted: vec![grant.wanted.clone()],
            reviews_needed: rule.reviews.max(grant.reviews),
            uses_then: vec![rule.uses],
            seconds,
            extends: Some(of),
            reviews: Vec::new(),
            ends: self.ends_in(HOUR),
            state: State::Pending,
            grants: Vec::new(),
        };
        if let Some(same) = self.same(&request) {
            return Said::Asked(same);
        }
        let needed = request.reviews_needed;
        self.requests.insert(key, request);
        if needed == 0 {
            self.prolong(key, of, rule, seconds, BTreeSet::new());
        }
        Said::Asked(key)
    }

    /// The grant that `who` holds of it already, as good as a new one.
    fn held(&self, who: Who, wanted: &Wanted) -> Option<GrantKey> {
        let same = |grant: &&Grant| {
            grant.wanted.rule == wanted.rule
                && grant.wanted.incident == wanted.incident
                && grant.wanted.operation == wanted.operation
                && (!grant.wanted.instance || wanted.instance)
        };
        let own = self.grants.iter().filter(|(_, grant)| grant.holder == who);
        let own = own.filter(|(_, grant)| grant.in_force(self.wall) && same(grant));
        let first =
            own.min_by_key(|(key, grant)| (grant.max_uses.is_some(), grant.ends.wall, **key));
        first.map(|(key, _)| *key)
    }

    /// The very same is granted, and the wall clock was set back before its start: nothing opens until
    /// it is there again, and no second one is made.
    fn is_to_come(&self, who: Who, wanted: &Wanted) -> bool {
        let to_come = |grant: &Grant| {
            grant.holder == who
                && grant.wanted == *wanted
                && grant.over.is_none()
                && self.wall < grant.starts
        };
        self.grants.values().any(to_come)
    }

    fn same(&self, wanted: &Request) -> Option<Key> {
        let same = |request: &Request| {
            request.state == State::Pending
                && request.who == wanted.who
                && request.wanted == wanted.wanted
                && request.seconds == wanted.seconds
                && request.extends == wanted.extends
        };
        self.requests.iter().find(|(_, request)| same(request)).map(|(key, _)| *key)
    }

    pub(super) fn review(&mut self, key: Key, review: &Review) -> Said {
        let Some(request) = self.requests.get(&key) else { return Said::Refused };
        if !self.may_count(request, review) {
            return Said::Refused;
        }
        let mut after = self.clone();
        let approve = review.approve;
        if let Some(request) = after.requests.get_mut(&key) {
            request.reviews.push(review.clone());
            if !approve {
                request.state = State::Declined;
            } else if agreed(request).is_empty() {
                return Said::Refused;
            }
        }
        if approve && !after.settle(key, review.who) {
            return Said::Refused;
        }
        *self = after;
        Said::Done
    }

    /// Whether this may count as a review at all.
    fn may_count(&self, request: &Request, review: &Review) -> bool {
        let person = review.who.person();
        let fits = match review.only {
            _ if !review.approve => true,
            // More of a grant cannot be narrowed.
            _ if request.extends.is_some() => review.only.is_none() && !review.instance,
            Some(only) => request.wanted.iter().any(|wanted| wanted.operation == only),
            None => true,
        };
        request.state == State::Pending
            && self.wall < request.ends.wall
            && self.is_in(review.who, self.book().reviewers)
            && person != request.who.person()
            && request.reviews.iter().all(|earlier| earlier.who.person() != person)
            && review.minutes.is_none_or(|minutes| minutes * MINUTE <= request.seconds)
            && fits
    }

    /// Issues what is approved, if enough people who may still review say so. `false` if nothing of it
    /// can be, because the same is granted for later.
    fn settle(&mut self, key: Key, last: Who) -> bool {
        let request = self.requests[&key].clone();
        let counting =
            |review: &&Review| review.who == last || self.is_in(review.who, self.book().reviewers);
        let people: BTreeSet<Who> =
            request.reviews.iter().filter(counting).map(|review| review.who.person()).collect();
        if people.len() < usize::from(request.reviews_needed) {
            return true;
        }
        let Some(issuable) = self.issuable(&request, people.len()) else {
            self.set(key, State::Declined);
            return true;
        };
        let shortened = request.reviews.iter().filter_map(|review| review.minutes);
        let seconds = shortened.map(|minutes| minutes * MINUTE).fold(request.seconds, i64::min);
        for one in &issuable {
            let makes_one = request.extends.is_none() && one.max_uses.is_none();
            if makes_one && self.is_to_come(request.who, &one.wanted) {
                return false;
            }
        }
        for one in issuable {
            let same = self.very_same(request.who, &one).filter(|_| one.max_uses.is_none());
            match request.extends.or(same) {
                Some(held) => self.prolong(key, held, one.rule, seconds, people.clone()),
                None => self.issue(key, one, seconds, people.clone()),
            }
        }
        true
    }

    fn set(&mut self, key: Key, state: State) {
        if let Some(request) = self.requests.get_mut(&key) {
            request.state = state;
        }
    }

    /// What was approved, if policy still has a way to all of it.
    fn issuable(&self, request: &Request, people: usize) -> Option<Vec<Issuable>> {
        let mut issuable = Vec::new();
        for (wanted, uses_then) in agreed(request) {
            let rule = self.book().rule(wanted.rule)?;
            let is_way = self.admits(rule, request.who, wanted.incident);
            if !is_way || usize::from(rule.reviews) > people {
                return None;
            }
            let max_uses = match (rule.uses, uses_then) {
                (Some(now), Some(then)) => Some(now.min(then)),
                (now, then) => now.or(then),
            };
            issuable.push(Issuable { wanted, rule, max_uses });
        }
        let extended = request.extends.map(|of| &self.grants[&of]);
        if extended.is_some_and(|grant| !grant.in_force(self.wall)) {
            return None;
        }
        Some(issuable)
    }

    fn very_same(&self, who: Who, one: &Issuable) -> Option<GrantKey> {
        let own = self.grants.iter().filter(|(_, grant)| grant.holder == who);
        let mut same = own.filter(|(_, grant)| {
            grant.in_force(self.wall) && grant.max_uses.is_none() && grant.wanted == one.wanted
        });
        same.next().map(|(key, _)| *key)
    }

    fn issue(&mut self, key: Key, one: Issuable, seconds: i64, people: BTreeSet<Who>) {
        let of = (key, self.requests[&key].grants.len());
        let approvals = u8::try_from(people.len()).unwrap();
        let grant = Grant {
            holder: self.requests[&key].who,
            wanted: one.wanted,
            reviews: approvals.max(one.rule.reviews),
            people,
            starts: self.wall,
            ends: self.ends_in(seconds.min(one.rule.minutes * MINUTE)),
            max_uses: one.max_uses,
            spent_on: BTreeSet::new(),
            extended: 0,
            over: None,
        };
        self.grants.insert(of, grant);
        self.note(key, of);
    }

    fn prolong(
        &mut self,
        key: Key,
        of: GrantKey,
        rule: &'static Rule,
        seconds: i64,
        people: BTreeSet<Who>,
    ) {
        self.note(key, of);
        let wall = self.wall;
        let until = self.ends_in(seconds.min(rule.minutes * MINUTE));
        let Some(grant) = self.grants.get_mut(&of) else { return };
        let reviews = u8::try_from(people.len()).unwrap().max(rule.reviews);
        let end = until.wall.min(longest(grant, rule));
        if end <= grant.ends.wall || reviews < grant.reviews {
            return;
        }
        grant.ends.uptime = until.uptime - (until.wall - end);
        grant.ends.wall = end;
        grant.reviews = reviews;
        grant.people = people;
        grant.extended += 1;
        assert!(wall < end);
    }

    fn note(&mut self, key: Key, grant: GrantKey) {
        self.set(key, State::Approved);
        if let Some(request) = self.requests.get_mut(&key) {
            request.grants.push(grant);
        }
    }
}

/// What is left of `request` when everybody's narrowing is taken together.
fn agreed(request: &Request) -> Vec<(Wanted, Option<u32>)> {
    let approvals = || request.reviews.iter().filter(|review| review.approve);
    let mut left = Vec::new();
    for (wanted, uses) in request.wanted.iter().zip(&request.uses_then) {
        let named = approvals().all(|one| one.only.is_none_or(|only| only == wanted.operation));
        if named {
            let instance = wanted.instance || approvals().any(|one| one.instance);
            left.push((Wanted { instance, ..wanted.clone() }, *uses));
        }
    }
    left
}

/// When `grant` ends at the latest, however often it is extended.
fn longest(grant: &Grant, rule: &Rule) -> i64 {
    let minutes = if rule.reviews == 0 { rule.minutes } else { LONGEST_MINUTES };
    grant.starts + minutes * MINUTE
}

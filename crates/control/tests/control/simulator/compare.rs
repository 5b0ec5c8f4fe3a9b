//! What there is, against what the model says there must be: the store, what gates decide from, and
//! the record.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_model::{
    AccessRequest, AccessRequestId, Clock, Decision, Event, EventType, Grant, GrantEnd, GrantId,
    GrantState, Incident, TokenHash,
};
use portcullis_policy::Snapshot;
use portcullis_store::{AccessRequests, Grants, Incidents, Store};

use super::{
    START,
    model::{GrantKey, Key, Model, Over, Said, State},
    real::{Heard, Real, id, incident},
    steps::EVERYBODY,
};

const ALL: u32 = 10_000;

/// Everything that can be seen of the product.
pub(super) struct Seen {
    requests: BTreeMap<AccessRequestId, AccessRequest>,
    grants: BTreeMap<GrantId, Grant>,
    incidents: Vec<Incident>,
    events: Vec<Event>,
    snapshot: Arc<Snapshot>,
    now: jiff::Timestamp,
}

impl Seen {
    pub(super) async fn of(real: &Real) -> Self {
        let store = real.world.kept();
        let requests = store.access_requests(AccessRequests::Newest(None), ALL).await.unwrap();
        let grants = store.grants(Grants::Newest(None), ALL).await.unwrap();
        Self {
            requests: requests.into_iter().map(|request| (request.id, request)).collect(),
            grants: grants.into_iter().map(|grant| (grant.id, grant)).collect(),
            incidents: store.incidents(Incidents::Newest, ALL).await.unwrap(),
            events: real.world.log.events(),
            snapshot: real.world.control().snapshots().current(),
            now: real.world.clock.now(),
        }
    }
}

/// One order of what happened, and what the model says of it.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) name: &'static str,
    pub(super) model: Model,
    pub(super) said: Vec<Said>,
}

/// What the model's names are called in the product.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) requests: BTreeMap<Key, AccessRequestId>,
    pub(super) grants: BTreeMap<GrantKey, GrantId>,
}

/// Collects what differs.
struct Differences(Vec<String>);

impl Differences {
    #[expect(clippy::needless_pass_by_value, reason = "most are made on the spot")]
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, must: T, is: T) {
        if must != is {
            self.0.push(format!("{what}: must be {must:?}, is {is:?}"));
        }
    }
}

impl Candidate {
    /// What differs, and the names that go with that. `heard` is empty where nobody heard an answer.
    pub(super) fn differences(
        &self,
        real: &Real,
        heard: &[Heard],
        seen: &Seen,
    ) -> (Vec<String>, Names) {
        let mut found = Differences(Vec::new());
        let names = self.names(real, heard, seen, &mut found);
        for (said, heard) in self.said.iter().zip(heard) {
            answer(said, heard, &names, &mut found);
        }
        self.requests(&names, seen, &mut found);
        self.grants(&names, seen, &mut found);
        self.gates(real, &names, seen, &mut found);
        self.record(&names, seen, &mut found);
        (found.0, names)
    }

    fn names(&self, real: &Real, heard: &[Heard], seen: &Seen, found: &mut Differences) -> Names {
        let mut names = Names { requests: real.requests.clone(), grants: real.grants.clone() };
        for pair in self.said.iter().zip(heard) {
            if let (Said::Asked(key), Heard::Asked(id)) = pair {
                let before = names.requests.insert(*key, *id).unwrap_or(*id);
                found.check("the access request that was answered", before, *id);
            }
        }
        let mut unnamed: Vec<_> = seen.requests.keys().copied().collect();
        unnamed.retain(|id| !names.requests.values().any(|named| named == id));
        for key in self.model.requests.keys() {
            if !names.requests.contains_key(key)
                && let Some(id) = unnamed.pop()
            {
                names.requests.insert(*key, id);
            }
        }
        names.requests.retain(|key, _| self.model.requests.contains_key(key));
        for (key, request) in &self.model.requests {
            let is = names.requests.get(key).and_then(|id| seen.requests.get(id));
            if let Some(portcullis_model::AccessRequestState::Approved { grants, .. }) =
                is.map(|is| &is.state)
            {
                names.grants.extend(request.grants.iter().copied().zip(grants.iter().copied()));
            }
        }
        names
    }

    fn requests(&self, names: &Names, seen: &Seen, found: &mut Differences) {
        let model = &self.model;
        found.check("access requests", model.requests.len(), seen.requests.len());
        for (key, must) in &model.requests {
            let Some(is) = names.requests.get(key).and_then(|id| seen.requests.get(id)) else {
                found.0.push(format!("{key:?}: is not there"));
                continue;
            };
            let state = match must.state {
                State::Pending => "pending",
                State::Approved => "approved",
                State::Declined => "declined",
                State::Withdrawn => "withdrawn",
                State::Expired => "expired",
            };
            found.check(&format!("state of {key:?}"), state, is.state.as_str());
            let must_reviews: BTreeSet<_> =
                must.reviews.iter().map(|review| (id(review.who), review.approve)).collect();
            let reviews = is.reviews.iter();
            let reviews: BTreeSet<_> = reviews
                .map(|review| (review.reviewer.clone(), review.decision == Decision::Approve))
                .collect();
            found.check(&format!("reviews of {key:?}"), must_reviews, reviews);
            let people: BTreeSet<_> = is.reviews.iter().map(|review| review.person).collect();
            found.check(&format!("people who reviewed {key:?}"), people.len(), is.reviews.len());
        }
    }

    fn grants(&self, names: &Names, seen: &Seen, found: &mut Differences) {
        found.check("grants", self.model.grants.len(), seen.grants.len());
        for (key, must) in &self.model.grants {
            let Some(is) = names.grants.get(key).and_then(|id| seen.grants.get(id)) else {
                found.0.push(format!("grant {key:?}: is not there"));
                continue;
            };
            let mut check = |what: &str, must: String, is: String| {
                found.check(&format!("{what} of grant {key:?}"), must, is);
            };
            check("holder", id(must.holder).to_string(), is.principal.to_string());
            check("rule", must.wanted.rule.to_owned(), is.rule.to_string());
            check("operation", must.wanted.operation.to_owned(), is.operation.to_string());
            check(
                "instance",
                must.wanted.instance.to_string(),
                is.resource.instance.is_some().to_string(),
            );
            let for_incident = must.wanted.incident.map(incident);
            check("incident", format!("{for_incident:?}"), format!("{:?}", is.incident));
            check("reviews", must.reviews.to_string(), is.reviews.to_string());
            let ends = START + jiff::SignedDuration::from_secs(must.ends.wall);
            check("end", ends.to_string(), is.expires_at.to_string());
            check("most uses", format!("{:?}", must.max_uses), format!("{:?}", is.max_uses));
            check("uses", must.spent_on.len().to_string(), is.uses.to_string());
            check("state", format!("{:?}", must.over), format!("{:?}", over(is)));
        }
    }

    /// What the gates decide from.
    fn gates(&self, real: &Real, names: &Names, seen: &Seen, found: &mut Differences) {
        let (model, snapshot) = (&self.model, &seen.snapshot);
        let in_force = model.grants.iter().filter(|(_, grant)| grant.in_force(model.wall));
        let must: BTreeSet<_> =
            in_force.filter_map(|(key, _)| names.grants.get(key).copied()).collect();
        let held = EVERYBODY.iter().flat_map(|who| {
            let held: Vec<_> = snapshot.grants_of(&id(*who)).cloned().collect();
            held
        });
        let held = held.filter(|grant| grant.in_force(seen.now)).map(|grant| grant.id);
        found.check("grants that gates know", must.clone(), held.collect());
        for (key, token) in &model.tokens {
            let Some(secret) = real.grant_tokens.get(key) else { continue };
            let opens = snapshot.grant_token(&TokenHash::of(secret.expose())).is_some();
            let grant = &model.grants[&token.grant];
            if opens && grant.over.is_some() || !opens && grant.in_force(model.wall) {
                found.0.push(format!("token {key:?}: opens is {opens}, its grant {grant:?}"));
            }
        }
        for who in EVERYBODY {
            let known = snapshot.principal(&id(who));
            let groups = known.map(|known| known.groups.iter().map(ToString::to_string).collect());
            let must: BTreeSet<String> =
                model.groups[&who].iter().map(|group| (*group).to_owned()).collect();
            found.check(&format!("groups of {who:?}"), Some(must), groups);
        }
        let on_call = snapshot.schedule(&"primary".parse().unwrap());
        let on_call = on_call.map(|schedule| schedule.people.clone()).unwrap_or_default();
        found.check("on call", model.on_call.iter().map(|who| id(*who)).collect(), on_call);
        found.check("incidents", model.incidents.len(), seen.incidents.len());
        for n in model.incidents.keys() {
            let stored = seen.incidents.iter().find(|stored| stored.id == incident(*n));
            let stored = stored.is_some_and(|stored| stored.state.as_str() == "open");
            let published = snapshot.incident(&incident(*n)).is_some();
            let open = model.is_open(*n);
            found.check(&format!("incident {n} is open"), (open, open), (stored, published));
        }
        found.check("generation", model.activations as u64, snapshot.stamp().generation);
    }

    /// Every change has its event, and every event its change.
    fn record(&self, names: &Names, seen: &Seen, found: &mut Differences) {
        let mut must = BTreeMap::<(String, String), usize>::new();
        let mut add = |kind: EventType, of: String, times: usize| {
            if times > 0 {
                *must.entry((format!("{kind:?}"), of)).or_default() += times;
            }
        };
        for (key, request) in &self.model.requests {
            let of = names.requests.get(key).map(ToString::to_string).unwrap_or_default();
            add(EventType::AccessRequested, of.clone(), 1);
            add(EventType::Reviewed, of.clone(), request.reviews.len());
            add(EventType::AccessRequestEnded, of, usize::from(request.state != State::Pending));
        }
        for (key, grant) in &self.model.grants {
            let of = names.grants.get(key).map(ToString::to_string).unwrap_or_default();
            add(EventType::GrantStarted, of.clone(), 1);
            add(EventType::GrantExtended, of.clone(), grant.extended);
            add(EventType::GrantUsed, of.clone(), grant.spent_on.len());
            add(EventType::GrantEnded, of.clone(), usize::from(grant.over.is_some()));
            let tokens = || self.model.tokens.values().filter(|token| token.grant == *key);
            add(EventType::TokenIssued, of.clone(), tokens().count());
            let redeemed = tokens().filter(|token| token.redeemed).count();
            add(EventType::TokenRedeemed, of, redeemed);
        }
        for (n, known) in &self.model.incidents {
            add(EventType::IncidentOpened, incident(*n).to_string(), known.opened);
            add(EventType::IncidentClosed, incident(*n).to_string(), known.closed);
        }
        add(EventType::BundleActivated, String::new(), self.model.activations);
        let mut is = BTreeMap::new();
        for event in &seen.events {
            let of = match event.kind {
                EventType::AccessRequested
                | EventType::Reviewed
                | EventType::AccessRequestEnded => event.access_request.map(|id| id.to_string()),
                EventType::GrantStarted
                | EventType::GrantExtended
                | EventType::GrantUsed
                | EventType::GrantEnded
                | EventType::TokenIssued
                | EventType::TokenRedeemed => event.grant.map(|id| id.to_string()),
                EventType::IncidentOpened | EventType::IncidentClosed => {
                    event.incident.as_ref().map(ToString::to_string)
                }
                EventType::BundleActivated => None,
                _ => continue,
            };
            let key = (format!("{:?}", event.kind), of.unwrap_or_default());
            *is.entry(key).or_insert(0_usize) += 1;
        }
        let keys: BTreeSet<_> = must.keys().chain(is.keys()).collect();
        for key in keys {
            let count = |all: &BTreeMap<_, usize>| all.get(key).copied().unwrap_or(0);
            found.check(&format!("events {} of {}", key.0, key.1), count(&must), count(&is));
        }
        let ids: BTreeSet<_> = seen.events.iter().map(|event| event.id).collect();
        found.check("distinct events", seen.events.len(), ids.len());
    }
}

fn over(grant: &Grant) -> Option<Over> {
    let GrantState::Ended { why, .. } = grant.state else { return None };
    Some(match why {
        GrantEnd::Expired => Over::Expired,
        GrantEnd::Revoked => Over::Revoked,
        GrantEnd::UsedUp => Over::UsedUp,
        GrantEnd::GivenBack => Over::GivenBack,
        GrantEnd::RuleGone => Over::RuleGone,
        GrantEnd::IncidentResolved => Over::IncidentResolved,
        other => panic!("{other:?}"),
    })
}

fn answer(said: &Said, heard: &Heard, names: &Names, found: &mut Differences) {
    if let Heard::Failed(why) = heard {
        return found.0.push(format!("the answer: must be {said:?}, and it failed: {why}"));
    }
    let fits = match (said, heard) {
        // A use that lost a race is refused, with whatever ways there are.
        (Said::Done, Heard::Done | Heard::Token(..))
        | (Said::Refused, Heard::Refused | Heard::Ways(_))
        | (Said::Ways(_), Heard::Refused)
        | (Said::Passed(None), Heard::Passed(None)) => true,
        (Said::Asked(key), Heard::Asked(id)) => names.requests.get(key) == Some(id),
        (Said::Passed(Some(key)), Heard::Passed(Some(id))) => names.grants.get(key) == Some(id),
        (Said::Ways(must), Heard::Ways(is)) => {
            let as_told = |(rule, of): &(String, Option<u8>)| {
                (rule.clone(), of.map(|n| incident(n).to_string()))
            };
            must.iter().map(as_told).collect::<BTreeSet<_>>() == *is
        }
        _ => false,
    };
    if !fits {
        found.0.push(format!("the answer: must be {said:?}, is {heard:?}"));
    }
}

//! A long past of asking: people who were seen, their sign-ins, access requests and the grants that came of
//! them, by the store's own changes and with their events.

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, Audience, Decision, Event,
    EventId, EventType, Grant, GrantEnd, GrantId, GrantKind, GrantState, Group, Held,
    OperationName, PersonId, Principal, PrincipalId, PrincipalKind, Resource, Review, ReviewId,
    Scope, ServiceName, SignIn, SignInId, TokenHash, Way, Window,
};
use portcullis_store::{Change, Person, SqliteStore, Store, StoredEvent, StoredSignIn};

use crate::events::{Fault, PEOPLE};

/// Changes of one transaction.
pub(crate) const TOGETHER: usize = 2_000;
/// The newest that nobody has answered yet.
const PENDING: u64 = 100;
/// Of so many people one reviews.
const REVIEWERS: u64 = 500;
/// Grants are of the last days.
const DAYS: i64 = 30;
/// What is in force is so young at most, and lives on for a day.
const HOURS: i64 = 8;

/// Grants that are to be written; every second is in force.
#[derive(Debug)]
pub(crate) struct Grants {
    pub(crate) count: u64,
    pub(crate) now: Timestamp,
    /// Who holds some of them besides everybody else.
    pub(crate) also: PrincipalId,
}

impl Grants {
    /// Writes them; what the log has to have of it, in the order of time.
    pub(crate) async fn write(&self, store: &SqliteStore) -> Result<Vec<StoredEvent>, Fault> {
        let mut changes = Vec::new();
        for n in 0..PEOPLE {
            changes.extend(self.person(n));
            keep(store, &mut changes, TOGETHER).await?;
        }
        let words = Words::new()?;
        for n in 0..self.count + PENDING {
            changes.extend(self.asked(&words, n));
            keep(store, &mut changes, TOGETHER).await?;
        }
        keep(store, &mut changes, 1).await?;
        let mut stored = store.unlogged(u32::MAX).await?;
        stored.sort_by_key(|stored| stored.event.time);
        Ok(stored)
    }

    /// Somebody who was seen, every fifth with a sign-in.
    fn person(&self, n: u64) -> Vec<Change> {
        let person = person(n);
        let email = Some(format!("u{n}@example.com"));
        let mut groups = vec!["staff"];
        if n % REVIEWERS == REVIEWERS - 1 {
            groups.push("leads");
        }
        let at = self.now - SignedDuration::from_secs(i64::try_from(n).unwrap_or(0) * 60);
        let principal = Principal {
            id: user(n),
            person: Some(person),
            name: format!("Person {n}"),
            email: email.clone(),
            groups: groups.into_iter().map(Group::from).collect(),
            ..Principal::anonymous()
        };
        let mut changes = vec![
            Change::AddPerson(Person { id: person, email }),
            Change::SeePrincipal { principal, at },
        ];
        if n.is_multiple_of(5) {
            changes.push(Change::AddSignIn(self.sign_in(n)));
        }
        changes
    }

    fn sign_in(&self, n: u64) -> StoredSignIn {
        let sign_in = SignIn {
            id: SignInId::from_bits(bits(self.now, n)),
            audience: Audience::Control,
            principal: user(n),
            person: Some(person(n)),
            authenticated_at: self.now,
            created_at: self.now,
            expires_at: self.now + SignedDuration::from_hours(HOURS),
            parent: None,
            service: None,
            held: Held::Token,
            provider_session: None,
            run: None,
        };
        let hash = TokenHash::of(&format!("nobody has the token {n}"));
        StoredSignIn { hash, sign_in, seen_at: None }
    }

    /// An access request, and what came of it.
    fn asked(&self, words: &Words, n: u64) -> Vec<Change> {
        let in_force = n >= self.count / 2;
        let (part, of) = if in_force {
            (n - self.count / 2, self.count / 2 + PENDING)
        } else {
            (n, self.count / 2)
        };
        let span = if in_force {
            SignedDuration::from_hours(HOURS)
        } else {
            SignedDuration::from_hours((DAYS - 1) * 24)
        };
        let since = self.now - if in_force { span } else { SignedDuration::from_hours(DAYS * 24) };
        let part = i128::from(part) * span.as_nanos() / i128::from(of.max(1));
        let at = since + SignedDuration::from_nanos_i128(part);
        let request = self.request(words, n, at);
        let mut changes =
            vec![Change::AddAccessRequest { request: request.clone(), at_most: 1_000 }];
        if n < self.count {
            let grant = Self::grant(words, &request, in_force);
            changes.extend(approved(words, request, &grant, n));
        }
        changes
    }

    /// Who asked: in turn, and more often than others whoever looks.
    fn who(&self, n: u64) -> PrincipalId {
        if n.is_multiple_of(331) { self.also.clone() } else { user(n % PEOPLE) }
    }

    fn request(&self, words: &Words, n: u64, at: Timestamp) -> AccessRequest {
        let way = Way {
            rule: words.rule.clone(),
            kind: GrantKind::Review,
            reviews: 1,
            max_duration: Window::minutes(24 * 60),
            max_uses: None,
            incident: None,
            idle: None,
            to_be_checked: Vec::new(),
            hold: None,
            reviewers: Vec::new(),
        };
        let query =
            AccessQuery { operation: words.operation.clone(), instance: None, digest: None, way };
        AccessRequest {
            id: AccessRequestId::from_bits(bits(at, n)),
            requester: self.who(n),
            person: None,
            requester_name: format!("Person {}", n % PEOPLE),
            service: words.service.clone(),
            queries: vec![query],
            reason: format!("refund R-{n} is stuck"),
            duration: Window::minutes(24 * 60),
            refusal: None,
            extends: None,
            held: None,
            created_at: at,
            expires_at: at + SignedDuration::from_hours(24),
            reviews: Vec::new(),
            state: AccessRequestState::Pending,
        }
    }

    fn grant(words: &Words, request: &AccessRequest, in_force: bool) -> Grant {
        let starts_at = request.created_at + SignedDuration::from_mins(3);
        let lives = if in_force { 24 * 60 } else { 30 };
        let expires_at = starts_at + SignedDuration::from_mins(lives);
        let ended = GrantState::Ended { at: expires_at, why: GrantEnd::Expired, by: None };
        Grant {
            id: GrantId::from_bits(request.id.to_bits()),
            version: 1,
            access_request: request.id,
            principal: request.requester.clone(),
            rule: words.rule.clone(),
            kind: GrantKind::Review,
            reviews: 1,
            operation: words.operation.clone(),
            resource: Resource { service: words.service.clone(), instance: None },
            incident: None,
            digest: None,
            starts_at,
            expires_at,
            max_uses: None,
            uses: 0,
            idle: None,
            state: if in_force { GrantState::InForce } else { ended },
        }
    }
}

/// The review of one, its grant, and the events of both.
fn approved(words: &Words, request: AccessRequest, grant: &Grant, n: u64) -> Vec<Change> {
    let lead = REVIEWERS - 1;
    let review = Review {
        id: ReviewId::from_bits(request.id.to_bits()),
        reviewer: user(lead),
        person: person(lead),
        name: format!("Person {lead}"),
        decision: Decision::Approve,
        note: None,
        duration: None,
        scope: Scope::default(),
        at: grant.starts_at,
        source: None,
        passkey: None,
    };
    let state = AccessRequestState::Approved { at: grant.starts_at, grants: vec![grant.id] };
    let moved = AccessRequest { reviews: vec![review], state, ..request };
    let event = |kind, at, which: u128| {
        let id = EventId::from_bits(bits(at, n) | which << 72);
        let mut event = Event::new(id, at, kind);
        event.principal = Some(grant.principal.clone());
        event.service = Some(words.service.clone());
        event.operation = Some(words.operation.clone());
        event.grant = Some(grant.id);
        event.access_request = Some(grant.access_request);
        Change::Record(event)
    };
    let mut changes = vec![
        Change::MoveAccessRequest { request: moved, seen_reviews: 0 },
        Change::AddGrant(grant.clone()),
        event(EventType::GrantStarted, grant.starts_at, 1),
    ];
    if let GrantState::Ended { at, .. } = grant.state {
        changes.push(event(EventType::GrantEnded, at, 2));
    }
    changes
}

/// What every one of them has.
struct Words {
    service: ServiceName,
    operation: OperationName,
    rule: portcullis_model::PolicyId,
}

impl Words {
    fn new() -> Result<Self, portcullis_model::InvalidName> {
        let (service, operation) = ("payments".parse()?, "payments.createRefund".parse()?);
        Ok(Self { service, operation, rule: "payments.refund.reviewed".parse()? })
    }
}

/// Commits once there is enough.
async fn keep(store: &SqliteStore, changes: &mut Vec<Change>, enough: usize) -> Result<(), Fault> {
    if changes.len() >= enough {
        store.commit(std::mem::take(changes)).await?;
    }
    Ok(())
}

fn user(n: u64) -> PrincipalId {
    PrincipalId::new(PrincipalKind::User, "corp", &format!("u{n}"))
}

fn person(n: u64) -> PersonId {
    PersonId::from_bits(1 << 100 | u128::from(n))
}

/// An id of that time (a ULID), and of no other.
fn bits(at: Timestamp, n: u64) -> u128 {
    let millis = u128::try_from(at.as_millisecond()).unwrap_or(0);
    (millis << 80) | u128::from(n)
}

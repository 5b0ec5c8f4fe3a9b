//! Things to store.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, Audience, Base64Url,
    BundleDigest, Decision, DirectoryId, Event, EventId, EventType, Grant, GrantId, GrantKind,
    GrantState, Held, Passkey, PasskeyId, PersonId, Principal, PrincipalId, PrincipalKind,
    RefusalId, RequestId, Resource, Review, ReviewId, Scope, SignIn, SignInId, TokenHash, Way,
    Window,
};
use portcullis_store::{
    ChallengePurpose, Person, StoredBundle, StoredChallenge, StoredCode, StoredDevice, StoredEmail,
    StoredGroup, StoredName, StoredRefusal, StoredSignIn, StoredUser,
};

pub(crate) fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

pub(crate) fn id(name: &str) -> PrincipalId {
    PrincipalId::new(PrincipalKind::User, "corp", name)
}

pub(crate) fn person(n: u128, email: Option<&str>) -> Person {
    Person { id: PersonId::from_bits(n), email: email.map(str::to_owned) }
}

pub(crate) fn principal(name: &str, person: Option<u128>) -> Principal {
    Principal {
        id: id(name),
        person: person.map(PersonId::from_bits),
        name: name.into(),
        email: None,
        groups: BTreeSet::from(["engineering".into()]),
        amr: BTreeSet::new(),
        issuer: "corp".into(),
        claims: BTreeMap::new(),
    }
}

pub(crate) fn request(n: u128, name: &str, operation: &str) -> AccessRequest {
    let way = Way {
        rule: "payments.reviewed".parse().unwrap(),
        kind: GrantKind::Review,
        reviews: 2,
        max_duration: Window::minutes(30),
        max_uses: None,
        incident: None,
        idle: None,
        to_be_checked: Vec::new(),
        hold: None,
        reviewers: vec![],
    };
    let operation = operation.parse().unwrap();
    AccessRequest {
        id: AccessRequestId::from_bits(n),
        requester: id(name),
        person: None,
        requester_name: name.into(),
        service: "payments".parse().unwrap(),
        queries: vec![AccessQuery { operation, instance: None, digest: None, way }],
        reason: "refunds stuck".into(),
        duration: Window::minutes(15),
        refusal: None,
        extends: None,
        held: None,
        created_at: now(),
        expires_at: now() + SignedDuration::from_hours(1),
        reviews: vec![],
        state: AccessRequestState::Pending,
    }
}

pub(crate) fn review(n: u128, person: u128, decision: Decision) -> Review {
    Review {
        id: ReviewId::from_bits(n),
        reviewer: id("lea"),
        person: PersonId::from_bits(person),
        name: "lea".into(),
        decision,
        note: Some("because".into()),
        duration: None,
        scope: Scope::default(),
        at: now(),
        source: None,
        passkey: None,
        chat: false,
    }
}

pub(crate) fn grant(n: u128, request: u128, max_uses: Option<u32>) -> Grant {
    Grant {
        id: GrantId::from_bits(n),
        version: 0,
        access_request: AccessRequestId::from_bits(request),
        principal: id("ana"),
        rule: "payments.reviewed".parse().unwrap(),
        kind: GrantKind::Review,
        reviews: 1,
        operation: "payments.createRefund".parse().unwrap(),
        resource: Resource { service: "payments".parse().unwrap(), instance: None },
        incident: None,
        digest: None,
        starts_at: now(),
        expires_at: now() + SignedDuration::from_mins(15),
        max_uses,
        uses: 0,
        idle: None,
        state: GrantState::InForce,
    }
}

pub(crate) fn sign_in(n: u128, name: &str, person: u128, parent: Option<u128>) -> StoredSignIn {
    let sign_in = SignIn {
        id: SignInId::from_bits(n),
        audience: if parent.is_some() { Audience::Gate } else { Audience::Control },
        principal: id(name),
        person: Some(PersonId::from_bits(person)),
        authenticated_at: now(),
        created_at: now(),
        expires_at: now() + SignedDuration::from_hours(12),
        parent: parent.map(SignInId::from_bits),
        service: None,
        held: Held::Token,
        provider_session: None,
        run: None,
    };
    StoredSignIn { hash: TokenHash::of(&format!("pc_sign_{n}")), sign_in, seen_at: None }
}

pub(crate) fn device() -> StoredDevice {
    StoredDevice {
        provider: "corp".into(),
        sealed_code: "sealed".into(),
        began_at: now(),
        expires_at: now() + SignedDuration::from_mins(10),
        interval: 5,
        audience: Audience::Control,
    }
}

pub(crate) fn passkey(n: u128, name: &str, credential: u8) -> Passkey {
    Passkey {
        id: PasskeyId::from_bits(n),
        principal: id(name),
        name: "laptop".into(),
        credential: Base64Url(vec![credential; 16]),
        public_key: Base64Url(vec![1, 2, 3]),
        counter: 0,
        backup_eligible: false,
        transports: vec!["internal".into()],
        created_at: now(),
        last_used_at: None,
    }
}

pub(crate) fn challenge(name: &str, n: i64) -> StoredChallenge {
    StoredChallenge {
        principal: id(name),
        purpose: ChallengePurpose::Review {
            access_request: AccessRequestId::from_bits(1),
            nonce: Base64Url(vec![7; 32]),
        },
        expires_at: now() + SignedDuration::from_secs(n),
    }
}

pub(crate) fn refusal(name: &str, code: &str) -> StoredRefusal {
    StoredRefusal {
        id: code.parse::<RefusalId>().unwrap(),
        principal: id(name),
        request: RequestId::from_bits(1),
        operation: "payments.createRefund".parse().unwrap(),
        resource: Resource { service: "payments".parse().unwrap(), instance: None },
        digest: Some("sha256:00".into()),
        summary: "POST /v1/refunds".into(),
        ways: vec![],
        time: now(),
        body: None,
    }
}

pub(crate) fn bundle(generation: u64, digest: &str) -> StoredBundle {
    StoredBundle {
        digest: BundleDigest(digest.into()),
        generation,
        activated_at: now(),
        by: "start".into(),
        person: None,
        pinned_over: None,
        source: serde_json::json!({"policies": []}),
    }
}

pub(crate) fn event(n: u128) -> Event {
    Event::new(EventId::from_bits(n), now(), EventType::AccessRequested)
}

pub(crate) fn code() -> StoredCode {
    StoredCode {
        parent: SignInId::from_bits(1),
        origin: "https://desk.example.com".into(),
        challenge: "challenge".into(),
        expires_at: now() + SignedDuration::from_secs(60),
    }
}

pub(crate) fn user(n: u128, name: &str, subject: Option<&str>, email: Option<&str>) -> StoredUser {
    let email = email.map(|value| StoredEmail { value: value.into(), kind: None, primary: true });
    StoredUser {
        id: DirectoryId::from_bits(n),
        user_name: name.to_owned(),
        external_id: subject.map(str::to_owned),
        principal: subject.map(id),
        display_name: None,
        name: StoredName::default(),
        emails: email.into_iter().collect(),
        active: true,
        deleted: false,
        version: 0,
        created_at: now(),
        changed_at: now(),
    }
}

pub(crate) fn group(n: u128, name: &str, members: &[u128]) -> StoredGroup {
    StoredGroup {
        id: DirectoryId::from_bits(n),
        name: name.to_owned(),
        external_id: None,
        members: members.iter().map(|member| DirectoryId::from_bits(*member)).collect(),
        version: 0,
        created_at: now(),
        changed_at: now(),
    }
}

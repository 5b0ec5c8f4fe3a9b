//! Sealed credentials: two people, one state at a time, and each opening once.

use jiff::SignedDuration;
use portcullis_model::{
    AccessRequest, Base64Url, GrantEnd, GrantId, GrantKind, PersonId, SealedCredential, SealedId,
    SealedState, Window,
};
use portcullis_store::{AccessRequests, Change, SealedChange, SealedMark};

use super::{
    Shared, is_conflict,
    made::{self, now},
};

fn sealed(change: SealedChange) -> Change {
    Change::Sealed(Box::new(change))
}

fn proposed() -> SealedCredential {
    SealedCredential {
        id: SealedId::from_bits(1),
        service: "payments".parse().unwrap(),
        rule: "payments.emergency".parse().unwrap(),
        holder: made::id("ben"),
        holder_name: "ben".into(),
        window: Window::minutes(10),
        valid_for: Window::minutes(60),
        public_key: Base64Url(vec![7; 32]),
        purpose: "nights".into(),
        proposed_by: made::id("lea"),
        proposer: PersonId::from_bits(7),
        proposed_at: now(),
        state: SealedState::Proposed,
    }
}

fn by(person: u128) -> SealedChange {
    let state = SealedState::Sealed {
        by: made::id("leo"),
        person: PersonId::from_bits(person),
        at: now(),
        expires_at: now() + SignedDuration::from_hours(1),
        signed: "signed".into(),
    };
    SealedChange::Move {
        credential: SealedCredential { state, ..proposed() },
        seen_state: "proposed",
    }
}

pub(crate) async fn e35_a_sealed_credential_takes_two_people_by_the_store_too(store: Shared) {
    let people = [7, 8].map(|n| Change::AddPerson(made::person(n, None)));
    store.commit(people.to_vec()).await.unwrap();
    store.commit(vec![sealed(SealedChange::Propose(proposed()))]).await.unwrap();
    // A state machine that had forgotten to look would meet the guard.
    assert!(is_conflict(&store.commit(vec![sealed(by(7))]).await), "the same person");
    store.commit(vec![sealed(by(8))]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![sealed(by(8))]).await), "once");
    let kept = store.sealed_credential(SealedId::from_bits(1)).await.unwrap().unwrap();
    let revoked = kept.revoke(now(), None, "lost".into()).unwrap();
    let revoke = SealedChange::Move { credential: revoked.clone(), seen_state: "sealed" };
    store.commit(vec![sealed(revoke.clone())]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![sealed(revoke)]).await));
    assert_eq!(store.sealed_credentials().await.unwrap(), [revoked]);
    let (open, ended) = (opened(false), opened(true));
    assert!(is_conflict(&store.commit(vec![sealed(open)]).await), "revoked a moment before");
    store.commit(vec![sealed(ended)]).await.unwrap();
}

/// What an opening comes to.
fn emergency(grant: GrantId) -> AccessRequest {
    let mut request = made::request(1, "ana", "payments.*");
    request.queries[0].way.kind = GrantKind::Emergency;
    request.queries[0].way.reviews = 0;
    request.approve(now(), vec![grant]).unwrap()
}

/// An opening of the first credential.
fn opened(is_over: bool) -> SealedChange {
    let grant = made::grant(1, 1, None);
    let over = grant.clone().end(now(), GrantEnd::Revoked, None).unwrap();
    let request = emergency(grant.id);
    let grant = Box::new(if is_over { over } else { grant });
    SealedChange::Open { request: Box::new(request), grant, credential: SealedId::from_bits(1) }
}

pub(crate) async fn e35_what_was_opened_comes_in_once(store: Shared) {
    let grant = made::grant(1, 1, None);
    let request = emergency(grant.id);
    let credential = SealedId::from_bits(9);
    let open = SealedChange::Open {
        request: Box::new(request),
        grant: Box::new(grant.clone()),
        credential,
    };
    let mark = |number: u64| SealedMark { number, before: format!("hash {number}") };
    let read = |seen, number| SealedChange::Read { seen, mark: mark(number) };
    assert_eq!(store.sealed_mark().await.unwrap(), None);
    let first = vec![sealed(open.clone()), sealed(read(None, 1))];
    store.commit(first.clone()).await.unwrap();
    assert!(is_conflict(&store.commit(first).await), "twice");
    assert!(is_conflict(&store.commit(vec![sealed(read(None, 2))]).await), "another was there");
    assert!(is_conflict(&store.commit(vec![sealed(read(Some(mark(0)), 2))]).await));
    store.commit(vec![sealed(read(Some(mark(1)), 2))]).await.unwrap();
    assert_eq!(store.sealed_mark().await.unwrap(), Some(mark(2)));
    assert_eq!(store.sealed_credential_of(grant.id).await.unwrap(), Some(credential));
    assert_eq!(store.sealed_credential_of(GrantId::from_bits(5)).await.unwrap(), None);
    let open = store.access_requests(AccessRequests::ToReviewAfterwards(None), 10).await.unwrap();
    assert_eq!(open.len(), 1);
}

//! Grants that move, and who is to be told.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_model::{
    AccessRequestId, Decision, Grant, GrantEnd, GrantId, GrantKind, NoticeId, PrincipalId,
};
use portcullis_store::{AccessRequests, Change, Grants, NoticeChange, StoredNotice};

use super::{
    Shared, add, is_conflict,
    made::{self, now},
};

pub(crate) async fn e27_an_extended_grant_stands_in_the_way_of_a_second_until_its_new_end(
    store: Shared,
) {
    let grant = made::grant(1, 1, None);
    let request = made::request(1, "ana", "payments.createRefund");
    store.commit(vec![add(request), Change::AddGrantOnce(grant.clone())]).await.unwrap();
    let until = grant.expires_at + SignedDuration::from_mins(10);
    let moved = grant.clone().extend(until, grant.kind, 1, now()).unwrap();
    let moved = Change::MoveGrant { grant: moved, seen_version: 0 };
    store.commit(vec![moved.clone()]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![moved]).await), "what was seen has moved");
    let second = |n, at| Change::AddGrantOnce(Grant { starts_at: at, ..made::grant(n, 1, None) });
    let later = grant.expires_at + SignedDuration::from_mins(5);
    assert!(is_conflict(&store.commit(vec![second(2, later)]).await));
    store.commit(vec![second(3, until)]).await.unwrap();
}

pub(crate) async fn uses_of_grants_are_known_while_they_are_in_force(store: Shared) {
    let request = made::request(1, "ana", "payments.createRefund");
    let grant = made::grant(1, 1, None);
    store.commit(vec![add(request), Change::AddGrant(grant.clone())]).await.unwrap();
    assert!(store.grants_used().await.unwrap().is_empty());
    let at = now() + SignedDuration::from_mins(1);
    store.commit(vec![Change::SeeGrant { id: grant.id, at }]).await.unwrap();
    assert_eq!(store.grants_used().await.unwrap(), [(grant.id, at)]);
    let ended = grant.end(at, GrantEnd::Idle, None).unwrap();
    store.commit(vec![Change::MoveGrant { grant: ended, seen_version: 0 }]).await.unwrap();
    assert!(store.grants_used().await.unwrap().is_empty());
    // One that has ended is not seen any more, and that is no conflict.
    let id = GrantId::from_bits(1);
    store.commit(vec![Change::SeeGrant { id, at }]).await.unwrap();
}

pub(crate) async fn who_is_to_be_told_is_tried_in_turn_and_told_once(store: Shared) {
    let notice = |n: u128| StoredNotice {
        id: NoticeId::from_bits(n),
        access_request: AccessRequestId::from_bits(1),
        target: "webhook:https://hooks.example.com/1".to_owned(),
        due_at: now(),
        attempts: 0,
    };
    let plan = |n| Change::Notice(NoticeChange::Add(notice(n)));
    let request = made::request(1, "ana", "payments.createRefund");
    store.commit(vec![add(request), plan(1), plan(2)]).await.unwrap();
    assert_eq!(store.notices().await.unwrap().len(), 2);
    let later =
        StoredNotice { attempts: 1, due_at: now() + SignedDuration::from_secs(1), ..notice(1) };
    let again = Change::Notice(NoticeChange::Move { notice: later.clone(), seen_attempts: 0 });
    store.commit(vec![again.clone()]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![again]).await), "somebody else has tried");
    assert_eq!(store.notice(later.id).await.unwrap(), Some(later.clone()));
    let told = || vec![Change::Notice(NoticeChange::End(later.id))];
    store.commit(told()).await.unwrap();
    assert!(is_conflict(&store.commit(told()).await));
    assert_eq!(store.notice(later.id).await.unwrap(), None);
    assert_eq!(store.notices().await.unwrap(), [notice(2)]);
}

pub(crate) async fn e27_what_policy_gives_by_itself_is_given_once_while_it_lives(store: Shared) {
    store.commit(vec![add(made::request(1, "ana", "payments.createRefund"))]).await.unwrap();
    let once = |n, digest: Option<&str>| {
        let digest = digest.map(Arc::from);
        vec![Change::AddGrantOnce(Grant { digest, ..made::grant(n, 1, None) })]
    };
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (store, once) = (Arc::clone(&store), once(n, None));
        racing.spawn(async move { store.commit(once).await.is_ok() });
    }
    assert_eq!(racing.join_all().await.into_iter().filter(|added| *added).count(), 1);
    store.commit(once(20, Some("sha256:a"))).await.unwrap();
    assert!(is_conflict(&store.commit(once(21, Some("sha256:a"))).await));
    store.commit(once(22, Some("sha256:b"))).await.unwrap();
    let first = store.grants(Grants::InForce, 10).await.unwrap();
    let first = first.into_iter().find(|grant| grant.digest.is_none()).unwrap();
    let ended = first.end(now(), GrantEnd::GivenBack, None).unwrap();
    store.commit(vec![Change::MoveGrant { grant: ended, seen_version: 0 }]).await.unwrap();
    store.commit(once(23, None)).await.unwrap();
}

pub(crate) async fn e34_an_emergency_is_open_until_one_has_reviewed_it(store: Shared) {
    let people = [7, 8].map(|n| Change::AddPerson(made::person(n, None)));
    let mut emergency = made::request(1, "ana", "payments.*");
    emergency.queries[0].way.kind = GrantKind::Emergency;
    emergency.queries[0].way.reviews = 0;
    let emergency = emergency.approve(now(), vec![GrantId::from_bits(1)]).unwrap();
    let waits = made::request(2, "ana", "payments.createRefund");
    store
        .commit([people.to_vec(), vec![add(emergency.clone()), add(waits)]].concat())
        .await
        .unwrap();
    let open = || store.access_requests(AccessRequests::ToReviewAfterwards(None), 10);
    assert_eq!(open().await.unwrap(), std::slice::from_ref(&emergency));
    let before = |id| AccessRequests::ToReviewAfterwards(Some(AccessRequestId::from_bits(id)));
    assert_eq!(store.access_requests(before(2), 10).await.unwrap().len(), 1);
    assert!(store.access_requests(before(1), 10).await.unwrap().is_empty());
    let of = |who: &PrincipalId, id: Option<u128>| {
        let before = id.map(AccessRequestId::from_bits);
        store.access_requests(AccessRequests::ToReviewAfterwardsOf(who.clone(), before), 10)
    };
    let (ana, ben) = (&emergency.requester, made::request(3, "ben", "payments.*").requester);
    assert_eq!(of(ana, None).await.unwrap(), std::slice::from_ref(&emergency));
    assert_eq!(of(ana, Some(2)).await.unwrap().len(), 1);
    assert!(of(ana, Some(1)).await.unwrap().is_empty());
    assert!(of(&ben, None).await.unwrap().is_empty(), "another's");
    let by =
        |n| emergency.clone().review_afterwards(made::review(n, n, Decision::Decline)).unwrap();
    // Both saw it open.
    let (first, second) = (Change::ReviewAfterwards(by(7)), Change::ReviewAfterwards(by(8)));
    store.commit(vec![first]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![second]).await));
    assert!(open().await.unwrap().is_empty());
    assert!(of(ana, None).await.unwrap().is_empty());
    let kept = store.access_request(AccessRequestId::from_bits(1)).await.unwrap().unwrap();
    assert_eq!(kept.reviews.len(), 1);
    let pending = made::request(2, "ana", "payments.createRefund");
    assert!(is_conflict(&store.commit(vec![Change::ReviewAfterwards(pending)]).await));
}

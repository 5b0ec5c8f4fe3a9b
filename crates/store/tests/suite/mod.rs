//! What every store promises, whatever is behind it. Each check gets an empty store.

mod chat;
mod contents;
mod directory;
mod exports;
pub(crate) mod facts;
mod grant_tokens;
mod lifecycle;
pub(crate) mod made;
mod retention;
mod sealed;
mod undelivered;

use std::sync::Arc;

pub(crate) use facts::*;
use jiff::SignedDuration;
use made::now;
use portcullis_model::{
    AccessRequest, AccessRequestId, BundleDigest, Decision, GrantEnd, GrantId, Passkey, PasskeyId,
    PersonId, RequestId, SignInId, TokenHash,
};
use portcullis_store::{
    AccessRequests, Change, Grants, LogMark, Store, StoreError, StoredAnswer, StoredBundle,
    StoredProviderToken,
};

pub(crate) use chat::*;
pub(crate) use contents::*;
pub(crate) use directory::*;
pub(crate) use exports::*;
pub(crate) use grant_tokens::*;
pub(crate) use lifecycle::{
    e27_an_extended_grant_stands_in_the_way_of_a_second_until_its_new_end,
    e27_what_policy_gives_by_itself_is_given_once_while_it_lives,
    e34_an_emergency_is_open_until_one_has_reviewed_it,
    uses_of_grants_are_known_while_they_are_in_force,
    who_is_to_be_told_is_tried_in_turn_and_told_once,
};
pub(crate) use retention::*;
pub(crate) use sealed::*;
pub(crate) use undelivered::*;

type Shared = Arc<dyn Store>;

fn is_conflict(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}

fn add(request: AccessRequest) -> Change {
    Change::AddAccessRequest { request, at_most: 32 }
}

pub(crate) async fn a_transaction_happens_whole_or_not_at_all(store: Shared) {
    let bad = vec![
        Change::Record(made::event(1)),
        add(made::request(1, "ana", "payments.createRefund")),
        // No such access request.
        Change::AddGrant(made::grant(1, 99, None)),
    ];
    assert!(is_conflict(&store.commit(bad).await));
    assert!(store.unlogged(10).await.unwrap().is_empty());
    assert!(store.access_request(AccessRequestId::from_bits(1)).await.unwrap().is_none());
}

pub(crate) async fn the_same_is_asked_once_while_it_waits(store: Shared) {
    let first = made::request(1, "ana", "payments.createRefund");
    store.commit(vec![add(first.clone())]).await.unwrap();
    let again = made::request(2, "ana", "payments.createRefund");
    assert!(is_conflict(&store.commit(vec![add(again.clone())]).await));
    store.commit(vec![add(made::request(3, "ben", "payments.createRefund"))]).await.unwrap();
    store.commit(vec![add(made::request(4, "ana", "payments.getRefund"))]).await.unwrap();
    let withdrawn = first.withdraw(now()).unwrap();
    let moved = Change::MoveAccessRequest { request: withdrawn, seen_reviews: 0 };
    store.commit(vec![moved]).await.unwrap();
    store.commit(vec![add(again)]).await.unwrap();
    let own = store.access_requests(AccessRequests::Of(made::id("ana"), None), 10).await.unwrap();
    assert_eq!(own.len(), 3);
}

pub(crate) async fn lists_go_on_after_what_was_seen(store: Shared) {
    for n in 1..=5 {
        let request = made::request(n, "ana", &format!("payments.op{n}"));
        let granted = Change::AddGrant(made::grant(n, n, None));
        store.commit(vec![add(request), granted]).await.unwrap();
    }
    let ids = |grants: Vec<portcullis_model::Grant>| {
        grants.iter().map(|grant| grant.id.to_bits()).collect::<Vec<_>>()
    };
    let fourth = GrantId::from_bits(4);
    let own = Grants::Of(made::id("ana"), Some(fourth));
    assert_eq!(ids(store.grants(own, 2).await.unwrap()), [3, 2]);
    assert_eq!(ids(store.grants(Grants::Newest(Some(fourth)), 9).await.unwrap()), [3, 2, 1]);
    assert_eq!(ids(store.grants(Grants::InForceOf(made::id("ana")), 2).await.unwrap()), [5, 4]);
    let ended = made::grant(5, 5, None).end(now(), GrantEnd::Revoked, None).unwrap();
    store.commit(vec![Change::MoveGrant { grant: ended, seen_version: 0 }]).await.unwrap();
    assert_eq!(ids(store.grants(Grants::InForceOf(made::id("ana")), 2).await.unwrap()), [4, 3]);
    assert_eq!(ids(store.grants(Grants::InForceOf(made::id("ben")), 2).await.unwrap()), []);
    let third = Some(AccessRequestId::from_bits(3));
    for which in [
        AccessRequests::Of(made::id("ana"), third),
        AccessRequests::Newest(third),
        AccessRequests::Pending(third),
    ] {
        let found = store.access_requests(which, 9).await.unwrap();
        assert_eq!(found.iter().map(|one| one.id.to_bits()).collect::<Vec<_>>(), [2, 1]);
    }
    let over = made::request(2, "ana", "payments.op2").withdraw(now()).unwrap();
    let moved = Change::MoveAccessRequest { request: over, seen_reviews: 0 };
    store.commit(vec![moved]).await.unwrap();
    let found = store.access_requests(AccessRequests::Pending(third), 9).await.unwrap();
    assert_eq!(found.iter().map(|one| one.id.to_bits()).collect::<Vec<_>>(), [1]);
}

pub(crate) async fn no_more_wait_than_may(store: Shared) {
    for n in 0..3 {
        let request = made::request(n, "ana", &format!("payments.op{n}"));
        let change = Change::AddAccessRequest { request, at_most: 2 };
        assert_eq!(is_conflict(&store.commit(vec![change]).await), n == 2);
    }
    assert_eq!(store.access_requests(AccessRequests::Pending(None), 10).await.unwrap().len(), 2);
}

pub(crate) async fn m02_one_person_is_counted_once_by_the_store_too(store: Shared) {
    let request = made::request(1, "ana", "payments.createRefund");
    store
        .commit(vec![Change::AddPerson(made::person(7, None)), add(request.clone())])
        .await
        .unwrap();
    let once = request.review(made::review(1, 7, Decision::Approve)).unwrap();
    let first = Change::MoveAccessRequest { request: once.clone(), seen_reviews: 0 };
    store.commit(vec![first.clone()]).await.unwrap();
    // Seen before the first review: stale.
    assert!(is_conflict(&store.commit(vec![first]).await));
    // A state machine that had forgotten to look would meet the unique row.
    let mut twice = once;
    twice.reviews.push(made::review(2, 7, Decision::Approve));
    let second = Change::MoveAccessRequest { request: twice, seen_reviews: 1 };
    assert!(is_conflict(&store.commit(vec![second]).await));
    let kept = store.access_request(AccessRequestId::from_bits(1)).await.unwrap().unwrap();
    assert_eq!(kept.approvals(), 1);
}

pub(crate) async fn e25_of_many_transitions_at_once_exactly_one_wins(store: Shared) {
    let request = made::request(1, "ana", "payments.createRefund");
    store.commit(vec![add(request.clone())]).await.unwrap();
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..24_u32 {
        let (store, request) = (Arc::clone(&store), request.clone());
        racing.spawn(async move {
            let moved = match n % 3 {
                0 => request.withdraw(now()),
                1 => request.expire(now()),
                _ => request.decline_by_policy(now(), "policy".into()),
            };
            let moved = Change::MoveAccessRequest { request: moved.unwrap(), seen_reviews: 0 };
            store.commit(vec![moved, Change::Record(made::event(u128::from(n)))]).await.is_ok()
        });
    }
    let won = racing.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    assert_eq!(store.unlogged(100).await.unwrap().len(), 1, "only the winner is on record");
}

pub(crate) async fn e16_a_use_is_spent_once(store: Shared) {
    let request = made::request(1, "ana", "payments.createRefund");
    let grant = made::grant(1, 1, Some(1));
    store.commit(vec![add(request), Change::AddGrant(grant.clone())]).await.unwrap();
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..64 {
        let (store, grant) = (Arc::clone(&store), grant.clone());
        racing.spawn(async move {
            let by = RequestId::from_bits(n);
            let spend = Change::SpendUse { grant: grant.id, request: by, at: now() };
            let moved = grant.consume(now(), by).unwrap();
            let moved = Change::MoveGrant { grant: moved, seen_version: 0 };
            store.commit(vec![spend, moved]).await.is_ok()
        });
    }
    let spent = racing.join_all().await.into_iter().filter(|spent| *spent).count();
    assert_eq!(spent, 1);
    assert!(store.grants(Grants::InForce, 10).await.unwrap().is_empty());
    let kept = store.grant(GrantId::from_bits(1)).await.unwrap().unwrap();
    assert_eq!((kept.uses, kept.max_uses), (1, Some(1)));
}

pub(crate) async fn a_closed_store_answers_nothing(store: Shared) {
    store.close().await;
    let late = store.commit(vec![Change::Record(made::event(1))]).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert!(matches!(store.sign_ins().await, Err(StoreError::Unavailable(_))));
}

pub(crate) async fn an_ended_grant_stays_ended(store: Shared) {
    let request = made::request(1, "ana", "payments.createRefund");
    let grant = made::grant(1, 1, None);
    store.commit(vec![add(request), Change::AddGrant(grant.clone())]).await.unwrap();
    let ended = grant.clone().end(now(), GrantEnd::Revoked, None).unwrap();
    let end = Change::MoveGrant { grant: ended, seen_version: 0 };
    store.commit(vec![end]).await.unwrap();
    for seen_version in [0, 1] {
        let back = Change::MoveGrant { grant: grant.clone(), seen_version };
        assert!(is_conflict(&store.commit(vec![back]).await));
    }
    assert_eq!(store.grants(Grants::Of(made::id("ana"), None), 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_sign_in_takes_its_children_with_it(store: Shared) {
    store
        .commit(vec![
            Change::AddPerson(made::person(1, Some("ana@example.com"))),
            Change::SeePrincipal { principal: made::principal("ana", Some(1)), at: now() },
            Change::AddSignIn(made::sign_in(1, "ana", 1, None)),
            Change::AddSignIn(made::sign_in(2, "ana", 1, Some(1))),
        ])
        .await
        .unwrap();
    assert_eq!(store.sign_ins().await.unwrap().len(), 2);
    store.commit(vec![Change::EndSignIn(SignInId::from_bits(1))]).await.unwrap();
    assert!(store.sign_ins().await.unwrap().is_empty());
    let orphan = Change::AddSignIn(made::sign_in(3, "ana", 1, Some(1)));
    assert!(is_conflict(&store.commit(vec![orphan]).await));
    assert!(is_conflict(&store.commit(vec![Change::EndSignIn(SignInId::from_bits(1))]).await));
}

pub(crate) async fn people_are_found_by_address_and_by_principal(store: Shared) {
    let (ana, ben) = (made::person(1, Some("ana@example.com")), made::person(2, None));
    let seen = Change::SeePrincipal { principal: made::principal("ana", Some(1)), at: now() };
    store.commit(vec![Change::AddPerson(ana), Change::AddPerson(ben), seen]).await.unwrap();
    let found = store.person_by_email("ana@example.com").await.unwrap();
    assert_eq!(found, Some(PersonId::from_bits(1)));
    assert_eq!(store.person_by_email("ANA@example.com").await.unwrap(), None);
    assert_eq!(store.person_of(&made::id("ana")).await.unwrap(), Some(PersonId::from_bits(1)));
    assert_eq!(store.person_of(&made::id("zoe")).await.unwrap(), None);
    let taken = Change::AddPerson(made::person(2, Some("ana@example.com")));
    assert!(is_conflict(&store.commit(vec![taken]).await));
    let own = Change::AddPerson(made::person(2, Some("ben@example.com")));
    store.commit(vec![own]).await.unwrap();
    assert_eq!(store.principals().await.unwrap(), vec![made::principal("ana", Some(1))]);
}

pub(crate) async fn a_device_sign_in_is_done_once(store: Shared) {
    let hash = TokenHash::of("pc_device_1");
    store.commit(vec![Change::AddDevice { hash, device: made::device() }]).await.unwrap();
    assert_eq!(store.device(&hash).await.unwrap(), Some(made::device()));
    assert_eq!(store.devices_under_way().await.unwrap(), 1);
    store.commit(vec![Change::EndDevice(hash)]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![Change::EndDevice(hash)]).await));
}

pub(crate) async fn a_code_is_exchanged_once_and_what_came_once_does_not_come_again(store: Shared) {
    let (hash, code) = (TokenHash::of("pc_code_1"), made::code());
    store.commit(vec![Change::AddCode { hash, code: code.clone() }]).await.unwrap();
    assert_eq!(store.code(&hash).await.unwrap(), Some(code.clone()));
    store.commit(vec![Change::EndCode(hash)]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![Change::EndCode(hash)]).await));
    let once = || vec![Change::SeeOnce { hash, until: code.expires_at }];
    store.commit(once()).await.unwrap();
    assert!(is_conflict(&store.commit(once()).await), "d15: a state comes once");
    assert_eq!(store.oldest_to_forget().await.unwrap().1, Some(code.expires_at));
    let forget = Change::Forget { refusals_until: made::now(), devices_until: code.expires_at };
    store.commit(vec![forget]).await.unwrap();
    assert_eq!(store.oldest_to_forget().await.unwrap().1, None);
}

pub(crate) async fn what_a_browsers_sign_in_needs_ends_with_it(store: Shared) {
    let person = Change::AddPerson(made::person(1, None));
    let seen = Change::SeePrincipal { principal: made::principal("ana", Some(1)), at: now() };
    store.commit(vec![person, seen]).await.unwrap();
    let stored = made::sign_in(1, "ana", 1, None);
    let id = stored.sign_in.id;
    let token = StoredProviderToken {
        sign_in: id,
        provider: "corp".into(),
        sealed: "sealed".into(),
        due_at: made::now(),
    };
    let keep = || vec![Change::KeepProviderToken(token.clone())];
    assert!(is_conflict(&store.commit(keep()).await), "of a sign-in that is not there");
    store.commit(vec![Change::AddSignIn(stored)]).await.unwrap();
    store.commit(keep()).await.unwrap();
    let later = made::now() + jiff::SignedDuration::from_secs(5);
    for at in [later, made::now()] {
        store.commit(vec![Change::SeeSignIn { id, at }]).await.unwrap();
    }
    assert_eq!(store.sign_ins().await.unwrap()[0].seen_at, Some(later), "it never goes back");
    assert_eq!(store.provider_tokens().await.unwrap(), std::slice::from_ref(&token));
    store.commit(vec![Change::EndSignIn(id)]).await.unwrap();
    assert!(store.provider_tokens().await.unwrap().is_empty());
    store.commit(vec![Change::SeeSignIn { id, at: later }]).await.unwrap();
}

pub(crate) async fn e37_a_refusal_is_read_by_its_principal_only(store: Shared) {
    let refusal = made::refusal("ana", "7K2M");
    let keep = |refusal, at_most| vec![Change::KeepRefusal { refusal, at_most }];
    store.commit(keep(refusal.clone(), 2)).await.unwrap();
    let code = refusal.id.clone();
    assert_eq!(store.refusal(&made::id("ana"), &code).await.unwrap(), Some(refusal.clone()));
    assert_eq!(store.refusal(&made::id("ben"), &code).await.unwrap(), None);
    assert!(is_conflict(&store.commit(keep(refusal, 2)).await), "the code is taken");
    store.commit(keep(made::refusal("ben", "7K2M"), 2)).await.unwrap();
    store.commit(keep(made::refusal("ana", "7K2N"), 2)).await.unwrap();
    assert!(is_conflict(&store.commit(keep(made::refusal("ana", "7K2P"), 2)).await), "too many");
}

pub(crate) async fn leftovers_are_forgotten_at_their_time(store: Shared) {
    let hash = TokenHash::of("pc_device_1");
    let device = made::device();
    let lapses = device.expires_at;
    let refusal = made::refusal("ana", "7K2M");
    let keep = Change::KeepRefusal { refusal: refusal.clone(), at_most: 64 };
    store.commit(vec![keep, Change::AddDevice { hash, device }]).await.unwrap();
    assert_eq!(store.oldest_to_forget().await.unwrap(), (Some(now()), Some(lapses)));
    let forget =
        |refusals_until, devices_until| vec![Change::Forget { refusals_until, devices_until }];
    let second = SignedDuration::from_secs(1);
    store.commit(forget(now() - second, lapses - second)).await.unwrap();
    assert!(store.refusal(&made::id("ana"), &refusal.id).await.unwrap().is_some());
    store.commit(forget(now(), lapses)).await.unwrap();
    assert_eq!(store.oldest_to_forget().await.unwrap(), (None, None));
}

pub(crate) async fn f14_generations_only_grow(store: Shared) {
    store.commit(vec![Change::AddBundle(made::bundle(1, "sha256:a"))]).await.unwrap();
    store.commit(vec![Change::AddBundle(made::bundle(2, "sha256:b"))]).await.unwrap();
    for stale in [1, 2] {
        let stale = Change::AddBundle(made::bundle(stale, "sha256:c"));
        assert!(is_conflict(&store.commit(vec![stale]).await));
    }
    let newest = store.bundles(1).await.unwrap();
    assert_eq!(newest.first().unwrap().generation, 2);
    let heads = store.bundle_heads(10).await.unwrap();
    let whole = store.bundles(10).await.unwrap();
    let headless = |mut bundle: StoredBundle| {
        bundle.source = serde_json::Value::Null;
        bundle
    };
    assert_eq!(heads, whole.into_iter().map(headless).collect::<Vec<_>>());
    let first = store.bundle_at(1).await.unwrap().unwrap();
    assert_eq!(first.digest, BundleDigest("sha256:a".into()));
    assert!(store.bundle_at(3).await.unwrap().is_none());
    let before = store.bundle_other_than(&BundleDigest("sha256:b".into())).await.unwrap();
    assert_eq!(before.unwrap().digest, BundleDigest("sha256:a".into()));
}

pub(crate) async fn events_wait_for_the_log_in_their_order(store: Shared) {
    for n in 1..=5 {
        store.commit(vec![Change::Record(made::event(n))]).await.unwrap();
    }
    assert!(is_conflict(&store.commit(vec![Change::Record(made::event(5))]).await), "once by id");
    let waiting = store.unlogged(10).await.unwrap();
    let ids: Vec<u128> = waiting.iter().map(|stored| stored.event.id.to_bits()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(store.last_logged().await.unwrap(), None);
    let mark = |n: usize, position| LogMark { seq: waiting[n].seq, position };
    store.logged(&[mark(0, 41)]).await.unwrap();
    assert!(is_conflict(&store.logged(&[mark(1, 42), mark(0, 43)]).await), "it has its position");
    assert_eq!(store.unlogged(10).await.unwrap().len(), 4);
    assert_eq!(store.last_logged().await.unwrap(), Some(41));
    store.logged(&[mark(2, 50), mark(1, 60)]).await.unwrap();
    let after = async |position, limit| {
        let found = store.logged_after(position, limit).await.unwrap();
        found.iter().map(|(position, event)| (*position, event.id.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(after(40, 9).await, [(41, 1), (50, 3), (60, 2)], "in the log's order");
    assert_eq!(after(41, 1).await, [(50, 3)]);
    assert!(after(60, 9).await.is_empty() && after(u64::MAX, 9).await.is_empty());
}

pub(crate) async fn an_answer_is_kept_once_for_each_key_and_the_newest_only(store: Shared) {
    store.commit(vec![add(made::request(1, "ana", "payments.createRefund"))]).await.unwrap();
    let answer = |who: &str, n: i64| StoredAnswer {
        principal: made::id(who),
        key: format!("k-{n}"),
        asked: "digest".into(),
        access_request: AccessRequestId::from_bits(1),
        at: now() + SignedDuration::from_secs(n),
    };
    let keep =
        |answer: StoredAnswer, forget_until| vec![Change::KeepAnswer { answer, forget_until }];
    let long_ago = now() - SignedDuration::from_hours(1);
    store.commit(keep(answer("ben", 0), long_ago)).await.unwrap();
    for n in 0..300 {
        store.commit(keep(answer("ana", n), long_ago)).await.unwrap();
    }
    assert!(is_conflict(&store.commit(keep(answer("ana", 299), long_ago)).await));
    let kept = async |who: &str, n| store.answer(&made::id(who), &format!("k-{n}")).await.unwrap();
    assert_eq!(kept("ana", 299).await, Some(answer("ana", 299)));
    assert_eq!((kept("ana", 43).await, kept("ben", 0).await), (None, Some(answer("ben", 0))));
    assert!(kept("ana", 44).await.is_some());
    store.commit(keep(answer("zoe", 400), now())).await.unwrap();
    assert_eq!(kept("ben", 0).await, None, "its time was up");
}

pub(crate) async fn a_passkey_is_one_principals_and_its_counter_is_guarded(store: Shared) {
    let seen = |name| Change::SeePrincipal { principal: made::principal(name, None), at: now() };
    store.commit(vec![seen("lea"), seen("leo")]).await.unwrap();
    let add = |passkey| vec![Change::AddPasskey { passkey, at_most: 2 }];
    store.commit(add(made::passkey(1, "lea", 1))).await.unwrap();
    assert!(is_conflict(&store.commit(add(made::passkey(2, "leo", 1))).await), "it is taken");
    store.commit(add(made::passkey(2, "lea", 2))).await.unwrap();
    assert!(is_conflict(&store.commit(add(made::passkey(3, "lea", 3))).await), "too many");
    assert_eq!(store.passkeys(&made::id("lea")).await.unwrap().len(), 2);
    assert!(store.passkeys(&made::id("leo")).await.unwrap().is_empty());
    // Of two signatures that saw the same counter, one counts.
    let mut racing = tokio::task::JoinSet::new();
    for counter in 1..=16 {
        let store = Arc::clone(&store);
        let passkey = Passkey { counter, ..made::passkey(1, "lea", 1) };
        let spend = vec![Change::SpendPasskey { passkey, seen_counter: 0 }];
        racing.spawn(async move { store.commit(spend).await.is_ok() });
    }
    assert_eq!(racing.join_all().await.into_iter().filter(|spent| *spent).count(), 1);
    let kept = store.passkeys(&made::id("lea")).await.unwrap();
    assert!(kept[0].counter > 0 && kept[1] == made::passkey(2, "lea", 2));
    let remove = |name| {
        vec![Change::RemovePasskey { id: PasskeyId::from_bits(2), principal: made::id(name) }]
    };
    assert!(is_conflict(&store.commit(remove("leo")).await), "it is somebody else's");
    store.commit(remove("lea")).await.unwrap();
    let late = Change::SpendPasskey { passkey: made::passkey(2, "lea", 2), seen_counter: 0 };
    assert!(is_conflict(&store.commit(vec![late]).await), "a deleted passkey signs nothing");
}

pub(crate) async fn a_challenge_is_answered_once(store: Shared) {
    let seen = |name| Change::SeePrincipal { principal: made::principal(name, None), at: now() };
    store.commit(vec![seen("lea"), seen("leo")]).await.unwrap();
    let hash = |name: &str, n: i64| TokenHash::of(&format!("{name}-{n}"));
    let add = |name: &str, n: i64, now| {
        let (hash, challenge) = (hash(name, n), made::challenge(name, n));
        vec![Change::AddChallenge { hash, challenge, now }]
    };
    store.commit(add("leo", 100, now())).await.unwrap();
    for n in 1..=12 {
        store.commit(add("lea", n, now())).await.unwrap();
    }
    let asked = async |name: &str, n| store.challenge(&hash(name, n)).await.unwrap();
    assert_eq!(asked("lea", 12).await, Some(made::challenge("lea", 12)));
    assert_eq!(asked("lea", 4).await, None, "the newest eight are kept");
    assert!(asked("lea", 5).await.is_some() && asked("leo", 100).await.is_some());
    assert!(is_conflict(&store.commit(add("lea", 12, now())).await), "no two are the same");
    let end = || vec![Change::EndChallenge(hash("lea", 12))];
    store.commit(end()).await.unwrap();
    assert!(is_conflict(&store.commit(end()).await));
    assert_eq!(asked("lea", 12).await, None);
    store.commit(add("leo", 101, now() + SignedDuration::from_secs(11))).await.unwrap();
    assert_eq!(asked("lea", 11).await, None, "it lapsed");
    let until = now() + SignedDuration::from_secs(100);
    let forget = Change::Forget { refusals_until: now(), devices_until: until };
    store.commit(vec![forget]).await.unwrap();
    assert_eq!(asked("leo", 100).await, None);
    assert!(asked("leo", 101).await.is_some());
}

//! What every store promises about who there is: job tokens, the directory, runs.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_model::{AccessRequest, PersonId, SignInId, TokenHash};
use portcullis_store::{Change, StoredGroup, StoredUser};

use super::{Shared, add, is_conflict, made, made::now};

pub(crate) async fn d05_a_job_token_is_spent_once_until_its_time_is_over(store: Shared) {
    let key = TokenHash::of("jti 1");
    let until = now() + SignedDuration::from_mins(5);
    let spend = |key, now| vec![Change::SpendJobToken { key, until, now }];
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..64 {
        let (store, changes) = (Arc::clone(&store), spend(key, now()));
        racing.spawn(async move {
            store.commit([changes, vec![Change::Record(made::event(n))]].concat()).await.is_ok()
        });
    }
    assert_eq!(racing.join_all().await.into_iter().filter(|spent| *spent).count(), 1);
    assert_eq!(store.unlogged(100).await.unwrap().len(), 1, "only the winner is on record");
    let second = SignedDuration::from_secs(1);
    let other = |n: u8| TokenHash([n; 32]);
    store.commit(spend(other(1), until - second)).await.unwrap();
    assert!(is_conflict(&store.commit(spend(key, until - second)).await));
    store.commit(spend(other(2), until)).await.unwrap();
    // Nobody accepts it any more: it is forgotten.
    store.commit(spend(key, until)).await.unwrap();
}

pub(crate) async fn d25_whom_the_directory_bars_gets_no_sign_in(store: Shared) {
    let seen = |name: &str, person| Change::SeePrincipal {
        principal: made::principal(name, Some(person)),
        at: now(),
    };
    let address = Some("ana@example.com");
    store
        .commit(vec![
            Change::AddPerson(made::person(1, address)),
            Change::AddPerson(made::person(2, None)),
            seen("ana", 1),
            seen("ana-admin", 1),
            seen("ben", 2),
        ])
        .await
        .unwrap();
    let active = made::user(1, "Ana", Some("ana"), None);
    store.commit(vec![Change::PutUser(active.clone())]).await.unwrap();
    let sign_in =
        |n, name: &str, person| vec![Change::AddSignIn(made::sign_in(n, name, person, None))];
    store.commit(sign_in(1, "ana", 1)).await.unwrap();
    // By name, and under the other name of the same human being.
    let barred = StoredUser { active: false, version: 1, ..active.clone() };
    store.commit(vec![Change::PutUser(barred.clone())]).await.unwrap();
    assert!(is_conflict(&store.commit(sign_in(2, "ana", 1)).await));
    assert!(is_conflict(&store.commit(sign_in(3, "ana-admin", 1)).await));
    store.commit(sign_in(4, "ben", 2)).await.unwrap();
    let back = StoredUser { active: true, version: 2, ..barred };
    store.commit(vec![Change::PutUser(back.clone())]).await.unwrap();
    store.commit(sign_in(5, "ana", 1)).await.unwrap();
    // By verified address, and after the user was deleted; until somebody makes them anew.
    let gone = StoredUser { active: false, deleted: true, version: 3, ..back };
    store.commit(vec![Change::PutUser(gone)]).await.unwrap();
    assert!(is_conflict(&store.commit(sign_in(6, "ana", 1)).await));
    store.commit(vec![Change::PutUser(made::user(2, "ANA", Some("ana"), None))]).await.unwrap();
    store.commit(sign_in(7, "ana", 1)).await.unwrap();
    let mut by_address = made::user(3, "other", None, address);
    by_address.active = false;
    store.commit(vec![Change::PutUser(by_address)]).await.unwrap();
    assert!(is_conflict(&store.commit(sign_in(8, "ana", 1)).await));
    assert_eq!(store.directory_users().await.unwrap().len(), 2, "who was deleted gave way");
}

pub(crate) async fn the_directory_changes_from_what_was_seen_and_names_are_unique(store: Shared) {
    let put = |user: StoredUser| vec![Change::PutUser(user)];
    let ana = made::user(1, "ana", None, None);
    store.commit(put(ana.clone())).await.unwrap();
    assert!(is_conflict(&store.commit(put(made::user(2, "ANA", None, None))).await));
    let changed = StoredUser { version: 1, ..ana.clone() };
    store.commit(put(changed.clone())).await.unwrap();
    assert!(is_conflict(&store.commit(put(changed.clone())).await), "seen before that");
    let gone = StoredUser { deleted: true, active: false, version: 2, ..changed };
    store.commit(put(gone.clone())).await.unwrap();
    let again = StoredUser { deleted: false, active: true, version: 3, ..gone };
    assert!(is_conflict(&store.commit(put(again)).await), "deleted stays deleted");
    let group = made::group(7, "engineering", &[1]);
    store.commit(vec![Change::PutGroup(group.clone())]).await.unwrap();
    let same_name = made::group(8, "engineering", &[]);
    assert!(is_conflict(&store.commit(vec![Change::PutGroup(same_name)]).await));
    let grown = StoredGroup { version: 1, ..group.clone() };
    store.commit(vec![Change::PutGroup(grown.clone())]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![Change::PutGroup(grown.clone())]).await));
    assert_eq!(store.directory_groups().await.unwrap(), vec![grown]);
    store.commit(vec![Change::RemoveGroup(group.id)]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![Change::RemoveGroup(group.id)]).await));
}

pub(crate) async fn a_run_is_forgotten_with_its_sign_in_and_others_are_seen(store: Shared) {
    let seen = Change::SeePrincipal { principal: made::principal("run", None), at: now() };
    let mut sign_in = made::sign_in(1, "run", 1, None);
    sign_in.sign_in.person = None;
    store.commit(vec![seen, Change::AddSignIn(sign_in)]).await.unwrap();
    let forget = || Change::ForgetPrincipal(made::id("run"));
    assert!(is_conflict(&store.commit(vec![forget()]).await), "its sign-in lives");
    let listed = store.seen().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].principal.id, listed[0].at), (&made::id("run"), now()));
    store.commit(vec![Change::EndSignIn(SignInId::from_bits(1)), forget()]).await.unwrap();
    assert!(store.seen().await.unwrap().is_empty());
    assert!(is_conflict(&store.commit(vec![forget()]).await));
}

pub(crate) async fn d25_whom_the_directory_bars_asks_for_nothing(store: Shared) {
    let seen = |name: &str, person| Change::SeePrincipal {
        principal: made::principal(name, Some(person)),
        at: now(),
    };
    let people =
        [Change::AddPerson(made::person(1, None)), Change::AddPerson(made::person(2, None))];
    let all = [seen("ana", 1), seen("ana-admin", 1), seen("ben", 2)];
    store.commit(people.into_iter().chain(all).collect()).await.unwrap();
    let asks = |n: u128, name: &str, person| {
        let request = made::request(n, name, "payments.createRefund");
        vec![add(AccessRequest { person: Some(PersonId::from_bits(person)), ..request })]
    };
    let user = made::user(1, "ana", Some("ana"), None);
    let barred = StoredUser { active: false, ..user };
    store.commit(vec![Change::PutUser(barred.clone())]).await.unwrap();
    assert!(is_conflict(&store.commit(asks(1, "ana", 1)).await));
    assert!(is_conflict(&store.commit(asks(2, "ana-admin", 1)).await), "under another name");
    store.commit(asks(3, "ben", 2)).await.unwrap();
    let back = StoredUser { active: true, version: 1, ..barred };
    store.commit(vec![Change::PutUser(back)]).await.unwrap();
    store.commit(asks(4, "ana", 1)).await.unwrap();
}

pub(crate) async fn those_seen_are_listed_in_parts_and_found_by_name(store: Shared) {
    let at = |n: i64| now() + SignedDuration::from_secs(n / 2);
    let names: Vec<String> = (0..7).map(|n| format!("p{n}")).collect();
    for (n, name) in (0..).zip(&names) {
        let principal = made::principal(name, None);
        store.commit(vec![Change::SeePrincipal { principal, at: at(n) }]).await.unwrap();
    }
    let (mut listed, mut before) = (Vec::new(), None);
    loop {
        let part = store.seen_before(before.as_ref(), 2).await.unwrap();
        let Some(last) = part.last() else { break };
        before = Some(last.place());
        listed.extend(part.into_iter().map(|seen| seen.principal.id));
    }
    // Two were seen at each moment: then it goes by name.
    let expected: Vec<_> = names.iter().rev().map(|name| made::id(name)).collect();
    assert_eq!(listed, expected);
    let mut found = store.seen_of(&[made::id("p3"), made::id("p1"), made::id("x")]).await.unwrap();
    found.sort_by_key(|seen| seen.principal.id.clone());
    let found: Vec<_> = found.into_iter().map(|seen| (seen.principal.id, seen.at)).collect();
    assert_eq!(found, [(made::id("p1"), at(1)), (made::id("p3"), at(3))]);
}

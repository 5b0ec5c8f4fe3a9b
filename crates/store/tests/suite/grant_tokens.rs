//! What every store promises of grants' tokens.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    BoundTo, Grant, GrantEnd, GrantId, GrantToken, OneTimeToken, Thumbprint, TokenHash,
};
use portcullis_store::{Change, TokenChange};

use super::{Shared, add, is_conflict, made, now};

async fn holding(store: &Shared) -> Grant {
    let grant = made::grant(1, 1, None);
    let request = add(made::request(1, "ana", "payments.createRefund"));
    store.commit(vec![request, Change::AddGrant(grant.clone())]).await.unwrap();
    grant
}

fn hash(name: &str) -> TokenHash {
    TokenHash::of(name)
}

fn minute() -> Timestamp {
    now() + SignedDuration::from_secs(60)
}

fn issue(name: &str, grant: &Grant) -> Change {
    issue_at(name, grant, now(), (100, 100))
}

fn issue_at(name: &str, grant: &Grant, now: Timestamp, most: (u32, u32)) -> Change {
    let expires_at = now + SignedDuration::from_secs(60);
    let token = OneTimeToken { grant: grant.id, authenticated_at: now, expires_at };
    let (hash, at_most, at_most_ever) = (hash(name), most.0, most.1);
    Change::Token(TokenChange::AddOneTime { hash, token, at_most, at_most_ever, now })
}

fn redeem(name: &str, now: Timestamp) -> Change {
    Change::Token(TokenChange::RedeemOneTime { hash: hash(name), now })
}

fn opens(name: &str, grant: &Grant, now: Timestamp) -> Change {
    let token = GrantToken { grant: grant.id, authenticated_at: now, bound_to: None };
    Change::Token(TokenChange::AddGrantToken { hash: hash(name), token, now })
}

pub(crate) async fn e16_a_one_time_token_is_redeemed_once(store: Shared) {
    let grant = holding(&store).await;
    store.commit(vec![issue("once", &grant)]).await.unwrap();
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..64_u128 {
        let (store, grant) = (Arc::clone(&store), grant.clone());
        racing.spawn(async move {
            let event = Change::Record(made::event(n));
            let changes = vec![redeem("once", now()), opens(&n.to_string(), &grant, now()), event];
            store.commit(changes).await.is_ok()
        });
    }
    assert_eq!(racing.join_all().await.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(store.unlogged(100).await.unwrap().len(), 1, "only the winner is on record");
    let kept = store.grant_tokens().await.unwrap();
    assert_eq!((kept.len(), kept[0].token.grant), (1, grant.id));
    let known = store.one_time_token(&hash("once")).await.unwrap().unwrap();
    assert!(known.redeemed && !known.again, "{known:?}");
    let again = || vec![Change::Token(TokenChange::NoteAgain(hash("once")))];
    store.commit(again()).await.unwrap();
    assert!(is_conflict(&store.commit(again()).await), "it is noted once");
    assert!(store.one_time_token(&hash("once")).await.unwrap().unwrap().again);
}

pub(crate) async fn m11_a_one_time_token_lapses_and_nothing_comes_of_an_unknown_one(store: Shared) {
    let grant = holding(&store).await;
    store.commit(vec![issue("once", &grant)]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![redeem("once", minute())]).await));
    assert!(is_conflict(&store.commit(vec![redeem("other", now())]).await));
    let unused = Change::Token(TokenChange::NoteAgain(hash("once")));
    assert!(is_conflict(&store.commit(vec![unused]).await), "it was not redeemed");
    let late = grant.expires_at;
    assert!(is_conflict(&store.commit(vec![opens("late", &grant, late)]).await));
    assert!(is_conflict(&store.commit(vec![issue_at("late", &grant, late, (9, 9))]).await));
    let (_, lapses) = store.oldest_to_forget().await.unwrap();
    assert_eq!(lapses, Some(minute()));
    let forget = Change::Forget { refusals_until: now(), devices_until: minute() };
    store.commit(vec![forget]).await.unwrap();
    assert!(store.one_time_token(&hash("once")).await.unwrap().is_none());
}

pub(crate) async fn m16_a_token_that_is_bound_to_a_key_comes_back_bound(store: Shared) {
    let grant = holding(&store).await;
    let (key, certificate) = (Thumbprint::of(b"key"), Thumbprint::of(b"certificate"));
    let bounds = [None, Some(BoundTo::Key(key)), Some(BoundTo::Certificate(certificate))];
    for (n, bound_to) in bounds.into_iter().enumerate() {
        let token = GrantToken { grant: grant.id, authenticated_at: now(), bound_to };
        let hash = hash(&n.to_string());
        let add = TokenChange::AddGrantToken { hash, token, now: now() };
        store.commit(vec![Change::Token(add)]).await.unwrap();
    }
    let kept = store.grant_tokens().await.unwrap();
    for (n, bound_to) in bounds.into_iter().enumerate() {
        let found = kept.iter().find(|kept| kept.hash == hash(&n.to_string())).unwrap();
        assert_eq!(found.token.bound_to, bound_to);
    }
}

pub(crate) async fn m16_a_grants_tokens_end_in_the_transaction_that_ends_it(store: Shared) {
    let grant = holding(&store).await;
    let other = Grant { id: GrantId::from_bits(2), ..grant.clone() };
    store.commit(vec![Change::AddGrant(other.clone())]).await.unwrap();
    for (name, grant) in [("a", &grant), ("b", &grant), ("c", &other)] {
        store.commit(vec![issue(name, grant)]).await.unwrap();
        let redeemed = vec![redeem(name, now()), opens(&format!("of-{name}"), grant, now())];
        store.commit(redeemed).await.unwrap();
    }
    store.commit(vec![issue("open", &grant)]).await.unwrap();
    let spent = Grant { version: 1, ..grant.clone() };
    let moved = Change::MoveGrant { grant: spent.clone(), seen_version: 0 };
    store.commit(vec![moved]).await.unwrap();
    assert_eq!(store.grant_tokens().await.unwrap().len(), 3, "it goes on, and so do they");
    let ended = spent.end(now(), GrantEnd::Revoked, None).unwrap();
    store.commit(vec![Change::MoveGrant { grant: ended, seen_version: 1 }]).await.unwrap();
    let kept = store.grant_tokens().await.unwrap();
    assert_eq!((kept.len(), kept[0].token.grant), (1, other.id));
    for name in ["a", "b", "open"] {
        assert!(store.one_time_token(&hash(name)).await.unwrap().is_none(), "{name}");
    }
    assert!(is_conflict(&store.commit(vec![issue("late", &grant)]).await));
    assert!(is_conflict(&store.commit(vec![opens("late", &grant, now())]).await));
}

pub(crate) async fn there_are_so_many_tokens_of_a_grant_in_a_minute_and_in_all(store: Shared) {
    let grant = holding(&store).await;
    let most = (2, 3);
    for (name, fits) in [("a", true), ("b", true), ("c", false)] {
        let issued = store.commit(vec![issue_at(name, &grant, now(), most)]).await;
        assert_eq!(is_conflict(&issued), !fits, "{name}");
    }
    store.commit(vec![redeem("a", now())]).await.unwrap();
    let issued = store.commit(vec![issue_at("d", &grant, now(), most)]).await;
    assert!(is_conflict(&issued), "redeeming makes no room in the same minute");
    // The unused one lapsed and counts no more; the redeemed one does.
    for (name, fits) in [("e", true), ("f", true), ("g", false)] {
        let issued = store.commit(vec![issue_at(name, &grant, minute(), most)]).await;
        assert_eq!(is_conflict(&issued), !fits, "{name}");
    }
    store.commit(vec![redeem("e", minute()), redeem("f", minute())]).await.unwrap();
    let later = minute() + SignedDuration::from_secs(60);
    let issued = store.commit(vec![issue_at("h", &grant, later, most)]).await;
    assert!(is_conflict(&issued), "three were redeemed");
}

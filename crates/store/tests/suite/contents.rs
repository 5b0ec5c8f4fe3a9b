//! What is kept of requests: there until it is erased, once, or until nothing commits to it.

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{EventId, RequestId};
use portcullis_store::{
    Change, ContentChange, ContentsUnderKey, RetentionChange, StoredContent, StoredErasure,
};

use super::{
    Shared, is_conflict,
    made::{self, now},
    retention,
};

fn content(n: u8, kept_at: Timestamp) -> StoredContent {
    StoredContent {
        commitment: format!("sha256:{n:02}"),
        request: RequestId::from_bits(u128::from(n)),
        key: "k-1".into(),
        kept_at,
        sealed: format!("sealed {n}"),
    }
}

fn change(change: ContentChange) -> Vec<Change> {
    vec![Change::Content(Box::new(change))]
}

fn erasure(n: u8) -> StoredErasure {
    StoredErasure {
        commitment: format!("sha256:{n:02}"),
        event: EventId::from_bits(7),
        principal: "corp:max".into(),
        erased_at: now(),
        reason: "they asked".into(),
    }
}

fn erased(n: u8, seen_holds: Option<u32>) -> ContentChange {
    ContentChange::Erase { erasure: erasure(n), seen_holds }
}

pub(crate) async fn k13_a_hold_that_is_placed_meanwhile_keeps_what_would_be_erased(store: Shared) {
    let kept = content(1, now());
    store.commit(change(ContentChange::Keep(kept.clone()))).await.unwrap();
    let place = RetentionChange::Place { hold: retention::hold(1), at_most: 5 };
    store.commit(vec![Change::Retention(Box::new(place))]).await.unwrap();
    let mut blind = change(erased(1, Some(0)));
    blind.push(Change::Record(made::event(1)));
    assert!(is_conflict(&store.commit(blind).await));
    assert_eq!(store.content("sha256:01").await.unwrap(), Some(kept));
    assert_eq!(store.erasure("sha256:01").await.unwrap(), None);
    assert!(store.unlogged(10).await.unwrap().is_empty());
    store.commit(change(erased(1, Some(1)))).await.unwrap();
    assert_eq!(store.content("sha256:01").await.unwrap(), None);
    // What is on record as erased is erased, whatever was placed since.
    store.commit(change(erased(2, None))).await.unwrap();
}

pub(crate) async fn k13_what_is_erased_is_gone_and_stays_erased(store: Shared) {
    let kept = content(1, now());
    store.commit(change(ContentChange::Keep(kept.clone()))).await.unwrap();
    assert!(is_conflict(&store.commit(change(ContentChange::Keep(kept.clone()))).await));
    assert_eq!(store.content("sha256:01").await.unwrap(), Some(kept));
    let under = ContentsUnderKey { key: "k-1".into(), count: 1 };
    assert_eq!(store.contents_under_keys().await.unwrap(), [under]);
    assert_eq!(store.erasure("sha256:01").await.unwrap(), None);

    let mut erase = change(erased(1, Some(0)));
    erase.push(Change::Record(made::event(1)));
    store.commit(erase.clone()).await.unwrap();
    store.scrub().await.unwrap();
    assert_eq!(store.content("sha256:01").await.unwrap(), None);
    assert_eq!(store.erasure("sha256:01").await.unwrap(), Some(erasure(1)));
    // Once, and on record once.
    assert!(is_conflict(&store.commit(erase).await));
    assert_eq!(store.unlogged(10).await.unwrap().len(), 1);
    // Also what is not here any more: nobody can bring it back unsaid.
    store.commit(change(erased(2, None))).await.unwrap();
    assert_eq!(store.erasure("sha256:02").await.unwrap(), Some(erasure(2)));
}

pub(crate) async fn k13_only_what_nothing_commits_to_is_swept(store: Shared) {
    let before = now() + SignedDuration::from_hours(1);
    for (n, kept_at) in [(1, now()), (2, now()), (3, before)] {
        store.commit(change(ContentChange::Keep(content(n, kept_at)))).await.unwrap();
    }
    let bind = ContentChange::Bind { commitment: "sha256:01".into(), seq: 9 };
    store.commit(change(bind.clone())).await.unwrap();
    store.commit(change(bind)).await.unwrap();
    store.commit(change(ContentChange::Sweep { before })).await.unwrap();
    let mut there = Vec::new();
    for n in 1..=3 {
        there.push(store.content(&format!("sha256:{n:02}")).await.unwrap().is_some());
    }
    assert_eq!(there, [true, false, true], "the second has no record, the third is young");
}

//! What receivers did not take: set aside once, up to a bound, and gone when somebody says so.

use jiff::SignedDuration;
use portcullis_model::{AccessRequestId, DeliveryId, NoticeId};
use portcullis_store::{
    Change, DueMessages, NoticeChange, StoredDelivery, StoredNotice, UndeliveredChange, Unsent,
};

use super::{
    Shared, add, is_conflict,
    made::{self, now},
};

fn change(change: UndeliveredChange) -> Vec<Change> {
    vec![Change::Undelivered(Box::new(change))]
}

fn delivery(n: u128, receiver: &str) -> StoredDelivery {
    StoredDelivery {
        id: DeliveryId::from_bits(n),
        receiver: receiver.to_owned(),
        unsent: Unsent::Event {
            id: format!("event-{n}"),
            event: "grant_started".into(),
            position: 7,
            time: now(),
            json: "{}".into(),
        },
        attempts: 3,
        why: "it answered 400".into(),
        set_aside_at: now(),
        tried_at: now(),
    }
}

fn aside(delivery: &StoredDelivery, at_most: u32) -> Vec<Change> {
    change(UndeliveredChange::SetAside { delivery: delivery.clone(), at_most })
}

pub(crate) async fn what_was_not_taken_is_kept_once_and_up_to_a_bound(store: Shared) {
    let (first, second) = (delivery(1, "lifecycle a"), delivery(2, "lifecycle a"));
    store.commit(aside(&first, 1)).await.unwrap();
    assert!(is_conflict(&store.commit(aside(&first, 9)).await), "it is there already");
    let again = StoredDelivery { id: DeliveryId::from_bits(9), ..first.clone() };
    assert!(is_conflict(&store.commit(aside(&again, 9)).await), "the same message");
    // With what has to be on record, or not at all.
    let mut with = aside(&second, 1);
    with.push(Change::Record(made::event(1)));
    assert!(is_conflict(&store.commit(with).await), "one is enough");
    assert!(store.unlogged(10).await.unwrap().is_empty());
    store.commit(aside(&delivery(3, "lifecycle b"), 1)).await.unwrap();
    store.commit(aside(&second, 2)).await.unwrap();
    let ids: Vec<u128> =
        store.undelivered(10).await.unwrap().iter().map(|one| one.id.to_bits()).collect();
    assert_eq!(ids, [3, 2, 1]);
    let tried = StoredDelivery { attempts: 4, why: "it answered 503".into(), ..first.clone() };
    let try_it = || {
        let (delivery, seen_attempts) = (tried.clone(), 3);
        change(UndeliveredChange::Tried { delivery, seen_attempts })
    };
    store.commit(try_it()).await.unwrap();
    assert!(is_conflict(&store.commit(try_it()).await), "somebody else tried");
    assert_eq!(store.one_undelivered(first.id).await.unwrap(), Some(tried));
    let end = || change(UndeliveredChange::End(first.id));
    store.commit(end()).await.unwrap();
    assert!(is_conflict(&store.commit(end()).await), "it is gone");
    assert_eq!(store.one_undelivered(first.id).await.unwrap(), None);
}

/// An id of long after all others.
const FAR: u128 = 1 << 127;

pub(crate) async fn what_was_not_taken_is_read_in_parts_oldest_first(store: Shared) {
    for (n, receiver) in [(5, "b"), (1, "a"), (3, "a"), (2, "b"), (4, "a"), (FAR, "a")] {
        store.commit(aside(&delivery(n, receiver), 9)).await.unwrap();
    }
    let ids = async |receiver: Option<&'static str>, (after, last): (u128, u128), limit: u32| {
        let between = (DeliveryId::from_bits(after), DeliveryId::from_bits(last));
        let found = store.undelivered_between(receiver, between, limit).await.unwrap();
        found.iter().map(|one| one.id.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(ids(Some("a"), (0, 5), 2).await, [1, 3]);
    assert_eq!(ids(Some("a"), (3, 5), 2).await, [4]);
    assert!(ids(Some("a"), (4, 5), 2).await.is_empty());
    assert_eq!(ids(Some("a"), (1, 3), 9).await, [3], "behind the first, up to the second");
    assert_eq!(ids(None, (0, u128::MAX), 9).await, [1, 2, 3, 4, 5, FAR]);
    assert_eq!(ids(None, (0, 5), 3).await, [1, 2, 3]);
    assert!(ids(Some("nobody"), (0, u128::MAX), 9).await.is_empty());
}

pub(crate) async fn messages_are_counted_once_they_are_due_or_were_tried(store: Shared) {
    let request = made::request(1, "ana", "payments.createRefund");
    store.commit(vec![add(request)]).await.unwrap();
    let notice = |n: u128, target: &str, attempts: u32, later: i64| {
        Change::Notice(NoticeChange::Add(StoredNotice {
            id: NoticeId::from_bits(n),
            access_request: AccessRequestId::from_bits(1),
            target: target.to_owned(),
            due_at: now() + SignedDuration::from_millis(later),
            attempts,
        }))
    };
    let all = vec![
        notice(1, "teams:a", 0, 0),
        notice(2, "teams:a", 0, -2_500),
        notice(3, "teams:a", 2, 60_000),
        notice(4, "teams:b", 0, 60_000),
        notice(5, "email:x@example.com", 0, -60_000),
    ];
    store.commit(all).await.unwrap();
    for (n, receiver) in [(1, "lifecycle a"), (2, "lifecycle a"), (3, "teams:a")] {
        store.commit(aside(&delivery(n, receiver), 9)).await.unwrap();
    }
    let due = |target: &str, tried: bool, count: u64| DueMessages {
        target: target.to_owned(),
        tried,
        count,
    };
    let counts = store.message_counts(now()).await.unwrap();
    let expected =
        [due("email:x@example.com", false, 1), due("teams:a", false, 2), due("teams:a", true, 1)];
    assert_eq!(counts.due, expected);
    assert_eq!(counts.set_aside, [("lifecycle a".to_owned(), 2), ("teams:a".to_owned(), 1)]);
    let later = store.message_counts(now() + SignedDuration::from_secs(60)).await.unwrap();
    assert!(later.due.contains(&due("teams:b", false, 1)), "{later:?}");
}

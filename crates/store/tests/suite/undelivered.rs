//! What receivers did not take: set aside once, up to a bound, and gone when somebody says so.

use portcullis_model::DeliveryId;
use portcullis_store::{Change, StoredDelivery, UndeliveredChange, Unsent};

use super::{
    Shared, is_conflict,
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

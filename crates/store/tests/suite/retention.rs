//! Legal holds, and removals that are under way: nothing is removed that was held meanwhile.

use portcullis_model::{EventId, HoldRelease, HoldScope, LegalHold, LegalHoldId};
use portcullis_store::{Change, LogMark, RetentionChange};

use super::{
    Shared, is_conflict,
    made::{self, now},
};

pub(super) fn hold(n: u128) -> LegalHold {
    LegalHold {
        id: LegalHoldId::from_bits(n),
        scope: HoldScope { principal: Some("corp:ana".into()), ..HoldScope::default() },
        reason: "case 7".into(),
        placed_by: made::id("lea"),
        placed_at: now(),
        released: None,
    }
}

fn place(n: u128, at_most: u32) -> Vec<Change> {
    retention(RetentionChange::Place { hold: hold(n), at_most })
}

fn retention(change: RetentionChange) -> Vec<Change> {
    vec![Change::Retention(Box::new(change))]
}

fn begin(event: u128, seen_holds: u32) -> Vec<Change> {
    let event = EventId::from_bits(event);
    let mut changes = retention(RetentionChange::Begin { event, seen_holds });
    changes.push(Change::Record(made::event(1)));
    changes
}

pub(crate) async fn a_legal_hold_is_released_once_and_so_many_are_in_force(store: Shared) {
    store.commit(place(1, 2)).await.unwrap();
    store.commit(place(2, 2)).await.unwrap();
    assert!(is_conflict(&store.commit(place(3, 2)).await));
    let release = HoldRelease { by: made::id("lea"), at: now(), reason: "over".into() };
    let released = hold(1).release(release).unwrap();
    let release = || retention(RetentionChange::Release(released.clone()));
    store.commit(release()).await.unwrap();
    assert!(is_conflict(&store.commit(release()).await));
    store.commit(place(3, 2)).await.unwrap();
    assert_eq!(store.legal_holds().await.unwrap(), [hold(3), hold(2), released.clone()]);
    assert_eq!(store.legal_hold(released.id).await.unwrap(), Some(released));
    assert_eq!(store.legal_hold(LegalHoldId::from_bits(9)).await.unwrap(), None);
}

pub(crate) async fn a_legal_hold_is_known_again_from_the_record(store: Shared) {
    let recorded = |hold: &LegalHold| retention(RetentionChange::Recorded(hold.clone()));
    store.commit(recorded(&hold(1))).await.unwrap();
    assert_eq!(store.legal_holds().await.unwrap(), [hold(1)]);
    let release = HoldRelease { by: made::id("lea"), at: now(), reason: "over".into() };
    let released = hold(1).release(release).unwrap();
    store.commit(recorded(&released)).await.unwrap();
    assert_eq!(store.legal_hold(released.id).await.unwrap().as_ref(), Some(&released));
    // Its placing is older than its release, whenever it is read.
    store.commit(recorded(&hold(1))).await.unwrap();
    assert_eq!(store.legal_holds().await.unwrap(), [released]);
}

pub(crate) async fn nothing_is_removed_that_was_held_since_it_was_looked_at(store: Shared) {
    let (first, second) = (EventId::from_bits(7), EventId::from_bits(8));
    assert_eq!(store.removal_under_way().await.unwrap(), None);
    store.commit(place(1, 9)).await.unwrap();
    assert!(is_conflict(&store.commit(begin(7, 0)).await), "one was placed meanwhile");
    assert!(store.unlogged(9).await.unwrap().is_empty(), "and nothing is said of it");
    store.commit(begin(7, 1)).await.unwrap();
    assert_eq!(store.removal_under_way().await.unwrap(), Some(first));
    assert!(
        is_conflict(
            &store.commit(retention(RetentionChange::Begin { event: second, seen_holds: 1 })).await
        ),
        "one at a time"
    );
    assert!(is_conflict(&store.commit(retention(RetentionChange::Done(second))).await));
    store.commit(retention(RetentionChange::Done(first))).await.unwrap();
    assert_eq!(store.removal_under_way().await.unwrap(), None);
}

pub(crate) async fn events_of_what_was_removed_are_forgotten_and_no_others(store: Shared) {
    store.commit((1..5).map(|n| Change::Record(made::event(n))).collect()).await.unwrap();
    let marks = [(1, 10), (2, 19), (3, 20)].map(|(seq, position)| LogMark { seq, position });
    store.logged(&marks).await.unwrap();
    assert_eq!(store.place_of_event(made::event(2).id).await.unwrap(), Some(19));
    assert_eq!(store.place_of_event(made::event(4).id).await.unwrap(), None, "it is not there yet");
    for _ in 0..2 {
        let forget = RetentionChange::Forget { from: 10, to: 20 };
        store.commit(retention(forget)).await.unwrap();
        let left = store.logged_after(0, 9).await.unwrap();
        assert_eq!(left.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [20]);
        assert_eq!(store.unlogged(9).await.unwrap().len(), 1, "what is on its way stays");
    }
}

//! Readers of the record: each goes on from where it was, and nobody goes on from elsewhere.

use jiff::SignedDuration;
use portcullis_store::{Change, ExportChange, ExportCursor, StoredFiring, StoredHabit};

use super::{
    Shared, is_conflict,
    made::{self, now},
};

fn export(change: ExportChange) -> Change {
    Change::Export(Box::new(change))
}

fn at(next: u64, said: bool) -> ExportCursor {
    ExportCursor { reader: "export siem".into(), next, said }
}

fn advance(seen: u64, next: u64, said: bool) -> Change {
    export(ExportChange::Advance { cursor: at(next, said), seen })
}

pub(crate) async fn a_reader_of_the_record_goes_on_from_where_it_was(store: Shared) {
    assert_eq!(store.export_cursor("export siem").await.unwrap(), None);
    assert!(is_conflict(&store.commit(vec![advance(0, 1, false)]).await), "it has not begun");
    store.commit(vec![export(ExportChange::Begin(at(7, false)))]).await.unwrap();
    let again = store.commit(vec![export(ExportChange::Begin(at(0, false)))]).await;
    assert!(is_conflict(&again), "it would begin anew");
    // With what has to be on record, or not at all.
    let said = vec![Change::Record(made::event(1)), advance(6, 9, true)];
    assert!(is_conflict(&store.commit(said).await), "it was elsewhere");
    assert!(store.unlogged(10).await.unwrap().is_empty());
    let said = vec![Change::Record(made::event(1)), advance(7, 9, true)];
    store.commit(said).await.unwrap();
    assert_eq!(store.export_cursor("export siem").await.unwrap(), Some(at(9, true)));
    assert_eq!(store.export_cursor("webhook siem").await.unwrap(), None);
    assert_eq!(store.unlogged(10).await.unwrap().len(), 1);
}

pub(crate) async fn habits_and_firings_are_kept_until_they_are_forgotten(store: Shared) {
    let habit = |what: &str, hours: i64| StoredHabit {
        kind: "operation",
        principal: "corp:ana".into(),
        what: what.into(),
        first_seen: now() + SignedDuration::from_hours(hours),
        last_seen: now() + SignedDuration::from_hours(hours),
    };
    let put = |habit: &StoredHabit| export(ExportChange::Habit(habit.clone()));
    let (known, read, paid) = (habit("", 0), habit("payments.read", 1), habit("payments.pay", 5));
    store.commit(vec![put(&known), put(&read), put(&paid)]).await.unwrap();
    let again = StoredHabit { first_seen: habit("", 9).first_seen, ..habit("payments.read", 9) };
    store.commit(vec![put(&again)]).await.unwrap();
    let seen = StoredHabit { first_seen: read.first_seen, ..again };
    assert_eq!(store.habits().await.unwrap(), [known, paid, seen.clone()]);
    let before = now() + SignedDuration::from_hours(6);
    let forget = |kind| export(ExportChange::ForgetHabits { kind, before });
    store.commit(vec![forget("country")]).await.unwrap();
    assert_eq!(store.habits().await.unwrap().len(), 3);
    store.commit(vec![forget("operation")]).await.unwrap();
    assert_eq!(store.habits().await.unwrap(), std::slice::from_ref(&seen), "names end like habits");

    let firing = |suppressed, hours| StoredFiring {
        rule: "denials".into(),
        about: "corp:ana".into(),
        fired_at: now() + SignedDuration::from_hours(hours),
        suppressed,
    };
    for firing in [firing(0, 0), firing(4, 1)] {
        store.commit(vec![export(ExportChange::Fired(firing))]).await.unwrap();
    }
    assert_eq!(store.firings().await.unwrap(), [firing(4, 1)]);
    let before = now() + SignedDuration::from_hours(2);
    store.commit(vec![export(ExportChange::ForgetFirings(before))]).await.unwrap();
    assert!(store.firings().await.unwrap().is_empty());
}

//! Emergencies where things go wrong: the record is gone, reviewers race, somebody wrote the rule for
//! themselves.

use std::sync::{Arc, atomic::Ordering};

use portcullis_control::{ControlError, views::AccessRequestFilter};
use portcullis_model::{AccessRequestState, Decision, EventType, GrantKind};

use crate::world::{POLICIES, World, answer, bundle, source, who};

fn with_emergency() -> String {
    format!(
        "{POLICIES}\n@id(\"payments.emergency\") @emergency(\"true\")\n\
         permit (principal is User in Group::\"engineering\", action in Action::\"payments.write\", \
         resource in Service::\"payments\") when {{ context has grant }};\n"
    )
}

#[tokio::test]
async fn e34_an_emergency_is_on_record_before_it_opens_anything() {
    let world = World::with(&with_emergency()).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    world.log.broken.store(true, Ordering::SeqCst);
    let refused = world.ask(&ben, "payments.*").await;
    assert!(matches!(refused, Err(ControlError::Unavailable(_))), "{refused:?}");
    assert_eq!(world.holds(&who(&ben)), 0);
    // A store that refuses, and not a log that recovers meanwhile.
    let world = World::with(&with_emergency()).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    world.faults.refuses.store(true, Ordering::SeqCst);
    assert!(world.ask(&ben, "payments.*").await.is_err());
    assert_eq!(world.holds(&who(&ben)), 0);
    world.faults.refuses.store(false, Ordering::SeqCst);
    let opened = world.ask(&ben, "payments.*").await.unwrap().request;
    assert!(matches!(opened.state, AccessRequestState::Approved { .. }));
    assert_eq!(world.holds(&who(&ben)), 1);
    let events = world.log.events();
    let at = |kind| events.iter().position(|event| event.kind == kind);
    assert!(at(EventType::EmergencyOpened) < at(EventType::GrantStarted));
    assert!(at(EventType::EmergencyOpened).is_some(), "{events:#?}");
}

#[tokio::test]
async fn e34_of_reviewers_who_race_one_closes_the_open_item() {
    let world = World::with(&with_emergency()).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    let opened = world.ask(&ben, "payments.*").await.unwrap().request.id;
    let mut reviewers = Vec::new();
    for name in ["lea", "leo", "lia", "lou"] {
        reviewers.push(world.sign_in(name, &["leads"]).await);
    }
    let mut racing = tokio::task::JoinSet::new();
    for op in reviewers.iter().map(|op| world.later(op)) {
        let control = Arc::clone(world.control());
        racing.spawn(async move {
            control.review(&op, opened, answer(Decision::Decline)).await.is_ok()
        });
    }
    let won = racing.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    assert_eq!(world.holds(&who(&ben)), 0, "not in order: it is over");
    world.until(|world| world.log.count(EventType::EmergencyReviewed) == 1).await;
    let left = world.control().access_requests(&reviewers[0], AccessRequestFilter::ToReview).await;
    assert!(left.unwrap().is_empty());
}

#[tokio::test]
async fn e03_nobody_takes_an_emergency_by_a_rule_that_they_brought_themselves() {
    let world = World::with(&with_emergency()).await;
    world.control().activate(bundle(POLICIES), source(POLICIES), "file change").await.unwrap();
    let kim = world.sign_in("kim", &["admins", "engineering"]).await;
    world.control().rollback(&kim, None).await.unwrap();
    let refused = world.ask(&kim, "payments.*").await;
    assert!(matches!(refused, Err(ControlError::Denied(_))), "{refused:?}");
    assert_eq!(world.holds(&who(&kim)), 0);
    let ben = world.sign_in("ben", &["engineering"]).await;
    world.ask(&ben, "payments.*").await.unwrap();
    let snapshot = world.control().snapshots().current();
    let ben = who(&ben);
    let held: Vec<_> = snapshot.grants_of(&ben).map(|grant| grant.kind).collect();
    assert_eq!(held, [GrantKind::Emergency]);
}

#[tokio::test]
async fn e34_an_open_item_is_on_its_owners_page_and_its_reviewers_however_many_are_newer() {
    let world = World::with(&with_emergency()).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    let oldest = world.ask(&ben, "payments.*").await.unwrap().request.id;
    // Of one moment, ids have no order.
    world.wait(jiff::SignedDuration::from_millis(1));
    let newer = 515;
    for number in 0..newer {
        let other = world.sign_in(&format!("eve-{number}"), &["engineering"]).await;
        world.ask(&other, "payments.*").await.unwrap();
    }
    let (control, ben) = (world.control(), world.later(&ben));
    let own = control.access_requests(&ben, AccessRequestFilter::MineWaiting).await.unwrap();
    assert_eq!(own.iter().map(|view| view.request.id).collect::<Vec<_>>(), [oldest]);
    let lea = world.sign_in("lea", &["leads"]).await;
    assert_eq!(control.count_to_review(&lea, 2_000).await.unwrap(), newer + 1);
    let (mut last, mut before) = (None, None);
    loop {
        let filter = AccessRequestFilter::ToReviewAfterwards;
        let part = control.access_requests_after(&lea, filter, before, 200).await.unwrap();
        last = part.0.last().map(|view| view.request.id).or(last);
        before = part.1;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(last, Some(oldest));
}

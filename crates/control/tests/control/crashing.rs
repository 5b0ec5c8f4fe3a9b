//! Crashes and failures between the steps of commit, record, publish.

use std::sync::atomic::Ordering;

use jiff::SignedDuration;
use portcullis_control::{ControlError, OpContext, ports::ConsumeError};
use portcullis_model::{EventType, GrantId, GrantState, RequestId};

use crate::world::{POLICIES, World, asking, who};

/// Ana with one counted grant of one use, and who may revoke it.
async fn counted(world: &World) -> (OpContext, OpContext, GrantId) {
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    world.approve(&lea, id).await.unwrap();
    let grant = world.control().grants(&ana).await.unwrap()[0].id;
    (ana, lea, grant)
}

fn every_event_is_there_once(world: &World) {
    let ids: Vec<_> = world.log.events().iter().map(|event| event.id).collect();
    let mut once = ids.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), ids.len());
}

#[tokio::test]
async fn a_use_and_its_event_are_one_transaction_or_neither() {
    let world = World::new().await;
    let (ana, _, grant) = counted(&world).await;
    world.faults.refuses.store(true, Ordering::SeqCst);
    let failed = world.control().consume(grant, RequestId::from_bits(1)).await;
    assert_eq!(failed, Err(ConsumeError::Unavailable));
    world.faults.refuses.store(false, Ordering::SeqCst);
    assert_eq!(world.control().grant(&ana, grant).await.unwrap().uses, 0);
    assert_eq!(world.log.count(EventType::GrantUsed), 0);
    assert_eq!(world.control().consume(grant, RequestId::from_bits(1)).await, Ok(()));
    world.until(|world| world.log.count(EventType::GrantUsed) == 1).await;
}

#[tokio::test]
async fn a_use_whose_answer_is_lost_is_spent_on_record_and_not_spent_again() {
    let world = World::new().await;
    let (ana, _, grant) = counted(&world).await;
    world.faults.forgets_to_answer.store(true, Ordering::SeqCst);
    let lost = world.control().consume(grant, RequestId::from_bits(1)).await;
    assert_eq!(lost, Err(ConsumeError::Unavailable), "nothing is sent");
    world.faults.forgets_to_answer.store(false, Ordering::SeqCst);
    for n in [1, 2] {
        let again = world.control().consume(grant, RequestId::from_bits(n)).await;
        assert_eq!(again, Err(ConsumeError::Over));
    }
    assert_eq!(world.holds(&who(&ana)), 0, "the gate has learned of it");
    assert_eq!(world.control().grant(&ana, grant).await.unwrap().uses, 1);
    world.sign_in("ben", &["engineering"]).await;
    assert_eq!(world.log.count(EventType::GrantUsed), 1);
}

#[tokio::test]
async fn m05_a_revocation_whose_answer_is_lost_is_published_by_the_next_try() {
    let world = World::new().await;
    let (ana, lea, grant) = counted(&world).await;
    world.faults.forgets_to_answer.store(true, Ordering::SeqCst);
    let lost = world.control().revoke(&lea, grant).await;
    assert!(matches!(lost, Err(ControlError::Unavailable(_))), "{lost:?}");
    world.faults.forgets_to_answer.store(false, Ordering::SeqCst);
    let again = world.control().revoke(&lea, grant).await;
    assert!(matches!(again, Err(ControlError::Conflict(_))), "{again:?}");
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test]
async fn a_crash_between_commit_and_publication_is_made_up_for_at_start() {
    let mut world = World::new().await;
    let (ana, lea, grant) = counted(&world).await;
    let ben = world.sign_in("ben", &["engineering", "oncall"]).await;
    world.faults.forgets_to_answer.store(true, Ordering::SeqCst);
    let asked = world.ask(&ben, "payments.createRefund").await;
    assert!(matches!(asked, Err(ControlError::Unavailable(_))), "{asked:?}");
    let revoked = world.control().revoke(&lea, grant).await;
    assert!(matches!(revoked, Err(ControlError::Unavailable(_))), "{revoked:?}");
    assert_eq!((world.holds(&who(&ben)), world.holds(&who(&ana))), (0, 1));
    world.crash().await;
    assert_eq!((world.holds(&who(&ben)), world.holds(&who(&ana))), (1, 0));
    assert_eq!(world.log.count(EventType::GrantStarted), 2);
    assert_eq!(world.log.count(EventType::GrantEnded), 1);
    every_event_is_there_once(&world);
    let ended = world.control().grant(&ana, grant).await.unwrap().state;
    assert!(matches!(ended, GrantState::Ended { .. }));
}

#[tokio::test]
async fn the_same_automatic_ask_after_a_lost_answer_finds_what_was_given() {
    let world = World::new().await;
    let ben = world.sign_in("ben", &["engineering", "oncall"]).await;
    world.faults.forgets_to_answer.store(true, Ordering::SeqCst);
    let lost = world.ask(&ben, "payments.createRefund").await;
    assert!(matches!(lost, Err(ControlError::Unavailable(_))), "{lost:?}");
    assert_eq!(world.holds(&who(&ben)), 0);
    world.faults.forgets_to_answer.store(false, Ordering::SeqCst);
    let found = world.ask(&ben, "payments.createRefund").await.unwrap();
    assert_eq!(found.request.state.as_str(), "approved");
    assert_eq!(world.holds(&who(&ben)), 1);
    assert_eq!(world.log.count(EventType::GrantStarted), 1);
}

#[tokio::test]
async fn what_the_log_had_before_a_crash_is_not_appended_again() {
    let mut world = World::new().await;
    let (_, lea, grant) = counted(&world).await;
    world.faults.does_not_mark.store(true, Ordering::SeqCst);
    world.control().revoke(&lea, grant).await.unwrap();
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
    let before = world.log.events();
    world.crash().await;
    let after = world.log.events();
    assert_eq!(after[..before.len()], before[..], "what is there stays as it is");
    every_event_is_there_once(&world);
    assert!(world.control().is_on_record());
}

#[tokio::test]
async fn without_the_record_a_start_opens_nothing_until_it_is_back() {
    let mut world = World::new().await;
    let ben = world.sign_in("ben", &["engineering", "oncall"]).await;
    world.faults.forgets_to_answer.store(true, Ordering::SeqCst);
    world.ask(&ben, "payments.createRefund").await.unwrap_err();
    world.log.broken.store(true, Ordering::SeqCst);
    world.crash().await;
    assert!(!world.control().is_on_record());
    assert_eq!(world.holds(&who(&ben)), 0, "its start may not be on record");
    world.log.broken.store(false, Ordering::SeqCst);
    world.until(|world| world.holds(&who(&ben)) == 1).await;
    assert_eq!(world.log.count(EventType::GrantStarted), 1);
    every_event_is_there_once(&world);
}

#[tokio::test]
async fn e32_a_start_while_the_clock_is_behind_takes_no_grant_away_for_good() {
    let mut world = World::new().await;
    let ben = world.sign_in("ben", &["engineering", "oncall"]).await;
    world.ask(&ben, "payments.createRefund").await.unwrap();
    world.wait(SignedDuration::from_mins(-5));
    world.restart(POLICIES).await;
    assert_eq!(world.holds(&who(&ben)), 0, "nothing opens before its start");
    world.wait(SignedDuration::from_mins(6));
    assert_eq!(world.holds(&who(&ben)), 1);
}

#[tokio::test]
async fn a_stopped_control_has_let_go_of_the_store() {
    let mut world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let stopped = world.control().clone();
    world.restart(POLICIES).await;
    let late = stopped.grants(&ana).await;
    assert!(matches!(late, Err(ControlError::Unavailable(_))), "{late:?}");
    world.until(|world| world.log.count(EventType::Started) == 2).await;
}

#[tokio::test]
async fn events_reach_the_log_in_the_order_of_their_commits_and_few_at_a_time() {
    const MANY: usize = 600;
    let world = World::new().await;
    world.until(|world| world.log.count(EventType::Started) == 1).await;
    world.faults.does_not_mark.store(true, Ordering::SeqCst);
    for n in 0..MANY {
        world.control().refuse_bundle(&[], &n.to_string()).await.unwrap();
    }
    world.until(|world| world.log.count(EventType::BundleRefused) >= 256).await;
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    let unmarked = world.log.count(EventType::BundleRefused);
    assert!(unmarked <= 256, "{unmarked} are in the log without their mark");
    world.faults.does_not_mark.store(false, Ordering::SeqCst);
    world.until(|world| world.log.count(EventType::BundleRefused) == MANY).await;
    let events = world.log.events();
    let said = events.iter().filter(|event| event.kind == EventType::BundleRefused);
    let said: Vec<_> = said.map(|event| event.detail.clone().unwrap()).collect();
    let expected: Vec<_> = (0..MANY).map(|n| format!("by {n}: ")).collect();
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_key_finds_the_answer_that_was_lost() {
    let mut world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let ask = || asking("payments.deleteRefund", None);
    world.faults.forgets_to_answer.store(true, Ordering::SeqCst);
    let lost = world.control().ask_once(&ana, "k-1", ask()).await;
    assert!(matches!(lost, Err(ControlError::Unavailable(_))), "{lost:?}");
    world.crash().await;
    let found = world.control().ask_once(&ana, "k-1", ask()).await.unwrap().request;
    world.control().withdraw(&ana, found.id).await.unwrap();
    let again = world.control().ask_once(&ana, "k-1", ask()).await.unwrap().request;
    assert_eq!((again.id, again.state.as_str()), (found.id, "withdrawn"), "asked once");
}

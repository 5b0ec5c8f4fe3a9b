//! Bundles: generations, rolling back, and what happens to grants.

use std::sync::atomic::Ordering;

use portcullis_control::ControlError;
use portcullis_model::{EventType, GrantEnd, GrantState};
use portcullis_policy::LoadError;

use crate::world::{POLICIES, World, bundle, source, who};

/// Without the automatic rule.
fn stricter() -> String {
    let (before, rest) = POLICIES.split_once("@id(\"payments.auto\")").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    format!("{before}{after}")
}

#[tokio::test]
async fn a_new_bundle_is_the_next_generation_and_ends_grants_whose_rule_is_gone() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    world.ask(&ana, "payments.createRefund").await.unwrap();
    let same = world.control().activate(bundle(POLICIES), source(POLICIES), "test").await.unwrap();
    assert_eq!(same.generation, 1);
    let text = stricter();
    let next = world.control().activate(bundle(&text), source(&text), "test").await.unwrap();
    assert_eq!(next.generation, 2);
    assert_eq!(world.control().snapshots().current().stamp(), &next);
    let grants = world.control().grants(&ana).await.unwrap();
    let why = GrantEnd::RuleGone;
    assert!(matches!(grants[0].state, GrantState::Ended { why: ended, .. } if ended == why));
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test]
async fn a_rollback_is_a_new_generation_and_pins_until_the_files_change() {
    let mut world = World::new().await;
    let text = stricter();
    world.control().activate(bundle(&text), source(&text), "test").await.unwrap();
    let ana = world.sign_in("ana", &["engineering"]).await;
    let kim = world.sign_in("kim", &["admins"]).await;
    let refused = world.control().rollback(&ana, None).await;
    assert!(matches!(refused, Err(ControlError::Denied(_))));
    let back = world.control().rollback(&kim, None).await.unwrap();
    assert_eq!((back.generation, &back.digest), (3, bundle(POLICIES).digest()));
    assert_eq!(world.control().pinned().await.unwrap().as_ref(), Some(bundle(&text).digest()));
    let again = world.control().activate(bundle(&text), source(&text), "file change").await;
    assert!(matches!(again, Err(ControlError::Conflict(_))), "{again:?}");
    world.restart(&text).await;
    let stamp = world.control().snapshots().current().stamp().clone();
    assert_eq!((stamp.generation, &stamp.digest), (3, bundle(POLICIES).digest()), "still pinned");
    let other = text.replace("15m", "14m");
    let next = world.control().activate(bundle(&other), source(&other), "file change").await;
    assert_eq!(next.unwrap().generation, 4);
    assert_eq!(world.control().pinned().await.unwrap(), None);
    let kim = world.sign_in("kim", &["admins"]).await;
    let history = world.control().bundles(&kim).await.unwrap();
    let generations: Vec<u64> = history.iter().map(|one| one.generation).collect();
    assert_eq!(generations, [4, 3, 2, 1]);
}

#[tokio::test]
async fn f03_a_bundle_that_does_not_load_is_on_record_and_changes_nothing() {
    let world = World::new().await;
    let before = world.control().snapshots().current().stamp().clone();
    let error = LoadError {
        file: "payments/rules.cedar".into(),
        line: Some(3),
        column: None,
        snippet: None,
        message: "unexpected token".into(),
        help: None,
    };
    world.control().refuse_bundle(&[error], "SIGHUP").await.unwrap();
    world.until(|world| world.log.count(EventType::BundleRefused) == 1).await;
    assert_eq!(world.control().snapshots().current().stamp(), &before);
    let events = world.log.events();
    let refused = events.iter().find(|event| event.kind == EventType::BundleRefused).unwrap();
    assert!(refused.detail.as_ref().unwrap().contains("payments/rules.cedar:3"));
}

#[tokio::test]
async fn an_event_that_says_too_much_is_cut_and_stands_in_nobodys_way() {
    let world = World::new().await;
    let error = LoadError {
        file: "payments/rules.cedar".into(),
        line: None,
        column: None,
        snippet: None,
        message: "ü".repeat(100_000),
        help: None,
    };
    world.control().refuse_bundle(&[error], "SIGHUP").await.unwrap();
    world.until(|world| world.log.count(EventType::BundleRefused) == 1).await;
    let events = world.log.events();
    let refused = events.iter().find(|event| event.kind == EventType::BundleRefused).unwrap();
    let detail = refused.detail.as_ref().unwrap();
    assert_eq!(detail.chars().count(), 4097);
    assert!(detail.ends_with("ü…"));
}

#[tokio::test]
async fn a_grant_that_waited_for_the_record_ends_if_its_rule_is_gone_by_then() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    world.until(|world| world.control().is_on_record()).await;
    world.log.broken.store(true, Ordering::SeqCst);
    let asked = world.ask(&ana, "payments.createRefund").await;
    assert!(matches!(asked, Err(ControlError::Unavailable(_))), "{asked:?}");
    // Whoever activates this does not see the grant: nobody does yet.
    let text = stricter();
    world.control().activate(bundle(&text), source(&text), "test").await.unwrap();
    world.log.broken.store(false, Ordering::SeqCst);
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
    world.control().activate(bundle(POLICIES), source(POLICIES), "test").await.unwrap();
    assert_eq!(world.holds(&who(&ana)), 0, "it does not come back with its rule");
    let grant = world.control().grants(&world.later(&ana)).await.unwrap().remove(0);
    assert!(matches!(grant.state, GrantState::Ended { why: GrantEnd::RuleGone, .. }), "{grant:?}");
}

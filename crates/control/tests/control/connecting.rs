//! How connected systems are: what gets through, what does not, and what waits.

use std::sync::atomic::Ordering;

use jiff::SignedDuration;
use portcullis_control::{
    ControlError, OpContext,
    views::{ConnectorState, ConnectorView},
};
use portcullis_model::EventType;

use crate::{
    noticing::{paging, passes},
    world::{POLICIES, World},
};

async fn of(world: &World, op: &OpContext, name: &str) -> ConnectorView {
    let all = world.control().connectors(op).await.unwrap();
    all.into_iter().find(|one| one.name == name).unwrap()
}

async fn pager(world: &World, op: &OpContext) -> ConnectorView {
    of(world, op, "pagerduty:urgent").await
}

fn state(world: &World) -> ConnectorState {
    world.control().connectors_now()[0].state
}

#[tokio::test]
async fn who_does_not_answer_is_failing_and_what_waits_is_counted_until_it_is_taken() {
    let world = World::with(&paging()).await;
    let sam = world.sign_in("sam", &["auditors"]).await;
    let before = pager(&world, &sam).await;
    assert_eq!((before.kind, before.name.as_str()), ("pagerduty", "pagerduty:urgent"));
    assert_eq!((before.state, before.waiting), (ConnectorState::Unknown, 0));
    world.notices.broken.store(true, Ordering::SeqCst);
    let ana = world.sign_in("ana", &["engineering"]).await;
    world.ask(&ana, "payments.deleteRefund").await.unwrap();
    world.until(|world| state(world) == ConnectorState::Failing).await;
    let down = pager(&world, &sam).await;
    assert_eq!(down.trouble.as_deref(), Some("it does not answer"));
    assert_eq!((down.waiting, down.set_aside, down.answered_at), (1, 0, None));
    let since = down.failing_since.unwrap();
    world.wait(SignedDuration::from_mins(1));
    world.until(|world| world.control().connectors_now()[0].failures > down.failures).await;
    assert_eq!(pager(&world, &sam).await.failing_since, Some(since), "since the first failure");
    world.notices.broken.store(false, Ordering::SeqCst);
    passes(&world, || state(&world) == ConnectorState::Working).await;
    world.until(|world| world.log.count(EventType::NoticeDelivered) == 1).await;
    let works = pager(&world, &sam).await;
    assert!(works.answered_at > Some(since) && works.trouble.is_none(), "{works:#?}");
    assert_eq!(works.waiting, 0, "what stands until somebody has answered does not wait");
}

#[tokio::test]
async fn what_was_set_aside_is_counted_and_waits_no_more() {
    let telling =
        POLICIES.replace("@reviews(\"2\")", "@reviews(\"2\") @notify(\"teams:payments\")");
    let world = World::with(&telling).await;
    world.notices.broken.store(true, Ordering::SeqCst);
    let ana = world.sign_in("ana", &["engineering"]).await;
    world.ask(&ana, "payments.deleteRefund").await.unwrap();
    for _ in 0..200 {
        if world.log.count(EventType::NoticeFailed) == 1 {
            break;
        }
        world.wait(SignedDuration::from_secs(60));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let sam = world.sign_in("sam", &["auditors"]).await;
    let aside = of(&world, &sam, "teams:payments").await;
    assert_eq!((aside.waiting, aside.set_aside), (0, 1), "{aside:#?}");
    assert_eq!(aside.state, ConnectorState::Failing);
    // For metrics too, once somebody counts.
    world.wait(SignedDuration::from_mins(1));
    world.control().count_messages().await;
    let seen = world.control().connectors_now();
    assert_eq!(seen.iter().map(|one| one.set_aside).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn how_systems_are_is_for_those_who_audit_or_administer() {
    let world = World::new().await;
    for (name, groups) in [("ana", ["engineering"]), ("lea", ["leads"])] {
        let op = world.sign_in(name, &groups).await;
        let told = world.control().connectors(&op).await;
        assert!(matches!(told, Err(ControlError::Denied(_))), "{name}: {told:?}");
    }
    for (name, groups) in [("sam", ["auditors"]), ("root", ["admins"])] {
        let op = world.sign_in(name, &groups).await;
        assert_eq!(pager(&world, &op).await.place, "a double");
    }
}

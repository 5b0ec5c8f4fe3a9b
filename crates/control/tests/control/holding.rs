//! Access requests that somebody waits for at the gate.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_control::{
    ControlError, OpContext, Waiting,
    ports::{HeldRequest, HoldAnswer},
    views::{AccessRequestFilter, Ask, AskFor, AskOperation},
};
use portcullis_model::{
    AccessRequestId, AccessRequestState, Decision, EventType, RequestId, Resource,
};

use crate::world::{HOME, World, answer, who};

const GONE: &str = "gone";

fn asked(op: &OpContext, number: u128, digest: &str) -> HeldRequest {
    HeldRequest {
        request: RequestId::from_bits(number),
        operation: "payments.createRefund".parse().unwrap(),
        resource: Resource { service: "payments".parse().unwrap(), instance: None },
        rule: "payments.reviewed".parse().unwrap(),
        digest: digest.to_owned(),
        summary: "POST /v1/refunds".to_owned(),
        parameters: [].into(),
        size: 20,
        until: op.now() + SignedDuration::from_secs(60),
        body: None,
    }
}

async fn hold(world: &World, op: &OpContext, asked: HeldRequest) -> Result<Waiting, ControlError> {
    world.control().hold(op.caller().unwrap().clone(), HOME, asked).await
}

/// What of the caller's waits for reviewers.
async fn all_pending(world: &World, op: &OpContext) -> Vec<AccessRequestId> {
    let mine = world.control().access_requests(op, AccessRequestFilter::Mine).await.unwrap();
    let pending = mine.into_iter().filter(|view| view.request.state == AccessRequestState::Pending);
    pending.map(|view| view.request.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e25_e38_of_approving_and_leaving_at_once_exactly_one_wins() {
    for round in 0..16 {
        let world = World::new().await;
        let ana = world.sign_in("ana", &["engineering"]).await;
        let lea = world.sign_in("lea", &["leads"]).await;
        let waiting = hold(&world, &ana, asked(&ana, 7, "sha256:aa")).await.unwrap();
        let id = all_pending(&world, &ana).await[0];
        let control = Arc::clone(world.control());
        let reviewing =
            tokio::spawn(async move { control.review(&lea, id, answer(Decision::Approve)).await });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let left = waiting.withdraw(GONE).await;
        let approved = reviewing.await.unwrap().is_ok();
        let grants = world.holds(&who(&ana));
        let expected = if approved { Some(HoldAnswer::Approved) } else { None };
        assert_eq!((left, grants), (expected, usize::from(approved)));
        let state = world.control().access_request(&ana, id).await.unwrap().request.state;
        let withdrawn =
            matches!(&state, AccessRequestState::Withdrawn { why: Some(why), .. } if why == GONE);
        assert_eq!(withdrawn, !approved, "{state:?}");
        world.until(|world| world.log.count(EventType::AccessRequestEnded) == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_told_of_an_approval_finds_its_grant_and_it_carries_one() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let mut waiting = hold(&world, &ana, asked(&ana, 7, "sha256:aa")).await.unwrap();
    let id = all_pending(&world, &ana).await[0];
    let control = Arc::clone(world.control());
    let seen = tokio::spawn({
        let (control, ana) = (Arc::clone(&control), who(&ana));
        async move {
            let told = waiting.answered().await;
            let snapshot = control.snapshots().current();
            let grants: Vec<_> = snapshot.grants_of(&ana).cloned().collect();
            (told, grants, waiting)
        }
    });
    control.review(&lea, id, answer(Decision::Approve)).await.unwrap();
    let (told, grants, waiting) = seen.await.unwrap();
    assert_eq!(told, HoldAnswer::Approved);
    assert_eq!(grants.len(), 1);
    assert_eq!((grants[0].digest.as_deref(), grants[0].max_uses), (Some("sha256:aa"), Some(1)));
    drop(waiting);
    let request = control.access_request(&ana, id).await.unwrap().request;
    assert_eq!(request.state.as_str(), "approved", "an answer stays");
    let asked = world.log.events().into_iter().find(|e| e.kind == EventType::AccessRequested);
    assert_eq!(asked.unwrap().request, Some(RequestId::from_bits(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_by_hand_is_not_taken_back_by_who_waits_for_it_too() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    // By hand, bound to nothing: another question.
    let operation = "payments.createRefund".parse().unwrap();
    let what = AskFor::Operations(vec![AskOperation { operation, instance: None, rule: None }]);
    let by_hand =
        Ask { what, rule: None, incident: None, reason: "by hand".into(), duration: None };
    let by_hand = world.control().ask(&ana, by_hand).await.unwrap().request;
    let first = hold(&world, &ana, asked(&ana, 7, "sha256:aa")).await.unwrap();
    let second = hold(&world, &ana, asked(&ana, 8, "sha256:aa")).await.unwrap();
    let other = hold(&world, &ana, asked(&ana, 9, "sha256:bb")).await.unwrap();
    assert_eq!(all_pending(&world, &ana).await.len(), 3, "two wait for one answer");
    drop((first, other));
    world.until(|world| world.log.count(EventType::AccessRequestEnded) == 1).await;
    assert_eq!(all_pending(&world, &ana).await.len(), 2, "somebody waits still");
    assert_eq!(second.withdraw(GONE).await, None);
    assert_eq!(all_pending(&world, &ana).await, [by_hand.id]);
    world.control().review(&lea, by_hand.id, answer(Decision::Approve)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gate_forgets_expires() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let mut waiting = hold(&world, &ana, asked(&ana, 7, "sha256:aa")).await.unwrap();
    world.wait(SignedDuration::from_secs(63));
    assert_eq!(waiting.answered().await, HoldAnswer::Over);
}

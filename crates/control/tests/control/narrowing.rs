//! Reviewers approve less than was asked for: what is issued is what all of them approve.

use portcullis_control::{
    ControlError,
    views::{Ask, AskFor, AskOperation, ReviewInput},
};
use portcullis_model::{AccessRequestState, Decision, Grant, Scope, Window};

use crate::world::{POLICIES, World, answer, asking, who};

/// Two operations under one rule that two people review.
fn reviewed() -> String {
    POLICIES.replace(
        "Group::\"engineering\", action == Action::\"payments.deleteRefund\"",
        "Group::\"ops\", action in [Action::\"payments.deleteRefund\", Action::\"payments.getRefund\"]",
    )
}

fn both() -> Ask {
    let operation =
        |name: &str| AskOperation { operation: name.parse().unwrap(), instance: None, rule: None };
    let wanted = ["payments.deleteRefund", "payments.getRefund"].map(operation);
    Ask { what: AskFor::Operations(wanted.into()), ..asking("payments.getRefund", None) }
}

fn only(operations: &[&str], instance: Option<&str>) -> ReviewInput {
    let operations = operations.iter().map(|name| name.parse().unwrap()).collect();
    let scope = Scope {
        operations: Some(operations)
            .filter(|names: &std::collections::BTreeSet<_>| !names.is_empty()),
        instance: instance.map(|name| name.parse().unwrap()),
    };
    ReviewInput { scope, ..answer(Decision::Approve) }
}

async fn grants(world: &World, op: &portcullis_control::OpContext) -> Vec<Grant> {
    let mut grants = world.control().grants(op).await.unwrap();
    grants.sort_by_key(|grant| grant.operation.clone());
    grants
}

#[tokio::test]
async fn two_reviewers_narrow_and_shorten_to_what_they_have_in_common() {
    let world = World::with(&reviewed()).await;
    let ana = world.sign_in("ana", &["ops"]).await;
    let (lea, tom) =
        (world.sign_in("lea", &["leads"]).await, world.sign_in("tom", &["leads"]).await);
    let id = world.control().ask(&ana, both()).await.unwrap().request.id;
    let first = ReviewInput {
        duration: Some(Window::minutes(20)),
        ..only(&["payments.deleteRefund", "payments.getRefund"], Some("p-2"))
    };
    world.control().review(&lea, id, first).await.unwrap();
    let second =
        ReviewInput { duration: Some(Window::minutes(10)), ..only(&["payments.getRefund"], None) };
    let view = world.control().review(&tom, id, second).await.unwrap();
    let AccessRequestState::Approved { grants: ids, .. } = &view.request.state else { panic!() };
    assert_eq!(ids.len(), 1);
    let held = grants(&world, &ana).await;
    let [grant] = held.as_slice() else { panic!("{held:?}") };
    assert_eq!(grant.operation.as_str(), "payments.getRefund");
    assert_eq!(grant.resource.instance.as_ref().unwrap().as_str(), "p-2");
    assert_eq!(grant.expires_at, ana.now() + jiff::SignedDuration::from_mins(10));
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn approvals_that_have_nothing_in_common_are_refused_and_say_so() {
    let world = World::with(&reviewed()).await;
    let ana = world.sign_in("ana", &["ops"]).await;
    let (lea, tom) =
        (world.sign_in("lea", &["leads"]).await, world.sign_in("tom", &["leads"]).await);
    let id = world.control().ask(&ana, both()).await.unwrap().request.id;
    world.control().review(&lea, id, only(&["payments.getRefund"], Some("p-1"))).await.unwrap();
    for other in [only(&["payments.deleteRefund"], None), only(&[], Some("p-2"))] {
        let refused = world.control().review(&tom, id, other).await;
        let Err(ControlError::Conflict(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("nothing would be left"), "{why}");
    }
    assert_eq!(world.holds(&who(&ana)), 0);
    let request = world.control().access_request(&ana, id).await.unwrap().request;
    assert_eq!((request.state.as_str(), request.reviews.len()), ("pending", 1));
    // Whoever did not agree may still agree to more.
    let view = world.control().review(&tom, id, answer(Decision::Approve)).await.unwrap();
    assert_eq!(view.request.state.as_str(), "approved");
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn a_scope_that_is_none_is_refused() {
    let world = World::with(&reviewed()).await;
    let ana = world.sign_in("ana", &["ops"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.control().ask(&ana, both()).await.unwrap().request.id;
    let declined =
        ReviewInput { decision: Decision::Decline, ..only(&["payments.getRefund"], None) };
    for wrong in [only(&["payments.createRefund"], None), only(&[], Some("p-9")), declined] {
        let refused = world.control().review(&lea, id, wrong).await;
        assert!(
            matches!(refused, Err(ControlError::Invalid { field: "scope", .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn two_that_become_the_same_are_issued_once() {
    let world = World::with(&reviewed()).await;
    let ana = world.sign_in("ana", &["ops"]).await;
    let (lea, tom) =
        (world.sign_in("lea", &["leads"]).await, world.sign_in("tom", &["leads"]).await);
    let mut twice = both();
    let AskFor::Operations(wanted) = &mut twice.what else { panic!() };
    wanted[1] = AskOperation { instance: Some("p-2".parse().unwrap()), ..wanted[0].clone() };
    let id = world.control().ask(&ana, twice).await.unwrap().request.id;
    world.control().review(&lea, id, only(&[], Some("p-2"))).await.unwrap();
    let view = world.control().review(&tom, id, answer(Decision::Approve)).await.unwrap();
    let AccessRequestState::Approved { grants: ids, .. } = view.request.state else { panic!() };
    assert_eq!((ids.len(), world.holds(&who(&ana))), (1, 1));
}

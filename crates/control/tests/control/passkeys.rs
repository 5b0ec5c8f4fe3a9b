//! Passkeys and time: what lapses, what stays, and who counts when the grants are issued.

use jiff::SignedDuration;
use portcullis_control::{
    ControlError, OpContext,
    views::{AccessRequestView, ReviewInput},
};
use portcullis_model::{AccessRequestId, Decision};
use portcullis_testkit::SoftPasskey;
use serde_json::Value;

use crate::world::{ORIGIN, POLICIES, World, answer, who};

/// Nobody reviews without a passkey.
const SIGNED: &str = r#"// house
@id("signed")
forbid (principal, action == Action::"review", resource is AccessRequest)
unless { principal.amr.contains("passkey") };
"#;

fn policies() -> String {
    format!("{POLICIES}{SIGNED}")
}

fn soft(name: u8) -> SoftPasskey {
    SoftPasskey::new(ORIGIN, "portcullis.example.com", name)
}

async fn register(world: &World, op: &OpContext, soft: &SoftPasskey) -> Result<(), ControlError> {
    let options = world.control().begin_passkey(&world.later(op)).await?;
    let options = serde_json::to_value(options).unwrap();
    let response = soft.register(options["challenge"].as_str().unwrap());
    finish(world, op, response).await
}

async fn finish(world: &World, op: &OpContext, response: Value) -> Result<(), ControlError> {
    let response = serde_json::from_value(response).unwrap();
    world.control().register_passkey(&world.later(op), "laptop", &response).await.map(drop)
}

async fn challenge(world: &World, op: &OpContext, id: AccessRequestId) -> String {
    let needed = world.approve(op, id).await;
    let Err(ControlError::PasskeyNeeded(Some(challenge))) = needed else { panic!("{needed:?}") };
    let options = serde_json::to_value(&challenge.options).unwrap();
    options["challenge"].as_str().unwrap().to_owned()
}

async fn sign(
    world: &World,
    op: &OpContext,
    id: AccessRequestId,
    assertion: Value,
) -> Result<AccessRequestView, ControlError> {
    let passkey = Some(serde_json::from_value(assertion).unwrap());
    let input = ReviewInput { passkey, ..answer(Decision::Approve) };
    world.control().review(&world.later(op), id, input).await
}

#[tokio::test]
async fn a_passkey_takes_a_sign_in_of_now() {
    let world = World::with(&policies()).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let options = world.control().begin_passkey(&lea).await.unwrap();
    let options = serde_json::to_value(options).unwrap();
    world.wait(SignedDuration::from_secs(5 * 60 + 1));
    let late = soft(1).register(options["challenge"].as_str().unwrap());
    let late = finish(&world, &lea, late).await;
    assert!(matches!(late, Err(ControlError::Invalid { .. })), "{late:?}");
    register(&world, &lea, &soft(1)).await.unwrap();
    world.wait(SignedDuration::from_mins(5));
    let old = register(&world, &lea, &soft(2)).await;
    assert!(matches!(old, Err(ControlError::Denied(_))), "{old:?}");
    let again = world.sign_in("lea", &["leads"]).await;
    register(&world, &again, &soft(2)).await.unwrap();
}

#[tokio::test]
async fn what_is_to_be_signed_lapses_and_what_is_asked_survives_a_restart() {
    let mut world = World::with(&policies()).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let mut passkey = soft(1);
    register(&world, &lea, &passkey).await.unwrap();
    let asked = world.ask(&ana, "payments.createRefund").await.unwrap();
    assert_eq!(asked.reviewers, ["lea"], "she could, with her passkey");
    let id = asked.request.id;
    let lapsed = challenge(&world, &lea, id).await;
    world.wait(SignedDuration::from_mins(5));
    let late = sign(&world, &lea, id, passkey.sign(&lapsed)).await;
    assert!(matches!(late, Err(ControlError::Denied(_))), "{late:?}");
    let open = challenge(&world, &lea, id).await;
    world.restart(&policies()).await;
    let view = sign(&world, &lea, id, passkey.sign(&open)).await.unwrap();
    assert_eq!(view.request.state.as_str(), "approved");
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn of_one_signature_given_many_times_at_once_one_counts() {
    let world = World::with(&policies()).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let mut passkey = soft(1);
    register(&world, &lea, &passkey).await.unwrap();
    let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    let assertion = passkey.sign(&challenge(&world, &lea, id).await);
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (control, op) = (std::sync::Arc::clone(world.control()), world.later(&lea));
        let passkey = Some(serde_json::from_value(assertion.clone()).unwrap());
        let input = ReviewInput { passkey, ..answer(Decision::Approve) };
        racing.spawn(async move { control.review(&op, id, input).await.is_ok() });
    }
    assert_eq!(racing.join_all().await.into_iter().filter(|counted| *counted).count(), 1);
    let kept = world.control().access_request(&world.later(&lea), id).await.unwrap();
    assert_eq!(kept.request.reviews.len(), 1);
}

#[tokio::test]
async fn signed_reviews_are_counted_as_signed_when_the_last_one_comes() {
    let world = World::with(&policies()).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    let mut states = Vec::new();
    for (n, name) in (1..).zip(["lea", "tom"]) {
        let op = world.sign_in(name, &["leads"]).await;
        let mut passkey = soft(n);
        register(&world, &op, &passkey).await.unwrap();
        let assertion = passkey.sign(&challenge(&world, &op, id).await);
        let view = sign(&world, &op, id, assertion).await.unwrap();
        states.push(view.request.state.as_str());
    }
    assert_eq!(states, ["pending", "approved"]);
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn a_providers_word_for_a_passkey_is_no_signature() {
    let world = World::with(&policies()).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in_by("lea", &["leads"], "passkey").await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    let needed = world.approve(&lea, id).await;
    assert!(matches!(needed, Err(ControlError::PasskeyNeeded(None))), "{needed:?}");
    let sam = world.sign_in_by("sam", &["engineering"], "passkey").await;
    assert!(world.control().access_request(&sam, id).await.is_err(), "nor any other right");
}

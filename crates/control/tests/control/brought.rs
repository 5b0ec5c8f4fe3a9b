//! Nobody profits alone from policies that they brought into force themselves.

use portcullis_control::{ControlError, OpContext};
use portcullis_model::AccessRequestState;

use crate::world::{POLICIES, World, bundle, source, who};

/// The policies of old, which were lax: friends review.
fn lax() -> String {
    format!(
        "{POLICIES}// house\n@id(\"friends\")\npermit (principal is User in Group::\"friends\", \
         action == Action::\"review\", resource is AccessRequest);\n"
    )
}

/// Kim, who administers, goes back to the policies of old.
async fn rolled_back() -> (World, OpContext) {
    let world = World::with(&lax()).await;
    world.control().activate(bundle(POLICIES), source(POLICIES), "file change").await.unwrap();
    let kim = world.sign_in("kim", &["admins", "engineering", "oncall"]).await;
    world.control().rollback(&kim, None).await.unwrap();
    (world, kim)
}

#[tokio::test]
async fn e03_who_changed_the_policies_is_granted_nothing_by_them_without_another() {
    let (mut world, kim) = rolled_back().await;
    for _ in 0..2 {
        let asked = world.ask(&kim, "payments.createRefund").await.unwrap().request;
        assert_eq!((asked.state.as_str(), asked.reviews_needed()), ("pending", 1));
        assert_eq!(asked.queries[0].way.rule.as_str(), "payments.auto");
        assert_eq!(world.holds(&who(&kim)), 0);
        world.restart(&lax()).await;
    }
    let lea = world.sign_in("lea", &["leads"]).await;
    let own = world.approve(&kim, id(&world, &kim).await).await;
    assert!(matches!(own, Err(ControlError::Denied(_))), "{own:?}");
    let view = world.approve(&lea, id(&world, &kim).await).await.unwrap();
    assert_eq!(view.request.state.as_str(), "approved");
    assert_eq!(world.holds(&who(&kim)), 1);
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let others = world.ask(&ana, "payments.createRefund").await.unwrap().request;
    assert!(
        matches!(others.state, AccessRequestState::Approved { .. }),
        "for others it is in force"
    );
}

async fn id(world: &World, op: &OpContext) -> portcullis_model::AccessRequestId {
    world.ask(op, "payments.createRefund").await.unwrap().request.id
}

#[tokio::test]
async fn e03_nor_by_reviewers_whom_only_the_changed_policies_know() {
    let (world, kim) = rolled_back().await;
    let asked = world.ask(&kim, "payments.deleteRefund").await.unwrap();
    let friend = world.sign_in("fay", &["friends"]).await;
    let refused = world.approve(&friend, asked.request.id).await;
    assert!(matches!(refused, Err(ControlError::NotFound(_))), "{refused:?}");
    let seen = world.control().access_request(&kim, asked.request.id).await.unwrap();
    assert!(!seen.reviewers.contains(&"fay".to_owned()), "{:?}", seen.reviewers);
    let ana = world.sign_in("ana", &["engineering"]).await;
    let others = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    assert!(world.approve(&friend, others).await.is_ok(), "for others they are reviewers");
}

#[tokio::test]
async fn e03_a_change_after_asking_counts_as_well_and_others_end_it() {
    let world = World::with(&lax()).await;
    world.control().activate(bundle(POLICIES), source(POLICIES), "file change").await.unwrap();
    let kim = world.sign_in("kim", &["admins", "engineering"]).await;
    let friend = world.sign_in("fay", &["friends"]).await;
    let asked = world.ask(&kim, "payments.createRefund").await.unwrap().request.id;
    world.control().rollback(&kim, None).await.unwrap();
    assert!(world.approve(&friend, asked).await.is_err());
    // Somebody else brings the same into force, by another change of the files.
    let text = lax().replace("30m", "29m");
    world.control().activate(bundle(&text), source(&text), "file change").await.unwrap();
    let view = world.approve(&friend, asked).await.unwrap();
    assert_eq!(view.request.state.as_str(), "approved");
}

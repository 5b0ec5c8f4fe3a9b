//! People who leave: what they have and wait for ends with them.

use portcullis_control::{
    ControlError, GroupAttributes, OpContext, UserAttributes,
    views::{AccessRequestFilter, StoredEmail, StoredName},
};
use portcullis_model::{AccessRequestState, EventType};

use crate::world::{DIRECTORY_TOKEN, HOME, World, who};

/// Ana as the directory has her.
fn attributes(active: bool) -> UserAttributes {
    UserAttributes {
        user_name: "ana".into(),
        external_id: Some("ana".into()),
        display_name: None,
        name: StoredName::default(),
        emails: vec![StoredEmail { value: "ana@example.com".into(), kind: None, primary: true }],
        active,
    }
}

async fn directory(world: &World) -> OpContext {
    world.control().provisioning(Some(DIRECTORY_TOKEN), HOME).await.unwrap()
}

#[tokio::test]
async fn d25_what_somebody_who_is_deactivated_waits_for_is_withdrawn_at_once() {
    let world = World::new().await;
    let op = directory(&world).await;
    let user = world.control().put_directory_user(&op, None, attributes(true)).await.unwrap().user;
    let members = [user.id].into();
    let group = GroupAttributes { name: "engineering".into(), external_id: None, members };
    world.control().put_directory_group(&op, None, group).await.unwrap();
    let ana = world.sign_in("ana", &[]).await;
    let also = world.sign_in_as("ana-admin", "ana@example.com", &[]).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let mine = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    let half = world.ask(&also, "payments.deleteRefund").await.unwrap().request.id;
    world.approve(&lea, half).await.unwrap();
    let theirs = world.ask(&ben, "payments.createRefund").await.unwrap().request.id;
    let op = directory(&world).await;
    world.control().put_directory_user(&op, Some(&user), attributes(false)).await.unwrap();
    for id in [mine, half] {
        let seen = world.control().access_request(&world.later(&lea), id).await.unwrap().request;
        let AccessRequestState::Withdrawn { why: Some(why), .. } = &seen.state else {
            panic!("{seen:?}")
        };
        assert_eq!(why, "the requester is deactivated");
        // Nobody can give an answer any more that would open something.
        let late = world.approve(&lea, id).await;
        assert!(matches!(late, Err(ControlError::Conflict(_))), "{late:?}");
    }
    let waiting = world.control().access_requests(&lea, AccessRequestFilter::ToReview).await;
    let waiting: Vec<_> = waiting.unwrap().iter().map(|view| view.request.id).collect();
    assert_eq!(waiting, [theirs]);
    assert_eq!(world.holds(&who(&ana)) + world.holds(&who(&also)), 0);
    world.until(|world| world.log.count(EventType::AccessRequestEnded) == 2).await;
    let events = world.log.events();
    let ended = events.iter().filter(|event| event.kind == EventType::AccessRequestEnded);
    for event in ended {
        assert_eq!(event.decision.as_deref(), Some("withdrawn"));
        assert_eq!(event.detail.as_deref(), Some("the requester is deactivated"));
    }
}

#[tokio::test]
async fn d25_whoever_asks_while_being_deactivated_waits_for_nothing() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    // She has been let in, and is just about to ask.
    let op = directory(&world).await;
    world.control().put_directory_user(&op, None, attributes(false)).await.unwrap();
    for operation in ["payments.createRefund", "payments.deleteRefund"] {
        let asked = world.ask(&ana, operation).await;
        assert!(matches!(asked, Err(ControlError::Denied(_))), "{asked:?}");
    }
    assert_eq!(world.holds(&who(&ana)), 0);
    let lea = world.sign_in("lea", &["leads"]).await;
    let waiting = world.control().access_requests(&lea, AccessRequestFilter::ToReview).await;
    assert!(waiting.unwrap().is_empty());
}

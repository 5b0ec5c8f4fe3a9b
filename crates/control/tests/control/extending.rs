//! More of a grant: its end moves, and never past the longest window that it may have as a whole.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_control::{
    Control, ControlError, OpContext,
    ports::ConnectionInfo,
    views::{AccessRequestView, Ask, AskFor, ReviewInput},
};
use portcullis_model::{
    AccessRequestState, ConnectionId, Decision, EventType, Grant, GrantEnd, GrantId, GrantState,
    RequestId, Window,
};

use crate::world::{HOME, POLICIES, World, answer, asking, bundle, source, who};

async fn extend(
    world: &World,
    op: &OpContext,
    grant: GrantId,
    minutes: u32,
) -> Result<AccessRequestView, ControlError> {
    let duration = Some(Window::minutes(minutes));
    let ask = Ask { what: AskFor::Extension(grant), ..asking("payments.getRefund", duration) };
    world.control().ask(&world.later(op), ask).await
}

async fn read(world: &World, op: &OpContext, id: GrantId) -> Grant {
    world.control().grant(&world.later(op), id).await.unwrap()
}

fn only(view: &AccessRequestView) -> GrantId {
    let AccessRequestState::Approved { grants, .. } = &view.request.state else {
        panic!("{view:?}")
    };
    assert_eq!(grants.len(), 1);
    grants[0]
}

/// Ana holds `payments.deleteRefund` for ten minutes; two leads stand behind it.
async fn held(policies: &str) -> (World, OpContext, [OpContext; 2], GrantId) {
    let world = World::with(policies).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let tom = world.sign_in("tom", &["leads"]).await;
    let ask = asking("payments.deleteRefund", Some(Window::minutes(10)));
    let id = world.control().ask(&ana, ask).await.unwrap().request.id;
    world.approve(&lea, id).await.unwrap();
    let grant = only(&world.approve(&tom, id).await.unwrap());
    (world, ana, [lea, tom], grant)
}

#[tokio::test]
async fn an_approved_extension_moves_the_end_of_the_same_grant() {
    let (mut world, ana, [lea, tom], grant) = held(POLICIES).await;
    let before = read(&world, &ana, grant).await;
    world.wait(SignedDuration::from_mins(8));
    let asked = extend(&world, &ana, grant, 15).await.unwrap().request;
    assert_eq!((asked.state.as_str(), asked.extends), ("pending", Some(grant)));
    assert_eq!(extend(&world, &ana, grant, 15).await.unwrap().request.id, asked.id, "joined");
    world.approve(&lea, asked.id).await.unwrap();
    assert_eq!(read(&world, &ana, grant).await.expires_at, before.expires_at, "one is not two");
    assert_eq!(only(&world.approve(&tom, asked.id).await.unwrap()), grant);
    let after = read(&world, &ana, grant).await;
    assert_eq!(after.expires_at, before.starts_at + SignedDuration::from_mins(23));
    assert_eq!((after.starts_at, after.reviews), (before.starts_at, 2));
    assert_eq!(world.log.count(EventType::GrantExtended), 1);
    assert_eq!(world.log.count(EventType::GrantStarted), 1);
    // The end that it had is no end any more, also after a restart.
    world.wait(SignedDuration::from_mins(4));
    assert_eq!(world.holds(&who(&ana)), 1);
    world.restart(POLICIES).await;
    assert_eq!(world.holds(&who(&ana)), 1);
    world.wait(SignedDuration::from_mins(11));
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let why = GrantEnd::Expired;
    let ended = read(&world, &ana, grant).await.state;
    assert!(matches!(ended, GrantState::Ended { why: ended, .. } if ended == why), "{ended:?}");
}

#[tokio::test]
async fn e27_however_often_it_is_extended_a_grant_is_never_longer_than_the_service_allows() {
    let (world, ana, leads, grant) = held(POLICIES).await;
    let starts_at = read(&world, &ana, grant).await.starts_at;
    let mut rounds = 0;
    let over = loop {
        let expires_at = read(&world, &ana, grant).await.expires_at;
        world.wait(
            expires_at.duration_since(world.later(&ana).now()) - SignedDuration::from_secs(1),
        );
        let asked = match extend(&world, &ana, grant, 60).await {
            Ok(asked) => asked.request,
            Err(over) => break over,
        };
        for lead in &leads {
            world.approve(lead, asked.id).await.unwrap();
        }
        rounds += 1;
        assert!(rounds < 20, "it never ends");
    };
    assert!(matches!(over, ControlError::Conflict(_)), "{over:?}");
    let longest = read(&world, &ana, grant).await.expires_at.duration_since(starts_at);
    assert_eq!(longest, SignedDuration::from_hours(8), "the service's longest");
}

#[tokio::test]
async fn e27_two_approvals_of_the_same_make_one_grant_whose_end_moved() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let leads = [world.sign_in("lea", &["leads"]).await, world.sign_in("tom", &["leads"]).await];
    let mut asked = Vec::new();
    for minutes in [10, 20] {
        let ask = asking("payments.deleteRefund", Some(Window::minutes(minutes)));
        asked.push(world.control().ask(&ana, ask).await.unwrap().request.id);
    }
    let mut grants = Vec::new();
    for id in asked {
        world.approve(&leads[0], id).await.unwrap();
        grants.push(only(&world.approve(&leads[1], id).await.unwrap()));
        world.wait(SignedDuration::from_mins(5));
    }
    assert_eq!(grants[0], grants[1]);
    assert_eq!(world.holds(&who(&ana)), 1);
    let grant = read(&world, &ana, grants[0]).await;
    assert_eq!(grant.expires_at, grant.starts_at + SignedDuration::from_mins(25));
}

#[tokio::test]
async fn e27_what_policy_approves_by_itself_is_never_longer_than_its_rule() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let ask = asking("payments.createRefund", Some(Window::minutes(10)));
    let grant = only(&world.control().ask(&ana, ask).await.unwrap());
    world.wait(SignedDuration::from_mins(5));
    let extended = extend(&world, &ana, grant, 30).await.unwrap();
    assert_eq!(only(&extended), grant);
    let whole = read(&world, &ana, grant).await;
    assert_eq!(whole.expires_at, whole.starts_at + SignedDuration::from_mins(30));
    let more = extend(&world, &ana, grant, 30).await;
    assert!(matches!(more, Err(ControlError::Conflict(_))), "{more:?}");
}

#[tokio::test]
async fn an_extension_takes_as_many_people_as_stand_behind_the_grant() {
    let (world, ana, [lea, _], grant) = held(POLICIES).await;
    let text = POLICIES.replace("@reviews(\"2\")", "@reviews(\"1\")");
    world.control().activate(bundle(&text), source(&text), "file change").await.unwrap();
    let asked = extend(&world, &ana, grant, 15).await.unwrap().request;
    assert_eq!(asked.reviews_needed(), 2);
    assert_eq!(world.approve(&lea, asked.id).await.unwrap().request.state.as_str(), "pending");
}

#[tokio::test]
async fn a_grant_that_has_ended_is_not_extended() {
    let (world, ana, [lea, tom], grant) = held(POLICIES).await;
    let asked = extend(&world, &ana, grant, 15).await.unwrap().request;
    world.approve(&lea, asked.id).await.unwrap();
    world.control().give_back(&ana, grant).await.unwrap();
    let view = world.approve(&tom, asked.id).await.unwrap();
    let AccessRequestState::Declined { why, .. } = view.request.state else { panic!() };
    assert!(why.contains("ended meanwhile"), "{why}");
    assert_eq!(world.holds(&who(&ana)), 0);
    let late = extend(&world, &ana, grant, 15).await;
    assert!(matches!(late, Err(ControlError::Conflict(_))), "{late:?}");
}

#[tokio::test]
async fn only_its_holder_asks_for_more_and_nothing_that_is_less() {
    let (world, ana, [lea, _], grant) = held(POLICIES).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    assert!(matches!(extend(&world, &ben, grant, 15).await, Err(ControlError::NotFound(_))));
    assert!(matches!(extend(&world, &lea, grant, 15).await, Err(ControlError::Denied(_))));
    let less = extend(&world, &ana, grant, 5).await;
    assert!(matches!(less, Err(ControlError::Invalid { field: "duration", .. })), "{less:?}");
    let more = extend(&world, &ana, grant, 61).await;
    assert!(matches!(more, Err(ControlError::Invalid { field: "duration", .. })), "{more:?}");
    let asked = extend(&world, &ana, grant, 15).await.unwrap().request;
    let scope =
        portcullis_model::Scope { instance: Some("p-1".parse().unwrap()), operations: None };
    let narrowed = ReviewInput { scope, ..answer(Decision::Approve) };
    let narrowed = world.control().review(&lea, asked.id, narrowed).await;
    assert!(matches!(narrowed, Err(ControlError::Invalid { field: "scope", .. })), "{narrowed:?}");
}

fn idle() -> String {
    POLICIES.replace("@reviews(\"2\")", "@reviews(\"2\") @idle(\"3m\")")
}

fn ends(world: &World) -> Vec<String> {
    let events = world.log.events();
    let ended = events.iter().filter(|event| event.kind == EventType::GrantEnded);
    ended.map(|event| event.decision.as_ref().unwrap().to_string()).collect()
}

#[tokio::test]
async fn a_grant_that_nobody_uses_ends_and_one_that_is_used_lives_on() {
    let (mut world, ana, _, grant) = held(&idle()).await;
    for _ in 0..2 {
        world.wait(SignedDuration::from_mins(2));
        world.control().grant_used(grant);
    }
    assert_eq!(world.holds(&who(&ana)), 1);
    // Its last use is known after a restart.
    world.restart(&idle()).await;
    world.wait(SignedDuration::from_secs(170));
    assert_eq!(world.holds(&who(&ana)), 1);
    world.wait(SignedDuration::from_secs(10));
    world.until(|world| ends(world) == ["idle"]).await;
    assert_eq!(world.holds(&who(&ana)), 0);
}

fn connect(
    control: &Arc<Control>,
    ana: &OpContext,
    grant: GrantId,
) -> portcullis_control::OpenConnection {
    control.connection_opened(ConnectionInfo {
        id: ConnectionId::from_bits(1),
        request: RequestId::from_bits(1),
        principal: who(ana),
        service: "payments".parse().unwrap(),
        instance: "p-1".parse().unwrap(),
        operation: "payments.deleteRefund".parse().unwrap(),
        grant: Some(grant),
        reveals: Vec::new(),
        sign_in: None,
        source: HOME,
        protocol: "websocket",
        since: ana.now(),
    })
}

#[tokio::test]
async fn a_connection_that_is_open_is_a_use_until_it_ends() {
    let (world, ana, _, grant) = held(&idle()).await;
    let open = connect(world.control(), &ana, grant);
    world.wait(SignedDuration::from_mins(3));
    // Long enough for a look at it, if there is one.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(world.holds(&who(&ana)), 1);
    world.wait(SignedDuration::from_mins(2));
    open.ended("finished", 0, 0);
    world.until(|world| world.log.count(EventType::ConnectionEnded) == 1).await;
    world.wait(SignedDuration::from_mins(2));
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(world.holds(&who(&ana)), 1, "in use until two minutes ago");
    world.wait(SignedDuration::from_mins(1));
    world.until(|world| ends(world) == ["idle"]).await;
}

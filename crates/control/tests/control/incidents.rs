//! Incidents and who is on call: who may say so, and what it opens and ends.

use jiff::SignedDuration;
use portcullis_control::{
    ControlError, OpContext,
    views::{Ask, AskFor, AskOperation, IncidentChange, NewIncident, OnCallInput},
};
use portcullis_model::{
    EventType, GrantEnd, GrantState, Incident, IncidentId, IncidentState, Window,
};

use crate::world::{World, asking, who};

const POLICIES: &str = r#"
@id("oncall") @reviews("0") @max_duration("30m")
permit (principal is User, action == Action::"payments.createRefund", resource in Service::"payments")
when {
  context has grant && context.grant has incident && context.grant.incident.open &&
  context.grant.incident.services.contains(Service::"payments") &&
  principal has onCall && principal.onCall.contains(Schedule::"primary")
};

@id("reviewed") @reviews("1")
permit (principal is User in Group::"engineering", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant && context.grant has incident && context.grant.incident.severity == "sev1" };

// house
@id("oncall.reviewers")
permit (principal is User, action == Action::"review", resource is AccessRequest)
when { principal has onCall && principal.onCall.contains(Schedule::"primary") };

@id("managers")
permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);
"#;

const REFUND: &str = "payments.createRefund";

fn new(id: &str) -> NewIncident {
    NewIncident {
        id: Some(id.parse().unwrap()),
        title: "refunds are stuck".into(),
        severity: "sev1".parse().unwrap(),
        services: ["payments".parse().unwrap()].into(),
        responders: [].into(),
        fresh_for: None,
    }
}

fn id(id: &str) -> IncidentId {
    id.parse().unwrap()
}

fn on_call(op: &OpContext) -> OnCallInput {
    OnCallInput { people: [who(op)].into(), until: None }
}

async fn primary(world: &World, lea: &OpContext, input: OnCallInput) -> Result<(), ControlError> {
    let name = "primary".parse().unwrap();
    world.control().put_schedule(&world.later(lea), &name, input).await.map(drop)
}

/// Lea manages incidents, ana is on call, ben is not.
async fn people(world: &World) -> [OpContext; 3] {
    let lea = world.sign_in("lea", &["leads"]).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    primary(world, &lea, on_call(&ana)).await.unwrap();
    [lea, ana, ben]
}

#[tokio::test]
async fn n07_an_incident_takes_the_right_to_manage_it_and_shows_who_opened_it() {
    let world = World::with(POLICIES).await;
    let [lea, ana, _] = people(&world).await;
    let control = world.control();
    let own = control.open_incident(&ana, new("PD-1")).await;
    assert!(matches!(own, Err(ControlError::Denied(_))), "{own:?}");
    assert!(matches!(world.ask(&ana, REFUND).await, Err(ControlError::NoWay { .. })));
    let unknown = NewIncident { services: ["nothing".parse().unwrap()].into(), ..new("PD-1") };
    let unknown = control.open_incident(&lea, unknown).await;
    assert!(matches!(unknown, Err(ControlError::Invalid { field: "services", .. })), "{unknown:?}");

    let opened = control.open_incident(&lea, new("PD-1")).await.unwrap();
    assert_eq!(opened.source.to_string(), "api:corp:lea");
    let again = control.open_incident(&lea, new("PD-1")).await;
    assert!(matches!(again, Err(ControlError::Conflict(_))), "{again:?}");
    let seen = control.incidents(&ana).await.unwrap();
    assert_eq!(seen, [opened], "who asks for a way sees the incident");
    let closing = control.close_incident(&ana, &id("PD-1")).await;
    assert!(matches!(closing, Err(ControlError::Denied(_))), "{closing:?}");
    let said = world.log.events().into_iter().find(|e| e.kind == EventType::IncidentOpened);
    let said = said.unwrap();
    assert_eq!(said.incident, Some(id("PD-1")));
    assert!(said.detail.unwrap().contains("from api:corp:lea"));
}

#[tokio::test]
async fn what_an_incident_opened_ends_with_it_and_stays_shut() {
    let mut world = World::with(POLICIES).await;
    let [lea, ana, ben] = people(&world).await;
    world.control().open_incident(&lea, new("PD-1")).await.unwrap();
    assert!(matches!(world.ask(&ben, "payments.getRefund").await, Err(ControlError::NoWay { .. })));
    let granted = world.ask(&ana, REFUND).await.unwrap();
    let grants = world.control().grants(&ana).await.unwrap();
    assert_eq!(grants[0].incident, Some(id("PD-1")));
    assert_eq!(world.holds(&who(&ana)), 1);
    let again = world.ask(&ana, REFUND).await.unwrap();
    assert_eq!(again.request.id, granted.request.id, "what is held is not given again");

    world.restart(POLICIES).await;
    assert_eq!(world.holds(&who(&ana)), 1, "incidents and schedules come back");
    let closed = world.control().close_incident(&lea, &id("PD-1")).await.unwrap();
    assert!(matches!(closed.state, IncidentState::Closed { .. }));
    assert_eq!(world.holds(&who(&ana)), 0, "when closing returns");
    let ended = world.control().grant(&ana, grants[0].id).await.unwrap();
    let GrantState::Ended { why, .. } = ended.state else { panic!("{ended:?}") };
    assert_eq!(why, GrantEnd::IncidentResolved);
    let snapshot = world.control().snapshots().current();
    assert!(snapshot.incident(&id("PD-1")).is_none());
    let closing = world.control().close_incident(&lea, &id("PD-1")).await;
    assert!(matches!(closing, Err(ControlError::Conflict(_))), "{closing:?}");

    let reopened: Incident = world.control().reopen_incident(&lea, &id("PD-1")).await.unwrap();
    assert!(reopened.is_open());
    assert_eq!(world.holds(&who(&ana)), 0, "reopening revives nothing");
    world.ask(&ana, REFUND).await.unwrap();
    assert_eq!(world.holds(&who(&ana)), 1);
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
    assert_eq!(world.log.count(EventType::IncidentClosed), 1);
}

#[tokio::test]
async fn an_incident_can_be_named_and_reviewers_see_it() {
    let world = World::with(POLICIES).await;
    let [lea, ana, ben] = people(&world).await;
    for name in ["PD-1", "PD-2"] {
        world.control().open_incident(&lea, new(name)).await.unwrap();
    }
    let for_one = |name: &str| Ask { incident: Some(id(name)), ..asking(REFUND, None) };
    let unknown = world.control().ask(&ben, for_one("PD-3")).await;
    assert!(matches!(unknown, Err(ControlError::Invalid { field: "incident", .. })), "{unknown:?}");
    let asked = world.control().ask(&ben, for_one("PD-1")).await.unwrap();
    let other = world.control().ask(&ben, for_one("PD-2")).await.unwrap();
    assert_ne!(asked.request.id, other.request.id, "another incident is another question");
    let shown = world.control().access_request(&ana, asked.request.id).await.unwrap();
    assert!(shown.can_review, "who is on call reviews");
    assert_eq!(shown.reviewers, ["ana (on call)", "lea"]);
    let source = shown.incident.unwrap().source.to_string();
    assert_eq!(source, "api:corp:lea");

    let nobody = world.sign_in("leo", &["engineering"]).await;
    assert!(world.approve(&nobody, asked.request.id).await.is_err());
    world.control().close_incident(&lea, &id("PD-2")).await.unwrap();
    let late = world.approve(&ana, other.request.id).await.unwrap();
    assert_eq!(late.request.state.as_str(), "declined", "its incident is over");
    let approved = world.approve(&ana, asked.request.id).await.unwrap();
    assert_eq!(approved.request.state.as_str(), "approved");
    assert_eq!(world.holds(&who(&ben)), 1);
}

#[tokio::test]
async fn more_of_a_grant_is_for_the_same_incident() {
    let world = World::with(POLICIES).await;
    let [lea, ana, _] = people(&world).await;
    let minutes = |n| Some(Window::minutes(n));
    let control = world.control();
    control.open_incident(&lea, new("PD-1")).await.unwrap();
    control.ask(&ana, asking(REFUND, minutes(10))).await.unwrap();
    let first = control.grants(&ana).await.unwrap().remove(0);
    world.wait(SignedDuration::from_mins(1));
    // The newest comes first where none is named.
    control.open_incident(&world.later(&lea), new("PD-2")).await.unwrap();
    let more = || Ask { what: AskFor::Extension(first.id), ..asking(REFUND, minutes(20)) };
    let extended = control.ask(&world.later(&ana), more()).await.unwrap();
    assert_eq!(extended.request.incident(), Some(&id("PD-1")));
    let longer = control.grant(&ana, first.id).await.unwrap();
    assert_eq!(longer.expires_at, first.starts_at + SignedDuration::from_mins(21));
    assert_eq!(longer.incident, Some(id("PD-1")));

    let other = Ask { incident: Some(id("PD-2")), ..asking(REFUND, minutes(10)) };
    control.ask(&world.later(&ana), other).await.unwrap();
    assert_eq!(world.holds(&who(&ana)), 2, "what is held for one incident is not for another");
    control.close_incident(&lea, &id("PD-1")).await.unwrap();
    assert_eq!(world.holds(&who(&ana)), 1);
    let over = control.ask(&world.later(&ana), more()).await;
    assert!(over.is_err(), "{over:?}");
}

#[tokio::test]
async fn of_several_operations_some_may_need_no_incident_and_none_needs_another() {
    let free = r#"
@id("free") @reviews("1")
permit (principal is User in Group::"engineering", action == Action::"payments.deleteRefund", resource in Service::"payments")
when { context has grant };
"#;
    let world = World::with(&format!("{free}{POLICIES}")).await;
    let [lea, _, ben] = people(&world).await;
    for name in ["PD-1", "PD-2"] {
        world.control().open_incident(&lea, new(name)).await.unwrap();
    }
    let wanted = |names: &[&str]| {
        let one = |name: &&str| AskOperation {
            operation: name.parse().unwrap(),
            instance: None,
            rule: None,
        };
        let what = AskFor::Operations(names.iter().map(one).collect());
        Ask { what, incident: Some(id("PD-1")), ..asking(REFUND, None) }
    };
    let needless = world.control().ask(&ben, wanted(&["payments.deleteRefund"])).await;
    assert!(matches!(needless, Err(ControlError::NoWay { .. })), "{needless:?}");
    let both = wanted(&["payments.deleteRefund", REFUND]);
    let asked = world.control().ask(&ben, both).await.unwrap().request;
    let incidents: Vec<_> = asked.queries.into_iter().map(|query| query.way.incident).collect();
    assert_eq!(incidents, [None, Some(id("PD-1"))]);
}

#[tokio::test]
async fn n06_what_is_past_its_limit_opens_nothing_until_it_is_said_again() {
    let world = World::with(POLICIES).await;
    let [lea, ana, _] = people(&world).await;
    let brief = NewIncident { fresh_for: Some("10m".parse().unwrap()), ..new("PD-1") };
    world.control().open_incident(&lea, brief).await.unwrap();
    world.wait(SignedDuration::from_mins(11));
    assert!(matches!(world.ask(&ana, REFUND).await, Err(ControlError::NoWay { .. })));
    let same = IncidentChange::default();
    let lea_now = world.later(&lea);
    let said = world.control().change_incident(&lea_now, &id("PD-1"), same).await.unwrap();
    assert!(said.is_fresh(lea_now.now()), "as long as before: {said:?}");
    let until = Some(lea_now.now() + SignedDuration::from_mins(5));
    let input = OnCallInput { until, ..on_call(&ana) };
    primary(&world, &lea, input).await.unwrap();
    world.wait(SignedDuration::from_mins(6));
    let by_schedule = Ask { rule: Some("oncall".parse().unwrap()), ..asking(REFUND, None) };
    let late = world.control().ask(&world.later(&ana), by_schedule).await;
    assert!(matches!(late, Err(ControlError::NoWay { .. })), "{late:?}");
    let over = primary(&world, &lea, OnCallInput { until, ..on_call(&ana) }).await;
    assert!(matches!(over, Err(ControlError::Invalid { field: "until", .. })), "{over:?}");
    primary(&world, &lea, on_call(&ana)).await.unwrap();
    world.ask(&ana, REFUND).await.unwrap();
}

#[tokio::test]
async fn who_is_on_call_is_said_by_who_may() {
    let world = World::with(POLICIES).await;
    let [_, ana, ben] = people(&world).await;
    let own = primary(&world, &ben, on_call(&ben)).await;
    assert!(matches!(own, Err(ControlError::Denied(_))), "{own:?}");
    let listed = world.control().schedules(&ben).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].people, [who(&ana)].into());
    assert_eq!(listed[0].source, "api:corp:lea");
    world.until(|world| world.log.count(EventType::ScheduleChanged) == 1).await;
}

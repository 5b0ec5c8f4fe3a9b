//! Several operations in one access request; what is still to be checked; limits on asking.

use portcullis_control::{
    ControlError, OpContext,
    views::{Ask, AskFor, AskOperation},
};
use portcullis_model::{AccessRequestState, Decision, EventType, GrantKind, Window};

use crate::world::{POLICIES, World, answer, asking, bundle, source, who};

fn several(wanted: &[(&str, Option<&str>)]) -> Ask {
    let operation = |(name, rule): &(&str, Option<&str>)| AskOperation {
        operation: name.parse().unwrap(),
        instance: None,
        rule: rule.map(|rule| rule.parse().unwrap()),
    };
    let wanted = wanted.iter().map(operation).collect();
    Ask { what: AskFor::Operations(wanted), ..asking("payments.getRefund", None) }
}

async fn lead(world: &World, name: &str) -> OpContext {
    world.sign_in(name, &["leads"]).await
}

#[tokio::test]
async fn all_operations_wait_for_the_most_reviews_and_each_is_issued_by_its_own_way() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let (lea, tom) = (lead(&world, "lea").await, lead(&world, "tom").await);
    let ask = several(&[("payments.createRefund", None), ("payments.deleteRefund", None)]);
    let asked = world.control().ask(&ana, ask).await.unwrap().request;
    assert_eq!((asked.state.as_str(), asked.reviews_needed()), ("pending", 2));
    assert_eq!(asked.duration, Window::minutes(30), "what all ways allow");
    world.approve(&lea, asked.id).await.unwrap();
    assert_eq!(world.holds(&who(&ana)), 0, "the automatic one waits as well");
    let view = world.approve(&tom, asked.id).await.unwrap();
    let AccessRequestState::Approved { grants, .. } = view.request.state else { panic!() };
    let mut issued = Vec::new();
    for id in grants {
        let grant = world.control().grant(&ana, id).await.unwrap();
        issued.push((grant.rule.to_string(), grant.kind, grant.reviews));
    }
    assert_eq!(
        issued,
        [
            ("payments.auto".to_owned(), GrantKind::Automatic, 2),
            ("payments.two".to_owned(), GrantKind::Review, 2)
        ]
    );
}

#[tokio::test]
async fn each_operation_may_name_its_way_and_one_that_has_none_is_said_at_once() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let ask = several(&[
        ("payments.createRefund", Some("payments.reviewed")),
        ("payments.deleteRefund", None),
    ]);
    let asked = world.control().ask(&ana, ask).await.unwrap().request;
    let rules: Vec<_> = asked.queries.iter().map(|query| query.way.rule.as_str()).collect();
    assert_eq!(rules, ["payments.reviewed", "payments.two"]);
    let wrong = several(&[
        ("payments.createRefund", Some("payments.two")),
        ("payments.deleteRefund", None),
    ]);
    let refused = world.control().ask(&ana, wrong).await;
    let Err(ControlError::NoWay { reason, ways }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("payments.two") && ways.len() == 2, "{reason}");
    let twice = several(&[("payments.deleteRefund", None), ("payments.deleteRefund", None)]);
    let refused = world.control().ask(&ana, twice).await;
    assert!(matches!(refused, Err(ControlError::Invalid { field: "queries", .. })), "{refused:?}");
}

#[tokio::test]
async fn what_the_gate_will_still_check_is_with_the_request_in_words() {
    let policies = POLICIES.replace(
        "when { context has grant };",
        "when { context has grant && context.source.ip.isInRange(ip(\"10.0.0.0/8\")) };",
    );
    let world = World::with(&policies).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let asked = world.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    assert_eq!(
        asked.queries[0].way.to_be_checked,
        ["source.ip is in the network 10.0.0.0/8 (payments.two)"]
    );
    let plain = World::new().await;
    let ana = plain.sign_in("ana", &["engineering"]).await;
    let asked = plain.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    assert!(asked.queries[0].way.to_be_checked.is_empty());
}

#[tokio::test]
async fn a_grant_that_covers_it_is_the_answer_and_not_a_second_one() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let first = world.ask(&ana, "payments.createRefund").await.unwrap().request;
    let mut ask = asking("payments.createRefund", None);
    let AskFor::Operations(wanted) = &mut ask.what else { panic!() };
    wanted[0].instance = Some("p-2".parse().unwrap());
    let second = world.control().ask(&ana, ask).await.unwrap().request;
    assert_eq!(second.id, first.id, "a grant on the service covers its instances");
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn i17_e36_who_asks_and_takes_back_is_slowed_down_and_told_how_long() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let limited = loop {
        let asked = world.ask(&ana, "payments.deleteRefund").await;
        let Ok(asked) = asked else { break asked };
        world.control().withdraw(&ana, asked.request.id).await.unwrap();
    };
    let Err(ControlError::Limited { retry_after, .. }) = limited else { panic!("{limited:?}") };
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    assert_eq!(world.log.count(EventType::AccessRequested), 40);
    let ben = world.sign_in("ben", &["engineering"]).await;
    assert!(world.ask(&ben, "payments.deleteRefund").await.is_ok(), "only for who does it");
    world.wait(jiff::SignedDuration::from_secs(retry_after.into()));
    assert!(world.ask(&ana, "payments.deleteRefund").await.is_ok());
}

#[tokio::test]
async fn e11_what_was_asked_cannot_change_and_asking_otherwise_starts_anew() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let (lea, tom) = (lead(&world, "lea").await, lead(&world, "tom").await);
    let asked = world.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    world.approve(&lea, asked.id).await.unwrap();
    let longer = asking("payments.deleteRefund", Some(Window::minutes(20)));
    let other = world.control().ask(&ana, longer).await.unwrap().request;
    assert_ne!(other.id, asked.id);
    assert!(other.reviews.is_empty(), "nobody has approved this one");
    assert_eq!(world.approve(&tom, other.id).await.unwrap().request.state.as_str(), "pending");
    let same = world.control().access_request(&ana, asked.id).await.unwrap().request;
    assert_eq!((same.duration, same.approvals()), (asked.duration, 1));
}

#[tokio::test]
async fn n16_a_policy_that_changed_meanwhile_is_what_counts_and_is_said() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = lead(&world, "lea").await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    let (before, rest) = POLICIES.split_once("@id(\"payments.reviewed\")").unwrap();
    let text = format!("{before}{}", rest.split_once("\n\n").unwrap().1);
    world.control().activate(bundle(&text), source(&text), "file change").await.unwrap();
    let view = world.approve(&lea, id).await.unwrap();
    let AccessRequestState::Declined { why, .. } = view.request.state else { panic!() };
    assert!(why.starts_with("policy:"), "{why}");
    assert_eq!(world.holds(&who(&ana)), 0);
    world.until(|world| world.log.count(EventType::AccessRequestEnded) == 1).await;
    let ended = world.log.events();
    let ended = ended.iter().find(|event| event.kind == EventType::AccessRequestEnded);
    assert_eq!(ended.unwrap().detail.as_ref(), Some(&why), "and on record");
}

#[tokio::test]
async fn n16_a_rule_that_asks_for_more_reviews_now_gets_them_or_nothing() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = lead(&world, "lea").await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    let text = POLICIES.replace("@reviews(\"1\")", "@reviews(\"2\")");
    world.control().activate(bundle(&text), source(&text), "file change").await.unwrap();
    let view = world.approve(&lea, id).await.unwrap();
    assert_eq!(view.request.state.as_str(), "declined");
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test]
async fn e09_who_lost_the_group_after_looking_does_not_review() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = lead(&world, "lea").await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    assert!(world.control().access_request(&lea, id).await.unwrap().can_review);
    let lea = world.sign_in("lea", &["engineering"]).await;
    let late = world.control().review(&lea, id, answer(Decision::Approve)).await;
    assert!(matches!(late, Err(ControlError::NotFound(_))), "{late:?}");
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test]
async fn who_may_review_only_after_a_while_can_when_it_has_passed() {
    let later = r#"// house
@id("escalated")
permit (principal is User in Group::"managers", action == Action::"review", resource is AccessRequest)
when { resource.waited >= duration("5m") };
"#;
    let world = World::with(&format!("{POLICIES}{later}")).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let mia = world.sign_in("mia", &["managers"]).await;
    let asked = world.ask(&ana, "payments.createRefund").await.unwrap();
    assert!(asked.reviewers.is_empty());
    let filter = portcullis_control::views::AccessRequestFilter::ToReview;
    assert!(world.control().access_requests(&mia, filter).await.unwrap().is_empty());
    assert!(world.approve(&mia, asked.request.id).await.is_err());
    world.wait(jiff::SignedDuration::from_mins(5));
    let mia = world.later(&mia);
    assert_eq!(world.control().access_requests(&mia, filter).await.unwrap().len(), 1);
    let seen = world.control().access_request(&world.later(&ana), asked.request.id).await.unwrap();
    assert_eq!(seen.reviewers, ["mia"], "and the requester sees who could");
    let view = world.approve(&mia, asked.request.id).await.unwrap();
    assert_eq!(view.request.state.as_str(), "approved");
}

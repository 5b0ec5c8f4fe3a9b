//! Reviewing: who may, who counts, and what comes of it.

use portcullis_control::{
    ControlError,
    views::{AccessRequestFilter, ReviewInput},
};
use portcullis_model::{AccessRequestState, Decision, EventType, GrantState, Window};

use crate::world::{POLICIES, World, answer, asking, who};

#[tokio::test]
async fn one_review_opens_what_needs_one() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let asked = world.ask(&ana, "payments.createRefund").await.unwrap();
    assert_eq!(asked.reviewers, ["lea"]);
    assert!(!asked.can_review);
    assert_eq!(world.holds(&who(&ana)), 0);
    let seen = world.control().access_requests(&lea, AccessRequestFilter::ToReview).await.unwrap();
    assert!(seen.len() == 1 && seen[0].can_review);
    let view = world.approve(&lea, asked.request.id).await.unwrap();
    assert_eq!(view.request.state.as_str(), "approved");
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn m01_m02_two_reviews_are_two_people_whatever_their_groups_and_names() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads", "engineering", "admins"]).await;
    let lea_too = world.sign_in_as("lea-2", "LEA@example.com", &["leads"]).await;
    let tom = world.sign_in("tom", &["leads"]).await;
    let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    assert_eq!(world.approve(&lea, id).await.unwrap().request.state.as_str(), "pending");
    for again in [&lea, &lea_too] {
        let twice = world.approve(again, id).await;
        assert!(matches!(twice, Err(ControlError::Conflict(_))), "{twice:?}");
    }
    assert_eq!(world.holds(&who(&ana)), 0);
    let view = world.approve(&tom, id).await.unwrap();
    assert_eq!(view.request.approvals(), 2);
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn e01_m03_nobody_reviews_their_own_admins_included() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "leads", "admins"]).await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    let own = world.approve(&ana, id).await;
    assert!(matches!(own, Err(ControlError::Denied(_))), "{own:?}");
    world.until(|world| world.log.count(EventType::ReviewRefused) == 1).await;
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test]
async fn e02_nor_under_another_name() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let alias = world.sign_in_as("ana.admin", "Ana@Example.COM", &["leads", "admins"]).await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    let own = world.approve(&alias, id).await;
    assert!(matches!(own, Err(ControlError::Denied(_))), "{own:?}");
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test]
async fn who_has_lost_the_right_to_review_does_not_count_any_more() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let tom = world.sign_in("tom", &["leads"]).await;
    let kim = world.sign_in("kim", &["leads"]).await;
    let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    world.approve(&lea, id).await.unwrap();
    world.sign_in("lea", &["engineering"]).await;
    assert_eq!(world.approve(&tom, id).await.unwrap().request.state.as_str(), "pending");
    assert_eq!(world.holds(&who(&ana)), 0);
    assert_eq!(world.approve(&kim, id).await.unwrap().request.state.as_str(), "approved");
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn a_requester_who_lost_the_way_gets_nothing() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    world.sign_in("ana", &["oncall"]).await;
    let view = world.approve(&lea, id).await.unwrap();
    assert_eq!(view.request.state.as_str(), "declined");
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test]
async fn e37_to_everybody_else_an_access_request_does_not_exist() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    let sam = world.sign_in("sam", &["auditors"]).await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    let read = world.control().access_request(&ben, id).await;
    assert!(matches!(read, Err(ControlError::NotFound(_))));
    assert!(matches!(world.approve(&ben, id).await, Err(ControlError::NotFound(_))));
    let withdrawn = world.control().withdraw(&ben, id).await;
    assert!(matches!(withdrawn, Err(ControlError::NotFound(_))));
    let all = world.control().access_requests(&ben, AccessRequestFilter::All).await.unwrap();
    assert!(all.is_empty());
    assert!(world.control().access_request(&sam, id).await.is_ok(), "auditors see it");
    assert!(matches!(world.approve(&sam, id).await, Err(ControlError::Denied(_))));
}

#[tokio::test]
async fn a_decline_says_why_and_ends_it() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    let silent = ReviewInput { note: None, ..answer(Decision::Decline) };
    let refused = world.control().review(&lea, id, silent).await;
    assert!(matches!(refused, Err(ControlError::Invalid { field: "note", .. })));
    let view = world.control().review(&lea, id, answer(Decision::Decline)).await.unwrap();
    assert_eq!(view.request.state.as_str(), "declined");
    assert!(matches!(world.approve(&lea, id).await, Err(ControlError::Conflict(_))));
}

#[tokio::test]
async fn m04_the_clock_of_a_grant_starts_at_approval_and_reviewers_shorten_it() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    world.wait(jiff::SignedDuration::from_mins(40));
    let longer = ReviewInput { duration: Some(Window::minutes(16)), ..answer(Decision::Approve) };
    let refused = world.control().review(&world.later(&lea), id, longer).await;
    assert!(matches!(refused, Err(ControlError::Invalid { field: "duration", .. })));
    let shorter = ReviewInput { duration: Some(Window::minutes(5)), ..answer(Decision::Approve) };
    let op = world.later(&lea);
    world.control().review(&op, id, shorter).await.unwrap();
    let grants = world.control().grants(&world.later(&ana)).await.unwrap();
    assert_eq!(grants[0].starts_at, op.now());
    assert_eq!(grants[0].expires_at, op.now() + jiff::SignedDuration::from_mins(5));
    world.wait(jiff::SignedDuration::from_mins(5));
    assert_eq!(world.holds(&who(&ana)), 0, "not a moment longer");
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
    let grants = world.control().grants(&world.later(&ana)).await.unwrap();
    assert!(matches!(grants[0].state, GrantState::Ended { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e25_of_approvals_and_declines_at_once_exactly_one_wins() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let mut leads = Vec::new();
    for n in 0..16 {
        leads.push(world.sign_in(&format!("lead-{n}"), &["leads"]).await);
    }
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    let mut racing = tokio::task::JoinSet::new();
    for (n, lead) in leads.into_iter().enumerate() {
        let control = world.control().clone();
        let decision = if n % 2 == 0 { Decision::Approve } else { Decision::Decline };
        racing.spawn(async move { control.review(&lead, id, answer(decision)).await });
    }
    let results = racing.join_all().await;
    let won: Vec<_> = results.into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1);
    let (approved, held) = (won[0].request.state.as_str() == "approved", world.holds(&who(&ana)));
    assert_eq!(held, usize::from(approved));
    let view = world.control().access_request(&ana, id).await.unwrap();
    assert_eq!(view.request.state, won[0].request.state);
    assert_eq!(view.request.reviews.len(), 1);
    assert!(!matches!(view.request.state, AccessRequestState::Pending));
    world.until(|world| world.log.count(EventType::AccessRequestEnded) == 1).await;
}

#[tokio::test]
async fn the_requester_takes_it_back_and_nobody_else() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    assert!(matches!(world.control().withdraw(&lea, id).await, Err(ControlError::Denied(_))));
    let view = world.control().withdraw(&ana, id).await.unwrap();
    assert_eq!(view.request.state.as_str(), "withdrawn");
    assert!(matches!(world.approve(&lea, id).await, Err(ControlError::Conflict(_))));
}

/// Reviews count only from this machine.
const FROM_HERE: &str = r#"// house
@id("reviewers.here")
forbid (principal is User, action == Action::"review", resource is AccessRequest)
unless { context.source.ip.isLoopback() };
"#;

#[tokio::test]
async fn a_right_that_depends_on_the_address_is_looked_at_again_with_the_address_of_the_review() {
    let world = World::with(&format!("{POLICIES}{FROM_HERE}")).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let tom = world.sign_in("tom", &["leads"]).await;
    let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    let abroad = "203.0.113.7".parse().unwrap();
    let from_abroad = world.control().context(lea.caller().unwrap().clone(), abroad);
    let refused = world.control().review(&from_abroad, id, answer(Decision::Approve)).await;
    assert!(matches!(refused, Err(ControlError::NotFound(_))), "{refused:?}");
    let first = world.approve(&lea, id).await.unwrap().request;
    assert_eq!(first.reviews[0].source, lea.source());
    assert_eq!(world.approve(&tom, id).await.unwrap().request.state.as_str(), "approved");
    assert_eq!(world.holds(&who(&ana)), 1);
}

#[tokio::test]
async fn e02_nor_under_a_name_that_is_linked_only_after_asking() {
    let world = World::new().await;
    let ana = world.sign_in_as("ana", "", &["engineering"]).await;
    let alias = world.sign_in_as("ana.admin", "ana@example.com", &["leads", "admins"]).await;
    assert_ne!(
        ana.caller().unwrap().principal().person,
        alias.caller().unwrap().principal().person,
        "nobody knows yet"
    );
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    world.sign_in_as("ana", "ana@example.com", &["engineering"]).await;
    let own = world.approve(&alias, id).await;
    assert!(matches!(own, Err(ControlError::Denied(_))), "{own:?}");
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test]
async fn however_many_wait_each_is_on_a_page_of_who_may_answer_it() {
    let support = r#"// house
@id("support")
permit (principal is User in Group::"support", action == Action::"review", resource is AccessRequest)
when { resource.actions.contains("payments.deleteRefund") };
"#;
    let world = World::with(&format!("{POLICIES}{support}")).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let oldest = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    // Of one moment, ids have no order.
    world.wait(jiff::SignedDuration::from_millis(1));
    let (people, each) = (22, 28);
    for person in 0..people {
        let ben = world.sign_in(&format!("ben-{person}"), &["engineering"]).await;
        for seconds in 0..each {
            let duration = Window::new(std::time::Duration::from_secs(60 + seconds)).unwrap();
            let ask = asking("payments.createRefund", Some(duration));
            world.control().ask(&world.later(&ben), ask).await.unwrap();
        }
    }
    // Somebody who may answer nothing but the oldest one.
    let mia = world.sign_in("mia", &["support"]).await;
    let filter = AccessRequestFilter::ToReview;
    let seen = world.control().access_requests(&mia, filter).await.unwrap();
    assert_eq!(seen.iter().map(|view| view.request.id).collect::<Vec<_>>(), [oldest]);
    assert_eq!(world.control().count_to_review(&mia, 9).await.unwrap(), 1);
    // And who may answer all of them.
    let lea = world.sign_in("lea", &["leads"]).await;
    let count = 1 + usize::try_from(people * each).unwrap();
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let part = world.control().access_requests_after(&lea, filter, before, 100).await.unwrap();
        assert!(!part.0.is_empty() && part.0.len() <= 100);
        all.extend(part.0.into_iter().map(|view| view.request.id));
        before = part.1;
        if before.is_none() {
            break;
        }
    }
    assert!(all.windows(2).all(|pair| pair[0] > pair[1]), "newest first, and each once");
    assert_eq!((all.len(), all.last()), (count, Some(&oldest)));
    assert_eq!(world.control().count_to_review(&lea, 2_000).await.unwrap(), count);
    assert_eq!(world.control().count_to_review(&lea, 99).await.unwrap(), 99);
    // And who may answer none, whoever asks.
    let eve = world.sign_in("eve", &["engineering"]).await;
    assert_eq!(world.control().count_to_review(&eve, 9).await.unwrap(), 0);
    let part = world.control().access_requests_after(&eve, filter, None, 100).await.unwrap();
    assert!(part.0.is_empty() && part.1.is_none());
}

//! Asking for access.

use portcullis_control::{
    ControlError,
    ports::KeptRefusal,
    views::{AccessRequestFilter, Ask, AskFor, AskOperation, Explain, Reach},
};
use portcullis_model::{AccessRequestState, EventType, RequestId, Resource, Window};

use crate::world::{POLICIES, World, asking, who};

fn refusal_of(world: &World, op: &portcullis_control::OpContext, n: u128) -> KeptRefusal {
    KeptRefusal {
        principal: who(op),
        request: RequestId::from_bits(n),
        operation: "payments.createRefund".parse().unwrap(),
        resource: Resource { service: "payments".parse().unwrap(), instance: None },
        digest: Some("sha256:abc".into()),
        summary: "POST /v1/refunds".into(),
        ways: vec![],
        time: world.later(op).now(),
        body: None,
    }
}

fn from_refusal(id: portcullis_model::RefusalId) -> Ask {
    Ask {
        what: AskFor::Refusal(id),
        rule: None,
        incident: None,
        reason: "refunds stuck".into(),
        duration: None,
    }
}

#[tokio::test]
async fn an_automatic_way_is_granted_before_asking_returns_and_is_on_record_first() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let view = world.ask(&ana, "payments.createRefund").await.unwrap();
    assert!(matches!(view.request.state, AccessRequestState::Approved { .. }));
    assert_eq!(world.holds(&who(&ana)), 1);
    let kinds: Vec<EventType> = world.log.events().iter().map(|event| event.kind).collect();
    let tail = [EventType::AccessRequested, EventType::AccessRequestEnded, EventType::GrantStarted];
    assert!(kinds.ends_with(&tail), "{kinds:?}");
    let asked = world.log.events().into_iter().find(|e| e.kind == EventType::AccessRequested);
    let asked = asked.unwrap();
    assert_eq!(asked.principal, Some(who(&ana)));
    assert_eq!(asked.source, ana.source());
}

#[tokio::test]
async fn e27_asking_again_neither_stretches_a_grant_nor_doubles_a_request() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let first = world.ask(&ana, "payments.createRefund").await.unwrap();
    world.wait(jiff::SignedDuration::from_mins(10));
    let again = world.ask(&ana, "payments.createRefund").await.unwrap();
    assert_eq!(first.request.id, again.request.id);
    assert_eq!(world.holds(&who(&ana)), 1);
    let waits = world.ask(&ana, "payments.deleteRefund").await.unwrap();
    let same = world.ask(&ana, "payments.deleteRefund").await.unwrap();
    assert_eq!(waits.request.id, same.request.id);
}

#[tokio::test]
async fn e30_windows_that_no_way_gives_are_refused() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let blink = Window::new(std::time::Duration::from_millis(1)).unwrap();
    for window in [Window::minutes(16), Window::minutes(527_040), blink] {
        let ask = asking("payments.createRefund", Some(window));
        let refused = world.control().ask(&ana, ask).await;
        assert!(matches!(refused, Err(ControlError::Invalid { field: "duration", .. })));
    }
    let ask = asking("payments.createRefund", Some(Window::minutes(15)));
    assert_eq!(world.control().ask(&ana, ask).await.unwrap().request.duration, Window::minutes(15));
}

#[tokio::test]
async fn a_reason_must_be_given_and_nothing_that_a_terminal_obeys() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    for reason in ["", "  ", "a\u{1b}[2J", "a\nb", &"x".repeat(1001)] {
        let ask = Ask { reason: reason.to_owned(), ..asking("payments.createRefund", None) };
        let refused = world.control().ask(&ana, ask).await;
        assert!(matches!(refused, Err(ControlError::Invalid { field: "reason", .. })));
    }
}

#[tokio::test]
async fn what_is_open_closed_or_unknown_cannot_be_asked_for() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let open = world.ask(&ana, "payments.getRefund").await;
    assert!(matches!(open, Err(ControlError::Conflict(_))), "{open:?}");
    let unknown = world.ask(&ana, "payments.nothing").await;
    assert!(matches!(unknown, Err(ControlError::NotFound(_))), "{unknown:?}");
    let oncall = world.sign_in("ben", &["oncall"]).await;
    let closed = world.ask(&oncall, "payments.deleteRefund").await;
    assert!(matches!(closed, Err(ControlError::NoWay { .. })), "{closed:?}");
    let stranger = world.sign_in("zoe", &[]).await;
    let invisible = world.ask(&stranger, "payments.createRefund").await;
    assert!(matches!(invisible, Err(ControlError::NotFound(_))), "{invisible:?}");
    let ask = Ask {
        rule: Some("payments.auto".parse().unwrap()),
        ..asking("payments.createRefund", None)
    };
    let not_mine = world.control().ask(&ana, ask).await;
    let Err(ControlError::NoWay { ways, .. }) = not_mine else { panic!("{not_mine:?}") };
    assert_eq!(ways.len(), 1, "says what there is instead");
}

#[tokio::test]
async fn a_refusal_is_bound_to_its_digest_where_uses_are_counted() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let id = world.control().keep_refusal(refusal_of(&world, &ana, 1)).await.unwrap();
    let view = world.control().refusal(&ana, &id).await.unwrap();
    assert_eq!(view.ways.len(), 1);
    let asked = world.control().ask(&ana, from_refusal(id)).await.unwrap().request;
    assert_eq!(asked.queries[0].digest.as_deref(), Some("sha256:abc"));
    let oncall = world.sign_in("ben", &["engineering", "oncall"]).await;
    let id = world.control().keep_refusal(refusal_of(&world, &oncall, 2)).await.unwrap();
    let asked = world.control().ask(&oncall, from_refusal(id)).await.unwrap().request;
    assert_eq!(asked.queries[0].digest, None, "the automatic way counts nothing");
}

#[tokio::test]
async fn e37_a_refusal_is_its_principals_own_and_lives_an_hour() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let ben = world.sign_in("ben", &["engineering", "leads", "admins", "auditors"]).await;
    let id = world.control().keep_refusal(refusal_of(&world, &ana, 1)).await.unwrap();
    assert!(world.control().refusal(&ana, &id).await.is_ok());
    let others = world.control().refusal(&ben, &id).await;
    assert!(matches!(others, Err(ControlError::NotFound(_))));
    let asked = world.control().ask(&ben, from_refusal(id.clone())).await;
    assert!(matches!(asked, Err(ControlError::NotFound(_))));
    world.wait(jiff::SignedDuration::from_hours(1));
    let late = world.control().refusal(&world.later(&ana), &id).await;
    assert!(matches!(late, Err(ControlError::NotFound(_))));
}

#[tokio::test]
async fn refusals_are_kept_ten_a_second_and_sixty_four_in_all() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let mut kept = 0;
    for _second in 0..8 {
        let mut in_this_second = 0;
        for n in 0..12 {
            let named = world.control().keep_refusal(refusal_of(&world, &ana, n)).await;
            in_this_second += u32::from(named.is_some());
        }
        assert!(in_this_second <= 10);
        kept += in_this_second;
        world.wait(jiff::SignedDuration::from_secs(1));
    }
    assert_eq!(kept, 64);
    let ben = world.sign_in("ben", &["engineering"]).await;
    assert!(world.control().keep_refusal(refusal_of(&world, &ben, 1)).await.is_some());
}

#[tokio::test]
async fn thirty_two_of_one_requester_wait_and_no_more() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    for minutes in 1..=32 {
        let ask = asking("payments.deleteRefund", Some(Window::minutes(minutes)));
        world.control().ask(&ana, ask).await.unwrap();
    }
    let ask = asking("payments.deleteRefund", Some(Window::minutes(33)));
    let refused = world.control().ask(&ana, ask).await;
    assert!(matches!(refused, Err(ControlError::Limited { .. })), "{refused:?}");
}

#[tokio::test]
async fn m07_what_nobody_answers_expires_and_says_so() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let asked = world.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    world.wait(jiff::SignedDuration::from_hours(1));
    world.until(|world| world.log.count(EventType::AccessRequestEnded) == 1).await;
    let own = AccessRequestFilter::Mine;
    let own = world.control().access_requests(&world.later(&ana), own).await.unwrap();
    assert_eq!(own[0].request.id, asked.id);
    assert_eq!(own[0].request.state.as_str(), "expired");
}

#[tokio::test]
async fn services_show_what_is_open_and_what_can_be_asked_for() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let services = world.control().services(&ana).await.unwrap();
    let reach = |name: &str| {
        let operations = &services[0].operations;
        operations.iter().find(|one| one.name.local() == name).unwrap().reach.clone()
    };
    assert_eq!(reach("getRefund"), Reach::Open);
    assert!(matches!(reach("createRefund"), Reach::Requestable(ways) if ways.len() == 1));
    let stranger = world.sign_in("zoe", &[]).await;
    assert!(world.control().services(&stranger).await.unwrap().is_empty());
}

#[tokio::test]
async fn e27_asking_for_more_beside_it_stretches_nothing() {
    let policies = POLICIES.replace("@reviews(\"2\")", "@reviews(\"0\")");
    let world = World::with(&policies).await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let first = world.ask(&ana, "payments.createRefund").await.unwrap().request;
    world.wait(jiff::SignedDuration::from_mins(10));
    let mut both = asking("payments.createRefund", None);
    let AskFor::Operations(operations) = &mut both.what else { panic!("{both:?}") };
    operations.push(AskOperation {
        operation: "payments.deleteRefund".parse().unwrap(),
        instance: None,
        rule: None,
    });
    let second = world.control().ask(&world.later(&ana), both).await.unwrap().request;
    let AccessRequestState::Approved { grants: before, .. } = first.state else { panic!() };
    let AccessRequestState::Approved { grants: after, .. } = second.state else { panic!() };
    assert_eq!(after[0], before[0], "what is held already is not given again");
    assert_eq!(after.len(), 2);
    assert_eq!(world.holds(&who(&ana)), 2);
}

#[tokio::test]
async fn what_has_lapsed_does_not_stand_in_the_way_of_asking_again() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lapsed = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    world.wait(jiff::SignedDuration::from_hours(1));
    let again = world.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    assert_ne!(again.id, lapsed);
    assert_eq!(again.state.as_str(), "pending");
    world.until(|world| world.log.count(EventType::AccessRequestEnded) == 1).await;
}

#[tokio::test]
async fn what_waits_is_found_however_much_was_asked_since() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let waits = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    for _ in 0..130 {
        let other = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
        world.control().withdraw(&ana, other).await.unwrap();
        // Who takes back and asks again is slowed down.
        world.wait(jiff::SignedDuration::from_secs(2));
    }
    assert_eq!(world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id, waits);
}

#[tokio::test]
async fn explaining_says_what_is_still_to_be_checked() {
    let here = "when { context has grant && context.source.ip.isLoopback() };";
    let policies = POLICIES.replace("when { context has grant };", here);
    let world = World::with(&policies).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let question = Explain {
        principal: None,
        operation: "payments.createRefund".parse().unwrap(),
        instance: None,
    };
    let explained = world.control().explain(&ana, question).await.unwrap();
    assert_eq!(explained.answer, "requestable");
    let [condition, bound] = explained.to_be_checked.as_slice() else { panic!("{explained:?}") };
    assert!(condition.starts_with("payments.reviewed:") && condition.contains("isLoopback"));
    assert!(bound.contains("the very request"));
    let open = Explain {
        principal: None,
        operation: "payments.getRefund".parse().unwrap(),
        instance: None,
    };
    let explained = world.control().explain(&ana, open).await.unwrap();
    assert_eq!((explained.answer, explained.to_be_checked.len()), ("permit", 0));
}

#[tokio::test]
async fn a_key_is_its_callers_own_means_one_thing_and_lives_a_day() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    let control = world.control();
    let ask = || asking("payments.deleteRefund", None);
    let first = control.ask_once(&ana, "k", ask()).await.unwrap().request.id;
    assert_eq!(control.ask_once(&ana, "k", ask()).await.unwrap().request.id, first);
    let other = asking("payments.deleteRefund", Some(Window::minutes(5)));
    let other = control.ask_once(&ana, "k", other).await;
    assert!(matches!(other, Err(ControlError::Conflict(_))), "{other:?}");
    assert_ne!(control.ask_once(&ben, "k", ask()).await.unwrap().request.id, first);
    // Under another key it is still the same that waits.
    assert_eq!(control.ask_once(&ana, "k-2", ask()).await.unwrap().request.id, first);
    control.withdraw(&ana, first).await.unwrap();
    assert_eq!(control.ask_once(&ana, "k", ask()).await.unwrap().request.id, first);
    world.wait(jiff::SignedDuration::from_hours(24));
    let next_day = control.ask_once(&world.later(&ana), "k", ask()).await.unwrap().request.id;
    assert_ne!(next_day, first);
    for bad in ["", "a\nb", "ü", &"k".repeat(256)] {
        let refused = control.ask_once(&ana, bad, ask()).await;
        assert!(matches!(refused, Err(ControlError::Invalid { field: "Idempotency-Key", .. })));
    }
}

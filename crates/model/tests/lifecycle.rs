//! Random histories against the state machines of access requests and grants.

#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, Decision, Grant, GrantEnd,
    GrantId, GrantKind, GrantState, PersonId, PrincipalId, PrincipalKind, RequestId, Resource,
    Review, ReviewId, Scope, Way, Window, access_request::InvalidTransition,
};
use proptest::prelude::*;

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn later(seconds: i64) -> Timestamp {
    START + SignedDuration::from_secs(seconds)
}

/// Person 0 is the requester and has a second principal, `corp:alias-0`.
fn principal(number: u128) -> PrincipalId {
    PrincipalId::new(PrincipalKind::User, "corp", &format!("p-{number}"))
}

fn pending(reviews: u8) -> AccessRequest {
    let way = Way {
        rule: "rule".parse().unwrap(),
        kind: if reviews == 0 { GrantKind::Automatic } else { GrantKind::Review },
        reviews,
        max_duration: Window::minutes(30),
        max_uses: None,
        incident: None,
        idle: None,
        to_be_checked: Vec::new(),
        hold: None,
        reviewers: Vec::new(),
    };
    let operation = "payments.createRefund".parse().unwrap();
    AccessRequest {
        id: AccessRequestId::from_bits(1),
        requester: principal(0),
        person: Some(PersonId::from_bits(0)),
        requester_name: "p-0".to_owned(),
        service: "payments".parse().unwrap(),
        queries: vec![AccessQuery { operation, instance: None, digest: None, way }],
        reason: "because".to_owned(),
        duration: Window::minutes(30),
        refusal: None,
        extends: None,
        held: None,
        created_at: START,
        expires_at: later(3600),
        reviews: Vec::new(),
        state: AccessRequestState::Pending,
    }
}

fn review(person: u128, alias: bool, decision: Decision, at: Timestamp) -> Review {
    let subject = if alias { format!("alias-{person}") } else { format!("p-{person}") };
    Review {
        id: ReviewId::from_bits(person),
        reviewer: PrincipalId::new(PrincipalKind::User, "corp", &subject),
        person: PersonId::from_bits(person),
        name: subject,
        decision,
        note: None,
        duration: None,
        scope: Scope::default(),
        at,
        source: None,
        passkey: None,
        chat: false,
    }
}

fn grant(max_uses: Option<u32>) -> Grant {
    Grant {
        id: GrantId::from_bits(1),
        version: 0,
        access_request: AccessRequestId::from_bits(1),
        principal: principal(0),
        rule: "rule".parse().unwrap(),
        kind: GrantKind::Automatic,
        reviews: 0,
        operation: "payments.createRefund".parse().unwrap(),
        resource: Resource { service: "payments".parse().unwrap(), instance: None },
        incident: None,
        digest: None,
        starts_at: START,
        expires_at: later(1800),
        max_uses,
        uses: 0,
        idle: None,
        state: GrantState::InForce,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Review { person: u128, alias: bool, decline: bool },
    Approve,
    Withdraw,
    Expire,
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..5_u128, any::<bool>(), proptest::bool::weighted(0.1))
            .prop_map(|(person, alias, decline)| Step::Review { person, alias, decline }),
        3 => Just(Step::Approve),
        1 => Just(Step::Withdraw),
        1 => Just(Step::Expire),
        2 => (1..2400_i64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn m01_m02_m03_approval_takes_distinct_others_and_ends_once(needed in 0..4_u8, steps in steps()) {
        let mut request = pending(needed);
        let (mut now, mut ends) = (0, 0);
        for step in steps {
            let before = request.clone();
            let next = match step {
                Step::Review { person, alias, decline } => {
                    let decision = if decline { Decision::Decline } else { Decision::Approve };
                    before.review(review(person, alias, decision, later(now)))
                }
                Step::Approve => before.approve(later(now), vec![GrantId::from_bits(1)]),
                Step::Withdraw => before.withdraw(later(now)),
                Step::Expire => before.expire(later(now)),
                Step::Wait(seconds) => {
                    now += seconds;
                    continue;
                }
            };
            let Ok(next) = next else { continue };
            prop_assert_eq!(&request.state, &AccessRequestState::Pending, "nothing moves after the end");
            prop_assert!(next.reviews.iter().all(|review| review.person != PersonId::from_bits(0)));
            if matches!(next.state, AccessRequestState::Approved { .. }) {
                prop_assert!(next.approvals() >= usize::from(needed));
                prop_assert!(later(now) < next.expires_at);
            }
            ends += usize::from(next.state != AccessRequestState::Pending);
            request = next;
        }
        prop_assert!(ends <= 1);
    }

    #[test]
    fn a_counted_grant_carries_exactly_its_uses(max in 1..5_u32, tries in 1..12_u32) {
        let mut grant = grant(Some(max));
        let mut carried = 0;
        for number in 0..tries {
            if let Ok(used) = grant.clone().consume(later(1), RequestId::from_bits(number.into())) {
                carried += 1;
                grant = used;
            }
        }
        prop_assert_eq!(carried, max.min(tries));
        prop_assert_eq!(grant.in_force(later(1)), carried < max);
    }
}

#[test]
fn e01_e02_nobody_reviews_their_own_request_under_any_name() {
    for alias in [false, true] {
        let own = review(0, alias, Decision::Approve, later(1));
        assert_eq!(pending(1).review(own), Err(InvalidTransition::OwnRequest));
    }
}

#[test]
fn e04_one_person_under_two_names_counts_once() {
    let once = pending(2).review(review(1, false, Decision::Approve, later(1))).unwrap();
    let twice = once.review(review(1, true, Decision::Approve, later(2)));
    assert_eq!(twice, Err(InvalidTransition::ReviewedAlready));
}

#[test]
fn one_decline_is_enough() {
    let request = pending(2).review(review(1, false, Decision::Approve, later(1))).unwrap();
    let request = request.review(review(2, false, Decision::Decline, later(2))).unwrap();
    assert_eq!(request.state.as_str(), "declined");
}

#[test]
fn m07_an_expired_request_cannot_be_approved_late() {
    let late = review(1, false, Decision::Approve, later(3600));
    assert_eq!(pending(1).review(late), Err(InvalidTransition::Expired));
}

#[test]
fn all_reviewers_agree_on_the_shortest_window() {
    let mut short = review(1, false, Decision::Approve, later(1));
    short.duration = Some(Window::minutes(5));
    let request = pending(2).review(short).unwrap();
    let request = request.review(review(2, false, Decision::Approve, later(2))).unwrap();
    assert_eq!(request.agreed_duration(), Window::minutes(5));
}

#[test]
fn a_grant_ends_once_and_says_why() {
    let ended = grant(None).end(later(5), GrantEnd::Revoked, None).unwrap();
    assert!(!ended.in_force(later(5)));
    let again = ended.end(later(6), GrantEnd::Expired, None);
    assert_eq!(again.unwrap_err().to_string(), "the grant was revoked");
}

#[test]
fn a_grant_opens_nothing_outside_its_window() {
    assert!(!grant(None).in_force(START - SignedDuration::from_secs(1)));
    assert!(grant(None).in_force(later(1799)));
    assert!(!grant(None).in_force(later(1800)));
    let late = grant(Some(3)).consume(later(1800), RequestId::from_bits(1));
    assert_eq!(late.unwrap_err().0, GrantEnd::Expired);
}

//! Whatever happens to an access request and its grants, in whatever order: the invariants hold.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test may fail"
)]

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, Decision, Grant, GrantEnd,
    GrantId, GrantKind, GrantState, PersonId, PrincipalId, PrincipalKind, RequestId, Resource,
    Review, ReviewId, Scope, Way, Window,
};
use proptest::prelude::*;

const REQUESTER: u8 = 0;
const NEEDED: u8 = 2;

#[derive(Debug, Clone)]
enum Step {
    Review { person: u8, principal: u8, approve: bool, minutes: Option<u32> },
    Approve,
    DeclineByPolicy,
    Withdraw,
    Expire,
    Wait { minutes: i64 },
}

#[derive(Debug, Clone)]
enum GrantStep {
    Consume(u8),
    End(GrantEnd),
    Wait { minutes: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_u8, 0..5_u8, prop::bool::weighted(0.85), prop::option::of(1..40_u32)).prop_map(
            |(person, principal, approve, minutes)| Step::Review {
                person,
                principal,
                approve,
                minutes
            }
        ),
        4 => Just(Step::Approve),
        1 => Just(Step::DeclineByPolicy),
        1 => Just(Step::Withdraw),
        1 => Just(Step::Expire),
        2 => (1..30_i64).prop_map(|minutes| Step::Wait { minutes }),
    ]
}

fn grant_step() -> impl Strategy<Value = GrantStep> {
    let why = prop_oneof![
        Just(GrantEnd::Expired),
        Just(GrantEnd::Revoked),
        Just(GrantEnd::GivenBack),
        Just(GrantEnd::RuleGone)
    ];
    prop_oneof![
        6 => any::<u8>().prop_map(GrantStep::Consume),
        1 => why.prop_map(GrantStep::End),
        1 => (1..10_i64).prop_map(|minutes| GrantStep::Wait { minutes }),
    ]
}

fn start() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn user(n: u8) -> PrincipalId {
    PrincipalId::new(PrincipalKind::User, "corp", &n.to_string())
}

fn way(max_uses: Option<u32>) -> Way {
    Way {
        rule: "rule".parse().unwrap(),
        kind: GrantKind::Review,
        reviews: NEEDED,
        max_duration: Window::minutes(30),
        max_uses,
        incident: None,
        idle: None,
        to_be_checked: Vec::new(),
        hold: None,
        reviewers: vec![],
    }
}

fn asked() -> AccessRequest {
    let operation = "payments.createRefund".parse().unwrap();
    AccessRequest {
        id: AccessRequestId::from_bits(1),
        requester: user(REQUESTER),
        person: Some(PersonId::from_bits(u128::from(REQUESTER))),
        requester_name: "ana".into(),
        service: "payments".parse().unwrap(),
        queries: vec![AccessQuery { operation, instance: None, digest: None, way: way(None) }],
        reason: "why not".into(),
        duration: Window::minutes(30),
        refusal: None,
        extends: None,
        held: None,
        created_at: start(),
        expires_at: start() + SignedDuration::from_hours(1),
        reviews: vec![],
        state: AccessRequestState::Pending,
    }
}

fn granted(max_uses: Option<u32>) -> Grant {
    Grant {
        id: GrantId::from_bits(1),
        version: 0,
        access_request: AccessRequestId::from_bits(1),
        principal: user(REQUESTER),
        rule: "rule".parse().unwrap(),
        kind: GrantKind::Review,
        reviews: 2,
        operation: "payments.createRefund".parse().unwrap(),
        resource: Resource { service: "payments".parse().unwrap(), instance: None },
        incident: None,
        digest: None,
        starts_at: start(),
        expires_at: start() + SignedDuration::from_mins(30),
        max_uses,
        uses: 0,
        idle: None,
        state: GrantState::InForce,
    }
}

fn apply(request: AccessRequest, step: &Step, n: usize, now: Timestamp) -> Option<AccessRequest> {
    match step {
        Step::Review { person, principal, approve, minutes } => request
            .review(Review {
                id: ReviewId::from_bits(n as u128),
                reviewer: user(*principal),
                person: PersonId::from_bits(u128::from(*person)),
                name: person.to_string(),
                decision: if *approve { Decision::Approve } else { Decision::Decline },
                note: None,
                duration: minutes.map(Window::minutes),
                scope: Scope::default(),
                at: now,
                source: None,
                passkey: None,
                chat: false,
            })
            .ok(),
        Step::Approve => request.approve(now, vec![GrantId::from_bits(1)]).ok(),
        Step::DeclineByPolicy => request.decline_by_policy(now, "policy".into()).ok(),
        Step::Withdraw => request.withdraw(now).ok(),
        Step::Expire => request.expire(now).ok(),
        Step::Wait { .. } => None,
    }
}

fn check(request: &AccessRequest) {
    let mut people: Vec<PersonId> = request.reviews.iter().map(|review| review.person).collect();
    let given = people.len();
    people.sort();
    people.dedup();
    assert_eq!(people.len(), given, "one person counts once");
    assert!(!people.contains(&PersonId::from_bits(u128::from(REQUESTER))), "never one's own");
    assert!(request.reviews.iter().all(|review| review.reviewer != request.requester));
    assert!(request.reviews.iter().all(|review| review.at < request.expires_at));
    assert!(request.agreed_duration() <= request.duration, "reviewers only shorten");
    let declines =
        request.reviews.iter().filter(|review| review.decision == Decision::Decline).count();
    assert!(declines <= 1, "one decline ends it");
    match &request.state {
        AccessRequestState::Approved { grants, at } => {
            assert!(request.approvals() >= usize::from(NEEDED) && declines == 0);
            assert!(*at < request.expires_at && grants.len() == request.queries.len());
        }
        AccessRequestState::Pending => assert_eq!(declines, 0),
        AccessRequestState::Declined { .. }
        | AccessRequestState::Withdrawn { .. }
        | AccessRequestState::Expired { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_access_request_ends_once_and_only_as_it_may(steps in prop::collection::vec(step(), 1..40)) {
        let (mut request, mut now) = (asked(), start());
        for (n, step) in steps.iter().enumerate() {
            if let Step::Wait { minutes } = step {
                now += SignedDuration::from_mins(*minutes);
            }
            let before = request.clone();
            if let Some(after) = apply(request.clone(), step, n, now) {
                prop_assert_eq!(&before.state, &AccessRequestState::Pending, "what is over stays over");
                prop_assert!(after.reviews.len() >= before.reviews.len(), "no answer is lost");
                request = after;
            }
            check(&request);
        }
    }

    #[test]
    fn a_grant_carries_no_more_than_it_may_and_ends_once(
        max_uses in prop::option::of(1..5_u32),
        steps in prop::collection::vec(grant_step(), 1..40),
    ) {
        let (mut grant, mut now, mut carried) = (granted(max_uses), start(), 0_u32);
        for step in &steps {
            let before = grant.clone();
            let after = match step {
                GrantStep::Consume(n) => grant.clone().consume(now, RequestId::from_bits(u128::from(*n))).ok(),
                GrantStep::End(why) => grant.clone().end(now, *why, None).ok(),
                GrantStep::Wait { minutes } => {
                    now += SignedDuration::from_mins(*minutes);
                    None
                }
            };
            let Some(after) = after else { continue };
            prop_assert_eq!(before.state, GrantState::InForce, "what is over stays over");
            prop_assert!(after.version > before.version, "every change is a new version");
            if matches!(step, GrantStep::Consume(_)) {
                prop_assert!(before.in_force(now), "nothing passes after its end");
                carried += 1;
            }
            prop_assert_eq!(after.expires_at, before.expires_at, "nothing stretches a window");
            grant = after;
            prop_assert_eq!(grant.uses, carried);
            prop_assert!(max_uses.is_none_or(|max| carried <= max));
            prop_assert!(grant.uses_left() != Some(0) || !grant.in_force(now));
        }
    }
}

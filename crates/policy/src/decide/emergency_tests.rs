//! Emergencies: last of all ways, for all that the head of their rule matches, past the forbids that
//! name them and no other.

use std::sync::Arc;

use super::*;
use crate::{
    fixture::{ahead, ask, context, grant, now, person, snapshot, subject, tell, told, workload},
    policy::Terms,
};
use portcullis_model::{GrantKind, Window};

const EXAMPLES: &str = r#"
@id("payments.read")
permit (principal is User in Group::"payments-oncall", action in Action::"payments.read", resource in Service::"payments");

@id("payments.refund.reviewed") @reviews("2") @max_duration("15m")
permit (principal is User in Group::"sre", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant };

@id("payments.emergency") @emergency("true") @max_duration("20m")
permit (principal in Group::"sre", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant && context.grant.kind == "emergency" };
"#;

/// From elsewhere only in an emergency, and large amounts never.
const FLOORS: &str = r#"
@id("critical.two-people")
forbid (principal, action in Action::"write", resource)
when { resource has labels && resource.labels has criticality && resource.labels.criticality == "high" }
unless { context has grant && (context.grant.reviews >= 3 || context.grant.kind == "emergency") };

@id("geo")
forbid (principal is User, action in [Action::"read", Action::"write", Action::"admin"], resource)
when { !(context.source.ip.isInRange(ip("10.0.0.0/8"))) }
unless { context has grant && context.grant.kind == "emergency" };

@id("never")
forbid (principal is User, action == Action::"payments.createRefund", resource)
when { context has body && context.body.amount > 50000 };
"#;

const REFUND: &str = "payments.createRefund";
const LAST: &str = "payments.refund.reviewed/review/2 payments.emergency/emergency/0";

fn emergency(holder: &Subject) -> Grant {
    Grant {
        kind: GrantKind::Emergency,
        operation: "payments.*".parse().unwrap(),
        ..grant(holder, "payments.emergency", 0)
    }
}

fn elsewhere(amount: i64) -> Context {
    let ip = "203.0.113.9".parse().unwrap();
    Context { source: crate::Known::Value(crate::Source { ip, country: None }), ..context(amount) }
}

#[test]
fn an_emergency_is_the_last_way_and_no_floor_raises_it() {
    let sre = subject("sre", &["sre"]);
    let plain = snapshot(EXAMPLES);
    assert_eq!(told(&plain, &sre, REFUND, &context(1)), format!("requestable: {LAST}"));
    let floored = snapshot(&[EXAMPLES, FLOORS].concat());
    let raised = LAST.replace("review/2", "review/3");
    assert_eq!(told(&floored, &sre, REFUND, &context(1)), format!("requestable: {raised}"));
    let only = "requestable: payments.emergency/emergency/0";
    assert_eq!(told(&floored, &sre, REFUND, &elsewhere(1)), only);
    assert_eq!(told(&floored, &sre, REFUND, &elsewhere(50_001)), "deny: ByPolicy");
    let offered = told(&floored, &sre, REFUND, &ahead());
    assert!(offered.ends_with("payments.emergency/emergency/0"), "{offered}");
}

#[test]
fn an_emergency_opens_what_the_head_of_its_rule_matches_and_nothing_else() {
    let sre = subject("sre", &["sre"]);
    let snapshot = snapshot(&[EXAMPLES, FLOORS].concat());
    let held = snapshot.clone().with_grant(Arc::new(emergency(&sre)), now());
    for operation in [REFUND, "payments.getRefund"] {
        assert_eq!(told(&held, &sre, operation, &elsewhere(1)), "permit by grant", "{operation}");
    }
    assert_eq!(
        told(&held, &sre, REFUND, &elsewhere(50_001)),
        "deny: ByPolicy",
        "it is no master key"
    );
    assert_eq!(told(&held, &sre, "ledger.getEntry", &context(1)), "deny: Invisible", "one service");
    let reads = EXAMPLES.replace(", Action::\"payments.write\"]", "]");
    let narrowed = held.with_bundle(crate::fixture::bundle(&reads), 2);
    assert_eq!(told(&narrowed, &sre, "payments.getRefund", &context(1)), "permit by grant");
    let others = "requestable: payments.refund.reviewed/review/2";
    assert_eq!(told(&narrowed, &sre, REFUND, &context(1)), others);
}

#[test]
fn n02_a_grant_of_another_kind_opens_no_emergency_and_the_other_way_round() {
    let sre = subject("sre", &["sre"]);
    let snapshot = snapshot(EXAMPLES);
    let of_kind = |kind| Grant { kind, ..emergency(&sre) };
    for kind in [GrantKind::Automatic, GrantKind::Review] {
        let held = snapshot.clone().with_grant(Arc::new(of_kind(kind)), now());
        assert_ne!(told(&held, &sre, REFUND, &context(1)), "permit by grant", "{kind:?}");
    }
    let other = Grant { rule: "payments.refund.reviewed".parse().unwrap(), ..emergency(&sre) };
    let held = snapshot.with_grant(Arc::new(other), now());
    // Covers everything, but is worth something under the rule that issued it, and for what that matches.
    assert_ne!(told(&held, &sre, "payments.getRefund", &context(1)), "permit by grant");
}

#[test]
fn an_emergency_is_for_people() {
    let mut build = workload(&[]);
    build.groups = [Arc::from("sre")].into();
    let build = Subject::new(Arc::new(build));
    let snapshot = snapshot(EXAMPLES);
    assert_eq!(told(&snapshot, &build, REFUND, &context(1)), "deny: ByPolicy");
    let sre = Subject::new(Arc::new(person("sre", &["sre"])));
    assert!(told(&snapshot, &sre, REFUND, &context(1)).ends_with("emergency/0"));
}

#[test]
fn an_emergency_is_short() {
    let terms = |annotations: &str| {
        let policy = EXAMPLES.replace("@max_duration(\"20m\")", annotations);
        let bundle = crate::fixture::bundle(&policy);
        let (_, rule) = bundle.policies().lookup("payments.emergency").unwrap();
        rule.terms.unwrap()
    };
    let short = terms("");
    assert_eq!(short.max_duration, Window::minutes(15));
    assert_eq!(terms("@max_duration(\"1h\")").max_duration, Window::minutes(60));
    assert_eq!(
        short,
        Terms {
            reviews: 0,
            emergency: true,
            max_duration: Window::minutes(15),
            ..Terms::default()
        }
    );
    let sre = subject("sre", &["sre"]);
    let verdict =
        ask(&snapshot(EXAMPLES), &sre, REFUND, &context(1), &mut DecisionCache::disabled());
    let Answer::Requestable(ways) = &verdict.answer else { panic!("{}", tell(&verdict)) };
    assert_eq!(ways.last().unwrap().max_duration, Window::minutes(20));
}

#[test]
fn what_contradicts_an_emergency_does_not_load() {
    let rule = "when { context has grant }";
    let refused = [
        ("@emergency(\"yes\")", rule, "@emergency takes \"true\" and nothing else"),
        ("@emergency(\"true\")", "", "@emergency means something on a rule only"),
        ("@emergency(\"true\") @reviews(\"1\")", rule, "@reviews means nothing beside @emergency"),
        (
            "@emergency(\"true\") @max_uses(\"1\")",
            rule,
            "@max_uses means nothing beside @emergency",
        ),
        ("@emergency(\"true\") @hold(\"1m\")", rule, "@hold means nothing beside @emergency"),
        (
            "@emergency(\"true\") @max_duration(\"61m\")",
            rule,
            "an emergency lasts 1h at most, not 1h1m",
        ),
    ];
    for (annotations, condition, message) in refused {
        let policy = format!(
            "@id(\"p\") {annotations}\npermit (principal, action == Action::\"{REFUND}\", \
             resource in Service::\"payments\")\n{condition};"
        );
        let found = crate::fixture::load_errors(&policy);
        let [error] = found.as_slice() else { panic!("{annotations}: {found:#?}") };
        assert_eq!((error.message.as_str(), error.line), (message, Some(1)), "{annotations}");
    }
}

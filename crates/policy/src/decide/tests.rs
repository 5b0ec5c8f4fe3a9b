use super::*;
use crate::{
    Known,
    fixture::{ahead, ask, context, grant, ids, now, snapshot, subject, tell, told},
};

const EXAMPLES: &str = r#"
@id("payments.read")
permit (principal is User in Group::"payments-oncall", action in Action::"payments.read", resource in Service::"payments");

@id("payments.refund.oncall") @reviews("0") @max_duration("30m")
permit (principal is User in Group::"payments-oncall", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant };

@id("payments.refund.reviewed") @reviews("1") @max_duration("15m") @max_uses("1")
permit (principal is User in Group::"engineering", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant && context has body && context.body.amount <= 50000 };

@id("critical.two-people")
forbid (principal is User, action in Action::"write", resource)
when { resource has labels && resource.labels has criticality && resource.labels.criticality == "high" }
unless { context has grant && (context.grant.reviews >= 2 || context.grant.kind == "automatic") };

@id("payments.reviewers")
permit (principal is User in Group::"payments-leads", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"payments" };

@id("payments.reviewers.escalated")
permit (principal is User in Group::"sre-managers", action == Action::"review", resource is AccessRequest)
when { resource.waited >= duration("5m") };
"#;

const REFUND: &str = "payments.createRefund";

#[test]
fn three_answers() {
    let snapshot = snapshot(EXAMPLES);
    let ana = subject("ana", &["payments-oncall"]);
    let ben = subject("ben", &["engineering"]);
    let sam = subject("sam", &["auditors"]);
    assert_eq!(told(&snapshot, &ana, "payments.getRefund", &context(1)), "permit");
    let requestable = "requestable: payments.refund.oncall/automatic/0";
    assert_eq!(told(&snapshot, &ana, REFUND, &context(1)), requestable);
    assert_eq!(told(&snapshot, &ben, "payments.getRefund", &context(1)), "deny: ByPolicy");
    assert_eq!(told(&snapshot, &sam, REFUND, &context(1)), "deny: Invisible");
}

#[test]
fn a_floor_raises_a_rule_to_the_reviews_that_lift_it() {
    let snapshot = snapshot(EXAMPLES);
    let ben = subject("ben", &["engineering"]);
    let raised = "requestable: payments.refund.reviewed/review/2";
    assert_eq!(told(&snapshot, &ben, REFUND, &context(50_000)), raised);
    assert_eq!(told(&snapshot, &ben, REFUND, &context(50_001)), "deny: ByPolicy");
}

#[test]
fn f01_an_empty_bundle_denies_everything() {
    let snapshot = snapshot("");
    let ana = subject("ana", &["payments-oncall"]);
    assert_eq!(told(&snapshot, &ana, REFUND, &context(1)), "deny: Invisible");
}

#[test]
fn what_is_not_in_the_catalogue_is_denied() {
    let snapshot =
        snapshot(r#"@id("all") @all_services("true") permit (principal, action, resource);"#);
    let ana = subject("ana", &[]);
    let cache = &mut DecisionCache::default();
    assert_eq!(told(&snapshot, &ana, REFUND, &context(1)), "permit");
    assert_eq!(told(&snapshot, &ana, "payments.unknown", &context(1)), "deny: ByPolicy");
    assert_eq!(told(&snapshot, &ana, "unknown.get", &context(1)), "deny: Invisible");
    let (operation, context) = (REFUND.parse().unwrap(), context(1));
    let mut decide = |service: &str, instance: Option<&str>| {
        let instance = instance.map(|name| name.parse().unwrap());
        let resource = Resource { service: service.parse().unwrap(), instance };
        let query = Query {
            subject: &ana,
            operation: &operation,
            resource: &resource,
            context: &context,
            digest: None,
            incident: None,
            only: None,
        };
        tell(&snapshot.decide(&query, cache))
    };
    assert_eq!(decide("payments", Some("p-1")), "permit");
    assert_eq!(decide("payments", Some("p-7")), "deny: ByPolicy");
    assert_eq!(decide("ledger", None), "deny: ByPolicy");
}

#[test]
fn f04_an_erring_forbid_denies() {
    let snapshot = snapshot(
        r#"@id("open") permit (principal, action, resource in Service::"payments");
           @id("overflow") forbid (principal, action == Action::"payments.createRefund", resource)
           when { context has body && context.body.amount + 9223372036854775807 > 0 };"#,
    );
    let ana = subject("ana", &[]);
    let verdict = ask(&snapshot, &ana, REFUND, &context(1), &mut DecisionCache::default());
    assert_eq!(tell(&verdict), "deny: ErroringForbid");
    assert_eq!(ids(&verdict), ["overflow"]);
    assert_eq!(snapshot.bundle().evaluation_errors().forbids(), 1);
    assert_eq!(told(&snapshot, &ana, "payments.getRefund", &context(1)), "permit");
}

#[test]
fn f05_an_erring_permit_does_not_apply() {
    let snapshot = snapshot(
        r#"@id("overflow") permit (principal, action == Action::"payments.createRefund", resource in Service::"payments")
           when { context has body && context.body.amount + 9223372036854775807 > 0 };"#,
    );
    let ana = subject("ana", &[]);
    assert_eq!(told(&snapshot, &ana, REFUND, &context(0)), "permit");
    assert_eq!(told(&snapshot, &ana, REFUND, &context(1)), "deny: ByPolicy");
    assert_eq!(snapshot.bundle().evaluation_errors().permits(), 1);
}

#[test]
fn n02_a_grant_is_worth_nothing_under_another_rule() {
    let heavy = r#"
        @id("light") @reviews("0") permit (principal, action == Action::"payments.createRefund", resource in Service::"payments")
        when { context has grant && context has body && context.body.amount < 10 };
        @id("heavy") @reviews("2") permit (principal, action == Action::"payments.createRefund", resource in Service::"payments")
        when { context has grant };"#;
    let ana = subject("ana", &[]);
    let snapshot = snapshot(heavy).with_grant(Arc::new(grant(&ana, "light", 0)), now());
    assert_eq!(told(&snapshot, &ana, REFUND, &context(9)), "permit by grant");
    assert_eq!(told(&snapshot, &ana, REFUND, &context(10)), "requestable: heavy/review/2");
}

#[test]
fn e28_a_grant_is_judged_by_the_groups_of_the_moment() {
    let ben = subject("ben", &["engineering"]);
    let snapshot =
        snapshot(EXAMPLES).with_grant(Arc::new(grant(&ben, "payments.refund.reviewed", 2)), now());
    assert_eq!(told(&snapshot, &ben, REFUND, &context(1)), "permit by grant");
    let moved = subject("ben", &["marketing"]);
    assert_eq!(told(&snapshot, &moved, REFUND, &context(1)), "deny: Invisible");
}

#[test]
fn a_grant_whose_rule_is_gone_opens_nothing() {
    let ben = subject("ben", &["engineering"]);
    let grants =
        snapshot(EXAMPLES).with_grant(Arc::new(grant(&ben, "payments.refund.reviewed", 2)), now());
    let without = EXAMPLES.replace("payments.refund.reviewed", "payments.refund.renamed");
    let moved = grants.with_bundle(crate::fixture::bundle(&without), 2);
    assert!(!moved.bundle().issues(&"payments.refund.reviewed".parse().unwrap()));
    let renamed = "requestable: payments.refund.renamed/review/2";
    assert_eq!(told(&moved, &ben, REFUND, &context(1)), renamed);
}

#[test]
fn a_grant_covers_its_operation_window_uses_and_digest_only() {
    let ben = subject("ben", &["engineering"]);
    let base = grant(&ben, "payments.refund.reviewed", 2);
    let with = |change: &dyn Fn(&mut Grant)| {
        let mut grant = base.clone();
        change(&mut grant);
        let snapshot = snapshot(EXAMPLES).with_grant(Arc::new(grant), now());
        told(&snapshot, &ben, REFUND, &context(1))
    };
    assert_eq!(with(&|_| ()), "permit by grant");
    let refused = "requestable: payments.refund.reviewed/review/2";
    assert_eq!(with(&|grant| grant.operation = "payments.getRefund".parse().unwrap()), refused);
    assert_eq!(with(&|grant| grant.expires_at = now()), refused);
    assert_eq!(with(&|grant| (grant.max_uses, grant.uses) = (Some(1), 1)), refused);
    assert_eq!(with(&|grant| grant.digest = Some("sha256:1".into())), refused);
    assert_eq!(with(&|grant| grant.resource.instance = Some("p-9".parse().unwrap())), refused);
    assert_eq!(with(&|grant| grant.reviews = 1), refused);
    let other = subject("eve", &["engineering"]);
    assert_eq!(with(&|grant| grant.principal = other.principal().id.clone()), refused);
}

#[test]
fn n08_a_forbid_on_an_action_group_applies() {
    let snapshot = snapshot(
        r#"@id("open") permit (principal, action, resource in Service::"payments");
           @id("no-writes") forbid (principal, action in Action::"write", resource);
           @id("named") forbid (principal, action, resource)
           when { action in Action::"payments.admin" || !(Action::"payments.getRefund" in Action::"read") };"#,
    );
    let ana = subject("ana", &[]);
    assert_eq!(told(&snapshot, &ana, REFUND, &context(1)), "deny: ByPolicy");
    assert_eq!(told(&snapshot, &ana, "payments.getRefund", &context(1)), "permit");
}

#[test]
fn m12_a_forbid_by_attribute_and_a_permit_by_name_are_both_told() {
    let snapshot = snapshot(
        r#"@id("by-name") permit (principal == User::"corp:ana", action, resource in Service::"payments");
           @id("by-attribute") forbid (principal, action, resource) when { principal is User && principal.amr.contains("pwd") };"#,
    );
    let ana = subject("ana", &[]);
    let verdict = ask(&snapshot, &ana, REFUND, &context(1), &mut DecisionCache::default());
    assert_eq!((tell(&verdict).as_str(), ids(&verdict)), ("deny: ByPolicy", vec!["by-attribute"]));
}

#[test]
fn asked_ahead_of_time_what_the_request_must_be_is_told() {
    let snapshot = snapshot(EXAMPLES);
    let ben = subject("ben", &["engineering"]);
    let verdict = ask(&snapshot, &ben, REFUND, &ahead(), &mut DecisionCache::default());
    assert_eq!(tell(&verdict), "requestable: payments.refund.reviewed/review/2");
    let [condition] = verdict.to_be_checked.as_slice() else { panic!("{verdict:?}") };
    assert!(condition.starts_with("payments.refund.reviewed: "), "{condition}");
    assert!(condition.contains("context has body"), "{condition}");
    assert!(condition.contains("<= 50000"), "{condition}");
    assert!(!condition.contains("grant"), "{condition}");
}

#[test]
fn asked_ahead_of_time_an_unknown_is_not_absent() {
    let ana = subject("ana", &[]);
    let conditional = snapshot(
        r#"@id("small") permit (principal, action == Action::"payments.createRefund", resource in Service::"payments")
           unless { context has body && context.body.amount > 10 };"#,
    );
    let verdict = ask(&conditional, &ana, REFUND, &ahead(), &mut DecisionCache::default());
    assert_eq!(tell(&verdict), "deny: ByPolicy");
    assert_eq!(verdict.to_be_checked.len(), 1, "{verdict:?}");
    let Known::Unknown = ahead().body else { panic!("asked with a body") };
    let standing =
        snapshot(r#"@id("open") permit (principal, action, resource in Service::"payments");"#);
    assert_eq!(told(&standing, &ana, REFUND, &ahead()), "permit");
}

#[test]
fn asked_ahead_of_time_a_floor_raises_no_rule_that_its_own_grant_does_not_satisfy() {
    let snapshot = snapshot(
        r#"@id("one-but-wants-two") @reviews("1") permit (principal, action == Action::"payments.createRefund", resource in Service::"payments")
           when { context has grant && context.grant.reviews >= 2 };
           @id("floor") forbid (principal, action == Action::"payments.createRefund", resource)
           when { context has body && context.body.amount > 10 }
           unless { context has grant && context.grant.reviews >= 2 };"#,
    );
    let ana = subject("ana", &[]);
    for circumstances in [context(1), context(100), ahead()] {
        assert_eq!(told(&snapshot, &ana, REFUND, &circumstances), "deny: ByPolicy");
    }
}

#[test]
fn a_permit_for_everybody_is_for_strangers_only_where_they_are_let_in() {
    let everybody = "@id(\"all\") permit (principal, action in Action::\"read\", resource in Service::\"payments\");\n\
                     @id(\"ledger\") permit (principal, action in Action::\"read\", resource in Service::\"ledger\");";
    let stranger = Subject::new(Arc::new(portcullis_model::Principal::anonymous()));
    let mut source = crate::fixture::source(everybody);
    source.services[0].anonymous = true;
    let open = Snapshot::new(Arc::new(Bundle::load(&source).unwrap()), 1);
    assert_eq!(told(&open, &stranger, "payments.getRefund", &context(1)), "permit");
    assert_eq!(told(&open, &stranger, REFUND, &context(1)), "deny: ByPolicy");
    assert_eq!(told(&open, &stranger, "ledger.getEntry", &context(1)), "deny: Invisible");
    // The same permits, after the service has shut its door: what began before ends.
    let shut = snapshot(everybody);
    assert_eq!(told(&shut, &stranger, "payments.getRefund", &context(1)), "deny: Invisible");
}

#[test]
fn the_end_of_a_grant_is_there_for_who_reads_it() {
    let policies = r#"@id("short") permit (principal, action == Action::"payments.createRefund", resource in Service::"payments")
           when { context has grant && context.grant.expires > datetime("2026-03-01T12:00:00Z") };
           @id("light") permit (principal, action == Action::"payments.getRefund", resource in Service::"payments")
           when { context has grant && context.grant.kind == "review" };"#;
    let ana = subject("ana", &[]);
    let held = |rule: &str, operation: &str, context: &Context| {
        let grant = Grant { operation: operation.parse().unwrap(), ..grant(&ana, rule, 1) };
        let snapshot = snapshot(policies).with_grant(Arc::new(grant), now());
        told(&snapshot, &ana, operation, context)
    };
    assert_eq!(held("short", REFUND, &context(1)), "permit by grant");
    assert_eq!(held("light", "payments.getRefund", &context(1)), "permit by grant");
}

/// Asks with one grant and nothing else.
fn told_by(snapshot: &Snapshot, subject: &Subject, operation: &str, only: GrantId) -> String {
    let operation: OperationName = operation.parse().unwrap();
    let resource = Resource { service: operation.service().parse().unwrap(), instance: None };
    let (operation, resource, context) = (&operation, &resource, &context(1));
    let query = Query {
        subject,
        operation,
        resource,
        context,
        digest: None,
        incident: None,
        only: Some(only),
    };
    tell(&snapshot.decide(&query, &mut DecisionCache::default()))
}

#[test]
fn who_presents_one_grant_has_that_grant_and_nothing_else() {
    let snapshot = snapshot(
        r#"@id("open") permit (principal, action == Action::"payments.getRefund", resource in Service::"payments");
           @id("any") @reviews("1") permit (principal, action == Action::"payments.createRefund", resource in Service::"payments")
           when { context has grant };
           @id("other") @reviews("0") permit (principal, action == Action::"payments.createRefund", resource in Service::"payments")
           when { context has grant && context.grant.kind == "automatic" };
           @id("never") forbid (principal, action == Action::"payments.createRefund", resource)
           when { context has body && context.body.amount > 10 };"#,
    );
    let ana = subject("ana", &[]);
    let mine = grant(&ana, "any", 1);
    let (id, none) = (mine.id, GrantId::from_bits(4_711));
    // Both policies, and another grant of hers, open nothing for who has this one only.
    assert_eq!(told_by(&snapshot, &ana, REFUND, id), "deny: ByPolicy", "nothing to ask for");
    let held = snapshot.clone().with_grant(Arc::new(mine.clone()), now());
    assert_eq!(told_by(&held, &ana, REFUND, id), "permit by grant");
    assert_eq!(told_by(&held, &ana, REFUND, none), "deny: ByPolicy", "another of hers");
    assert_eq!(told(&held, &ana, "payments.getRefund", &context(1)), "permit");
    assert_eq!(told_by(&held, &ana, "payments.getRefund", id), "deny: ByPolicy", "standing");
    let ben = subject("ben", &[]);
    assert_eq!(told_by(&held, &ben, REFUND, id), "deny: ByPolicy", "somebody else's");
    // The forbids hold as ever, and so does the end.
    let (operation, far) = (REFUND.parse().unwrap(), context(100));
    let resource = Resource { service: "payments".parse().unwrap(), instance: None };
    let query = Query {
        subject: &ana,
        operation: &operation,
        resource: &resource,
        context: &far,
        digest: None,
        incident: None,
        only: Some(id),
    };
    let verdict = held.decide(&query, &mut DecisionCache::default());
    assert_eq!((tell(&verdict).as_str(), ids(&verdict)), ("deny: ByPolicy", vec!["never"]));
    let ended = mine.end(now(), portcullis_model::GrantEnd::Revoked, None).unwrap();
    let ended = held.with_grant(Arc::new(ended), now());
    assert_eq!(told_by(&ended, &ana, REFUND, id), "deny: ByPolicy");
}

#[test]
fn a_rate_limit_applies_if_all_determining_permits_carry_one_and_the_largest_wins() {
    let permit = |id: &str, annotation: &str, group: &str| {
        format!(
            "@id(\"{id}\") {annotation} permit (principal is User in Group::\"{group}\", action == \
             Action::\"payments.createRefund\", resource in Service::\"payments\");\n"
        )
    };
    let policies = permit("few", "@rate_limit(\"3/1m\")", "a")
        + &permit("more", "@rate_limit(\"5/1m\")", "b")
        + &permit("any", "", "c");
    let snapshot = snapshot(&policies);
    let limit = |groups: &[&str]| {
        let verdict = ask(
            &snapshot,
            &subject("ana", groups),
            REFUND,
            &context(1),
            &mut DecisionCache::disabled(),
        );
        let Answer::Permit(pass) = verdict.answer else { panic!("{verdict:?}") };
        pass.rate_limit().map(|limit| limit.to_string())
    };
    assert_eq!(limit(&["a"]).as_deref(), Some("3/1m"));
    assert_eq!(limit(&["a", "b"]).as_deref(), Some("5/1m"));
    assert_eq!(limit(&["a", "b", "c"]), None);
}

//! To see a class of sensitive data: an action like any other, on a resource of its own.

use std::sync::Arc;

use portcullis_model::{Grant, GrantEnd, Window};

use crate::{
    Bundle, Context, DecisionCache, Known,
    fixture::{
        ahead, ask, grant, load_errors, now, seen_in, sensitive, snapshot, source, subject, told,
    },
};

const PCI: &str = "payments.reveal:pci";
const PII: &str = "payments.reveal:pii";
const OTHER: &str = "ledger.reveal:pci";

/// Everybody uses payments; what they see there is up to these.
const POLICIES: &str = r#"
@id("read") permit (principal, action in Action::"payments.read", resource in Service::"payments");
@id("ledger") permit (principal, action in Action::"ledger.read", resource in Service::"ledger");
@id("pci.all") @all_services("true") permit (principal in Group::"dpo", action == Action::"reveal", resource in DataClass::"pci");
@id("pii.support") permit (principal in Group::"support", action == Action::"reveal", resource == DataClass::"payments/pii")
when { context.operation == "payments.getRefund" };
@id("pci.reviewed") @reviews("1") @max_duration("10m")
permit (principal in Group::"eng", action == Action::"reveal", resource == DataClass::"payments/pci")
when { context has grant };
@id("not.on.holiday") forbid (principal in Group::"away", action == Action::"reveal", resource);
"#;

fn see(groups: &[&str], operation: &str) -> String {
    told(&snapshot(POLICIES), &subject("ana", groups), operation, &seen_in("payments.getRefund"))
}

#[test]
fn a_class_is_seen_where_policy_says_so_and_nowhere_else() {
    assert_eq!(see(&[], PCI), "deny: ByPolicy");
    assert_eq!((&*see(&["dpo"], PCI), &*see(&["dpo"], OTHER)), ("permit", "permit"));
    assert_eq!(see(&["dpo"], PII), "deny: ByPolicy");
    assert_eq!(see(&["dpo", "away"], PCI), "deny: ByPolicy", "a forbid stands");
    assert_eq!(see(&["support"], PII), "permit");
    let elsewhere = seen_in("payments.createRefund");
    let support = subject("ana", &["support"]);
    assert_eq!(told(&snapshot(POLICIES), &support, PII, &elsewhere), "deny: ByPolicy");
    for unknown in ["payments.reveal:secret", "ledger.reveal:pii", "nowhere.reveal:pci"] {
        assert!(see(&["dpo"], unknown).starts_with("deny"), "{unknown}");
    }
}

#[test]
fn what_is_asked_ahead_for_one_operation_is_decided_for_that() {
    let support = subject("ana", &["support"]);
    let context = |operation: Option<&str>| {
        let seen_in = operation.map(|name| name.parse().unwrap());
        Context { seen_in, ..ahead() }
    };
    let asked = |operation| told(&snapshot(POLICIES), &support, PII, &context(operation));
    assert_eq!(asked(Some("payments.getRefund")), "permit");
    assert_eq!(asked(Some("payments.createRefund")), "deny: ByPolicy");
    // A policy that reads more is decided as far as that goes.
    let more = r#"
@id("read") permit (principal, action in Action::"payments.read", resource in Service::"payments");
@id("pii") permit (principal, action == Action::"reveal", resource == DataClass::"payments/pii")
when { context.operation == "payments.getRefund" && context has source && context.source.ip.isInRange(ip("10.0.0.0/8")) };"#;
    let left = |operation: &str| {
        let (snapshot, context) = (snapshot(more), context(Some(operation)));
        let mut cache = DecisionCache::disabled();
        ask(&snapshot, &support, PII, &context, &mut cache).to_be_checked
    };
    assert_eq!(left("payments.createRefund"), Vec::<String>::new());
    let conditions = left("payments.getRefund");
    assert!(conditions.len() == 1 && !conditions[0].contains("operation"), "{conditions:?}");
}

#[test]
fn a_grant_reveals_its_own_class_of_its_own_service() {
    assert_eq!(see(&["eng"], PCI), "requestable: pci.reviewed/review/1");
    assert_eq!(see(&["eng"], OTHER), "deny: ByPolicy");
    let eng = subject("ana", &["eng"]);
    let held = Grant { operation: PCI.parse().unwrap(), ..grant(&eng, "pci.reviewed", 1) };
    let with = |grant: Grant| snapshot(POLICIES).with_grant(Arc::new(grant), now());
    let context = seen_in("payments.getRefund");
    assert_eq!(told(&with(held.clone()), &eng, PCI, &context), "permit by grant");
    assert_eq!(told(&with(held.clone()), &eng, PII, &context), "deny: ByPolicy");
    assert_eq!(told(&with(held.clone()), &eng, OTHER, &context), "deny: ByPolicy");
    let away = subject("ana", &["eng", "away"]);
    assert_eq!(told(&with(held.clone()), &away, PCI, &context), "deny: ByPolicy");
    // One for an operation shows nothing, whatever its rule.
    let other = Grant { operation: "payments.getRefund".parse().unwrap(), ..held.clone() };
    assert_eq!(told(&with(other), &eng, PCI, &context), "requestable: pci.reviewed/review/1");
    let over = held.end(now(), GrantEnd::Revoked, None).unwrap();
    assert_eq!(told(&with(over), &eng, PCI, &context), "requestable: pci.reviewed/review/1");
}

#[test]
fn asked_ahead_the_operation_is_what_is_left_to_check() {
    let mut context = ahead();
    context.source = Known::Unknown;
    let policies = POLICIES.replace(
        "when { context has grant };",
        "when { context has grant && context.operation == \"payments.getRefund\" };",
    );
    let eng = subject("ana", &["eng"]);
    let verdict = crate::fixture::ask(
        &snapshot(&policies),
        &eng,
        PCI,
        &context,
        &mut crate::DecisionCache::default(),
    );
    let crate::Answer::Requestable(ways) = &verdict.answer else { panic!("{verdict:?}") };
    assert_eq!(ways[0].max_duration, Window::minutes(10));
    assert!(ways[0].to_be_checked[0].contains("payments.getRefund"), "{ways:?}");
}

#[test]
fn an_emergency_shows_what_its_head_matches() {
    let rule = |head: &str| {
        format!(
            "{POLICIES} @id(\"fire\") @emergency(\"true\") permit (principal is User, {head}) when {{ context has grant && context.grant.kind == \"emergency\" }};"
        )
    };
    let context = seen_in("payments.getRefund");
    let ana = subject("ana", &[]);
    let opened = |text: &str| {
        let held = Grant {
            operation: "payments.*".parse().unwrap(),
            kind: portcullis_model::GrantKind::Emergency,
            ..grant(&ana, "fire", 0)
        };
        told(&snapshot(text).with_grant(Arc::new(held), now()), &ana, PCI, &context)
    };
    let all = rule("action, resource in Service::\"payments\"");
    assert_eq!(opened(&all), "permit by grant");
    let bundle = snapshot(&all).bundle().clone();
    let under = bundle.operations_under(&"fire".parse().unwrap(), &"payments".parse().unwrap());
    assert!(under.contains(&PCI.parse().unwrap()), "{under:?}");
    let reading = rule("action in Action::\"payments.read\", resource in Service::\"payments\"");
    assert_eq!(opened(&reading), "deny: ByPolicy");
}

#[test]
fn what_cannot_be_carried_out_does_not_load() {
    let permit = |annotations: &str, head: &str, more: &str| {
        format!("@id(\"p\") {annotations} permit (principal, {head}) {more};")
    };
    let class = "action == Action::\"reveal\", resource == DataClass::\"payments/pci\"";
    let granted = "when { context has grant }";
    for (text, message) in [
        (
            permit("", "action == Action::\"reveal\", resource == DataClass::\"payments/pcj\"", ""),
            "DataClass::\"payments/pcj\" is not configured",
        ),
        (
            permit("", "action == Action::\"reveal\", resource in DataClass::\"phi\"", ""),
            "DataClass::\"phi\" is not configured",
        ),
        (
            permit("", "action == Action::\"reveal\", resource == DataClass::\"ledger/pii\"", ""),
            "is not configured",
        ),
        (permit("", "action == Action::\"reveal\", resource", ""), "present and future"),
        (
            permit("", "action == Action::\"reveal\", resource in DataClass::\"pci\"", ""),
            "present and future",
        ),
        (
            permit(
                "@all_services(\"true\")",
                "action == Action::\"reveal\", resource in DataClass::\"pci\"",
                "",
            ),
            "",
        ),
        (
            permit("", "action == Action::\"reveal\", resource is DataClass", ""),
            "present and future",
        ),
        (permit("@max_uses(\"1\")", class, granted), "@max_uses is about requests"),
        (permit("@hold(\"1m\")", class, granted), "@hold is about requests"),
        (permit("@rate_limit(\"5/1m\")", class, ""), "@rate_limit is about requests"),
        (
            permit("@max_uses(\"1\")", "action, resource in Service::\"payments\"", granted),
            "@max_uses is about requests",
        ),
        (permit("", class, "when { context has http && context.http.path == \"/\" }"), ""),
        (permit("", class, "when { context.body.amount < 5 }"), "body"),
        (permit("", class, "unless { context has grant }"), "would take access away"),
    ] {
        let found = load_errors(&text);
        let told = found.iter().any(|error| error.message.contains(message));
        assert_eq!(told, !message.is_empty(), "{text}: {found:#?}");
    }
    // Nothing is sensitive there, so a rule about all of it is about requests alone.
    let uses = permit("@max_uses(\"1\")", "action, resource in Service::\"payments\"", granted);
    let mut plain = source(&uses);
    for service in &mut plain.services {
        service.edge.sensitive = None;
    }
    assert!(Bundle::load(&plain).is_ok());
    let named = permit("", class, "");
    plain.policies = source(&named).policies;
    assert!(Bundle::load(&plain).is_err(), "a class that nobody has");
}

#[test]
fn policies_of_a_folder_are_about_its_own_classes() {
    let permit = "@id(\"p\") permit (principal, action == Action::\"reveal\", resource";
    for (resource, sound) in [
        ("== DataClass::\"payments/pci\"", true),
        ("in Service::\"payments\"", true),
        ("== DataClass::\"ledger/pci\"", false),
        ("in DataClass::\"pci\"", false),
    ] {
        let mut own = source(&format!("{permit} {resource});"));
        own.policies[0].path = "payments/reveal.cedar".to_owned();
        assert_eq!(Bundle::load(&own).is_ok(), sound, "{resource}");
    }
}

#[test]
fn the_digest_covers_what_is_sensitive() {
    let digest = |classes: &[&str]| {
        let mut source = source("");
        source.services[0].edge.sensitive = (!classes.is_empty()).then(|| sensitive(classes));
        Bundle::load(&source).unwrap().digest().to_string()
    };
    let all = [digest(&[]), digest(&["pci"]), digest(&["pii"]), digest(&["pci", "pii"])];
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

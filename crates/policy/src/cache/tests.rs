use jiff::{SignedDuration, Timestamp};
use portcullis_model::{Grant, GrantId, OperationName, Principal, RequestId, Resource};

use super::*;
use crate::{
    Known, Query, Snapshot, Source, Subject, Value,
    context::Http,
    fixture::{ahead, ask, bundle, context, grant, now, person, snapshot, subject, tell, workload},
};

const REFUND: &str = "payments.createRefund";
const OPEN: &str = r#"@id("open") permit (principal, action, resource in Service::"payments");"#;

fn open_when(condition: &str) -> String {
    OPEN.replace(';', &format!(" when {{ {condition} }};"))
}

fn rule(condition: &str) -> String {
    format!(
        "@id(\"rule\") permit (principal, action, resource in Service::\"payments\") \
         when {{ context has grant && {condition} }};"
    )
}

/// Asks with a cache and without one; both must say the same.
fn told(
    cache: &mut DecisionCache,
    snapshot: &Snapshot,
    subject: &Subject,
    operation: &str,
    context: &Context,
) -> String {
    let remembered = tell(&ask(snapshot, subject, operation, context, cache));
    let evaluated = ask(snapshot, subject, operation, context, &mut DecisionCache::disabled());
    assert_eq!(remembered, tell(&evaluated), "{operation} {context:?}");
    remembered
}

#[test]
fn f10_a_new_generation_is_decided_anew() {
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let first = snapshot(OPEN);
    assert_eq!(told(cache, &first, &ana, REFUND, &context(1)), "permit");
    let second = first.clone().with_bundle(bundle(""), 2);
    assert_eq!(told(cache, &second, &ana, REFUND, &context(1)), "deny: Invisible");
    assert_eq!(told(cache, &first, &ana, REFUND, &context(1)), "permit");
}

#[test]
fn f10_whoever_changed_in_any_way_is_decided_anew() {
    let snapshot = snapshot(
        r#"@id("group") permit (principal in Group::"oncall", action == Action::"payments.createRefund", resource);
           @id("email") permit (principal, action == Action::"payments.createRefund", resource)
           when { principal is User && principal has email && principal.email == "ana@example.com" };
           @id("amr") permit (principal, action == Action::"payments.createRefund", resource)
           when { principal is User && principal.amr.contains("hwk") };
           @id("claim") permit (principal, action == Action::"payments.createRefund", resource)
           when { principal is Workload && principal has repository && principal.repository == "demo" };
           @id("issuer") permit (principal, action == Action::"payments.createRefund", resource)
           when { principal is Workload && principal.issuer == "builds" };"#,
    );
    let cache = &mut DecisionCache::default();
    let mut check = |before: Principal, after: Principal| {
        assert_eq!(before.id, after.id);
        let [before, after] = [before, after].map(|principal| Subject::new(Arc::new(principal)));
        assert!(told(cache, &snapshot, &before, REFUND, &context(1)).starts_with("deny"));
        assert_eq!(told(cache, &snapshot, &after, REFUND, &context(1)), "permit");
        assert!(told(cache, &snapshot, &before, REFUND, &context(1)).starts_with("deny"));
    };
    let ana = || person("ana", &[]);
    check(ana(), person("ana", &["oncall"]));
    check(ana(), Principal { email: Some("ana@example.com".to_owned()), ..ana() });
    check(ana(), Principal { amr: ["hwk".to_owned()].into(), ..ana() });
    check(workload(&[]), workload(&[("repository", "demo")]));
    check(workload(&[]), Principal { issuer: "builds".to_owned(), ..workload(&[]) });
}

#[test]
fn f10_a_visible_service_is_one_for_this_principal_in_this_generation() {
    let by_group = r#"@id("p") permit (principal in Group::"oncall", action == Action::"payments.getRefund", resource in Service::"payments");"#;
    let by_name = r#"@id("p") permit (principal == User::"corp:ana", action == Action::"ledger.getEntry", resource in Service::"ledger");"#;
    let cache = &mut DecisionCache::default();
    let first = snapshot(by_group);
    let (inside, outside) = (subject("ana", &["oncall"]), subject("ana", &[]));
    assert_eq!(told(cache, &first, &inside, REFUND, &context(1)), "deny: ByPolicy");
    assert_eq!(told(cache, &first, &outside, REFUND, &context(1)), "deny: Invisible");
    let second = first.clone().with_bundle(bundle(by_name), 2);
    assert_eq!(told(cache, &second, &inside, REFUND, &context(1)), "deny: Invisible");
    assert_eq!(told(cache, &second, &inside, "ledger.unknown", &context(1)), "deny: ByPolicy");
}

#[test]
fn operations_are_told_apart() {
    let snapshot = snapshot(
        r#"@id("p") permit (principal, action in Action::"payments.read", resource in Service::"payments");"#,
    );
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    assert_eq!(told(cache, &snapshot, &ana, "payments.getRefund", &context(1)), "permit");
    assert_eq!(told(cache, &snapshot, &ana, REFUND, &context(1)), "deny: ByPolicy");
}

#[test]
fn a_service_and_each_of_its_instances_are_told_apart() {
    let snapshot = snapshot(
        r#"@id("open") permit (principal, action, resource in Service::"payments");
           @id("not-here") forbid (principal, action, resource == Instance::"payments/p-9");"#,
    );
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let (operation, context): (OperationName, _) = (REFUND.parse().unwrap(), context(1));
    let mut decide = |instance: Option<&str>| {
        let instance = instance.map(|name| name.parse().unwrap());
        let resource = Resource { service: "payments".parse().unwrap(), instance };
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
    assert_eq!(decide(None), "permit");
    assert_eq!(decide(Some("p-9")), "deny: ByPolicy");
    assert_eq!(decide(Some("p-1")), "permit");
    assert_eq!(decide(None), "permit");
}

#[test]
fn grants_are_told_apart_by_their_ids() {
    let two = snapshot(&rule("context.grant.reviews >= 2"));
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let light = Grant { id: GrantId::from_bits(1), ..grant(&ana, "rule", 1) };
    let heavy = Grant { id: GrantId::from_bits(2), ..grant(&ana, "rule", 2) };
    let with = |grant: &Grant| two.clone().with_grant(Arc::new(grant.clone()), now());
    assert_eq!(told(cache, &with(&heavy), &ana, REFUND, &context(1)), "permit by grant");
    assert!(told(cache, &with(&light), &ana, REFUND, &context(1)).starts_with("deny"));
    assert_eq!(told(cache, &with(&heavy), &ana, REFUND, &context(1)), "permit by grant");
}

#[test]
fn a_grant_that_changed_is_decided_anew() {
    let snapshot = snapshot(&rule("context.grant.expires < datetime(\"2026-03-01T13:00:00Z\")"));
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let issued = grant(&ana, "rule", 1);
    let expires_at = now() + SignedDuration::from_hours(2);
    let extended = Grant { version: issued.version + 1, expires_at, ..issued.clone() };
    let with = |grant: &Grant| snapshot.clone().with_grant(Arc::new(grant.clone()), now());
    assert_eq!(told(cache, &with(&issued), &ana, REFUND, &context(1)), "permit by grant");
    let later = told(cache, &with(&extended), &ana, REFUND, &context(1));
    assert_eq!(later, "requestable: rule/review/1");
}

#[test]
fn a_grant_standing_policy_and_ways_are_three_questions() {
    let snapshot = snapshot(&rule("true"));
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let requestable = "requestable: rule/review/1";
    assert_eq!(told(cache, &snapshot, &ana, REFUND, &context(1)), requestable);
    let held = snapshot.clone().with_grant(Arc::new(grant(&ana, "rule", 1)), now());
    assert_eq!(told(cache, &held, &ana, REFUND, &context(1)), "permit by grant");
    assert_eq!(told(cache, &snapshot, &ana, REFUND, &context(1)), requestable);
}

#[test]
fn windows_and_uses_are_never_remembered() {
    let snapshot = snapshot(&rule("true"));
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let held = snapshot.with_grant(Arc::new(grant(&ana, "rule", 1)), now());
    assert_eq!(told(cache, &held, &ana, REFUND, &context(1)), "permit by grant");
    let late = Context { now: now() + SignedDuration::from_mins(15), ..context(1) };
    assert_eq!(told(cache, &held, &ana, REFUND, &late), "requestable: rule/review/1");
    let counted = Grant { max_uses: Some(1), uses: 1, ..grant(&ana, "rule", 1) };
    let spent = held.with_grant(Arc::new(counted), now());
    assert_eq!(told(cache, &spent, &ana, REFUND, &context(1)), "requestable: rule/review/1");
}

fn with_http(change: impl FnOnce(&mut Http)) -> Context {
    let mut changed = context(1);
    if let Known::Value(Some(http)) = &mut changed.http {
        change(http);
    }
    changed
}

fn with_body(fields: &[(&str, Value)]) -> Context {
    let fields = fields.iter().map(|(name, value)| (Arc::from(*name), value.clone()));
    Context { body: Known::Value(Some(fields.collect())), ..context(1) }
}

#[test]
fn every_attribute_that_policies_read_is_told_apart() {
    let usd = with_body(&[("amount", Value::Long(1)), ("currency", Value::String("USD".into()))]);
    let source = Known::Value(Source { ip: "192.0.2.1".parse().unwrap(), country: None });
    let on_create = "action == Action::\"payments.createRefund\" && context has body";
    let cases = [
        (
            "context.source.ip.isInRange(ip(\"10.0.0.0/8\"))".to_owned(),
            Context { source, ..context(1) },
        ),
        (
            "context.auth.method == \"sign-in\"".to_owned(),
            Context { auth_method: "jwt", ..context(1) },
        ),
        (
            "context has http && context.http.method == \"POST\"".to_owned(),
            with_http(|http| http.method = "PUT".into()),
        ),
        (
            "context has http && context.http.path like \"/refunds*\"".to_owned(),
            with_http(|http| http.path = "/v2".into()),
        ),
        (
            "context has http && context.http.host == \"payments.example.com\"".to_owned(),
            with_http(|http| http.host = "evil.example.com".into()),
        ),
        (
            "context has http && context.http == {method: \"POST\", path: \"/refunds\", host: \"payments.example.com\"}".to_owned(),
            with_http(|http| http.path = "/v2".into()),
        ),
        (format!("{on_create} && context.body.amount <= 1"), context(2)),
        (format!("{on_create} && context.body.currency == \"EUR\""), usd.clone()),
        (format!("{on_create} && context.body == {{amount: 1, currency: \"EUR\"}}"), usd),
        (on_create.to_owned(), Context { body: Known::Value(None), ..context(1) }),
    ];
    let ana = subject("ana", &[]);
    for (condition, other) in cases {
        let cache = &mut DecisionCache::default();
        let snapshot = snapshot(&open_when(&condition));
        assert_eq!(told(cache, &snapshot, &ana, REFUND, &context(1)), "permit", "{condition}");
        let denied = "deny: ByPolicy";
        assert_eq!(told(cache, &snapshot, &ana, REFUND, &other), denied, "{condition}");
        assert_eq!(told(cache, &snapshot, &ana, REFUND, &context(1)), "permit", "{condition}");
    }
}

#[test]
fn parameters_are_told_apart() {
    let with = |id: &str| {
        let fields = [(Arc::from("id"), Value::String(id.to_owned()))].into();
        Context { params: Known::Value(Some(fields)), ..context(1) }
    };
    let snapshot = snapshot(&open_when(
        "action == Action::\"payments.getRefund\" && context has params && context.params.id == \"r1\"",
    ));
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    assert_eq!(told(cache, &snapshot, &ana, "payments.getRefund", &with("r1")), "permit");
    assert_eq!(told(cache, &snapshot, &ana, "payments.getRefund", &with("r2")), "deny: ByPolicy");
}

#[test]
fn what_time_or_the_request_itself_decides_is_never_remembered() {
    let later = Context { now: now() + SignedDuration::from_hours(1), ..context(1) };
    let older = Context { auth_age: SignedDuration::from_hours(1), ..context(1) };
    let next = Context { request: Known::Value(RequestId::from_bits(2)), ..context(1) };
    let cases = [
        ("context.now < datetime(\"2026-03-01T12:30:00Z\")", later),
        ("context.auth.age < duration(\"5m\")", older.clone()),
        ("context.auth == {method: \"sign-in\", age: duration(\"1m\")}", older),
        ("context has request && context.request.id == \"00000000000000000000000001\"", next),
    ];
    let ana = subject("ana", &[]);
    for (condition, other) in cases {
        let cache = &mut DecisionCache::default();
        let snapshot = snapshot(&open_when(condition));
        assert_eq!(told(cache, &snapshot, &ana, REFUND, &context(1)), "permit", "{condition}");
        let denied = "deny: ByPolicy";
        assert_eq!(told(cache, &snapshot, &ana, REFUND, &other), denied, "{condition}");
    }
}

#[test]
fn ways_whose_grants_end_too_late_are_not_remembered() {
    let snapshot = snapshot(&rule("context.grant.expires < datetime(\"2026-03-01T13:00:00Z\")"));
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let at = |text: &str| Context { now: text.parse::<Timestamp>().unwrap(), ..context(1) };
    let early = told(cache, &snapshot, &ana, REFUND, &at("2026-03-01T12:00:00Z"));
    assert_eq!(early, "requestable: rule/review/1");
    let late = told(cache, &snapshot, &ana, REFUND, &at("2026-03-01T12:31:00Z"));
    assert_eq!(late, "deny: ByPolicy");
}

#[test]
fn asked_ahead_nothing_is_remembered_for_the_request_that_follows() {
    let snapshot = snapshot(&open_when(
        "action == Action::\"payments.createRefund\" && context has body && context.body.amount <= 1",
    ));
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    assert_eq!(told(cache, &snapshot, &ana, REFUND, &ahead()), "deny: ByPolicy");
    assert_eq!(told(cache, &snapshot, &ana, REFUND, &context(1)), "permit");
    assert_eq!(told(cache, &snapshot, &ana, REFUND, &ahead()), "deny: ByPolicy");
}

#[test]
fn what_is_remembered_is_not_evaluated_again() {
    let erring = snapshot(&open_when(
        "action == Action::\"payments.createRefund\" && context has body && context.body.amount + 9223372036854775807 > 0",
    ));
    let ana = subject("ana", &[]);
    let evaluations = |cache: &mut DecisionCache, times: u32| {
        let before = erring.bundle().evaluation_errors().permits();
        for _ in 0..times {
            let _ = ask(&erring, &ana, REFUND, &context(1), cache);
        }
        erring.bundle().evaluation_errors().permits() - before
    };
    assert_eq!(evaluations(&mut DecisionCache::default(), 5), 1);
    assert_eq!(evaluations(&mut DecisionCache::disabled(), 5), 5);
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let mut map = Generations::new(4);
    for key in 0..1_000_u32 {
        map.insert(key, key);
        assert_eq!(map.lookup(&0), Some(0), "after {key}");
        assert!(map.young.len() + map.old.len() <= 8);
    }
    assert_eq!(map.lookup(&1), None);
}

#[test]
fn outcomes_of_large_bodies_are_not_kept() {
    let snapshot = snapshot(&open_when(
        "action == Action::\"payments.createRefund\" && context has body && context.body.currency like \"E*\"",
    ));
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let large = Value::String("E".repeat(HEAVIEST + 1));
    let large = with_body(&[("amount", Value::Long(1)), ("currency", large)]);
    assert_eq!(told(cache, &snapshot, &ana, REFUND, &large), "permit");
    assert!(cache.outcomes.as_ref().unwrap().young.is_empty());
    assert_eq!(told(cache, &snapshot, &ana, REFUND, &context(1)), "permit");
    assert_eq!(cache.outcomes.as_ref().unwrap().young.len(), 1);
}

#[test]
fn values_that_hash_alike_are_still_compared() {
    let values = [Kept::Text("EUR".into()), Kept::Value(Value::Long(1))];
    let entry = Entry { values: values.into(), outcome: Outcome::Ways([].into()) };
    let is_for = |currency, amount| {
        let amount = Value::Long(amount);
        entry.is_for([Look::Text(currency), Look::Value(&amount)].into_iter())
    };
    assert!(is_for("EUR", 1));
    assert!(!is_for("USD", 1));
    assert!(!is_for("EUR", 2));
    assert!(!entry.is_for([Look::Absent, Look::Present].into_iter()));
}

//! Who is on call, and which incidents are open; and what is not known of either.

use jiff::SignedDuration;
use portcullis_model::{Grant, Incident};

use super::*;
use crate::fixture::{
    ahead, ask, context, grant, incident, now, schedule, snapshot, subject, tell,
};

const REFUND: &str = "payments.createRefund";

const ONCALL: &str = r#"
@id("oncall") @reviews("0") @max_duration("30m")
permit (principal is User in Group::"payments-oncall", action == Action::"payments.createRefund", resource in Service::"payments")
when {
  context has grant && context.grant has incident && context.grant.incident.open &&
  context.grant.incident.services.contains(Service::"payments") &&
  principal has onCall && principal.onCall.contains(Schedule::"primary")
};
"#;

/// Whoever is on the schedule may; the first condition is put before a forbid.
fn floor(clause: &str) -> String {
    format!(
        "@id(\"open\") permit (principal, action, resource in Service::\"payments\");
         @id(\"floor\") forbid (principal is User, action, resource in Service::\"payments\") {clause};"
    )
}

fn in_an_hour() -> Timestamp {
    now() + SignedDuration::from_hours(1)
}

fn later(hours: i64) -> Context {
    Context { now: now() + SignedDuration::from_hours(hours), ..context(1) }
}

/// What is decided, ahead of time and at the gate; with a cache, and without one.
fn told(
    snapshot: &Snapshot,
    who: &Subject,
    context: &Context,
    cache: &mut DecisionCache,
) -> String {
    let remembered = tell(&ask(snapshot, who, REFUND, context, cache));
    let evaluated = ask(snapshot, who, REFUND, context, &mut DecisionCache::disabled());
    assert_eq!(remembered, tell(&evaluated), "remembered and evaluated differ");
    let before = Context { now: context.now, ..ahead() };
    let before = ask(snapshot, who, REFUND, &before, cache);
    let conditions = before.to_be_checked.len();
    assert_eq!((remembered.as_str(), 0), (tell(&before).as_str(), conditions), "ahead of time");
    remembered
}

fn known(policies: &str, until: Option<Timestamp>) -> Snapshot {
    snapshot(policies).with_schedule(schedule("primary", &["ana"], until))
}

#[test]
fn an_incident_and_a_schedule_open_by_themselves() {
    let cache = &mut DecisionCache::default();
    let (ana, ben) = (subject("ana", &["payments-oncall"]), subject("ben", &["payments-oncall"]));
    let quiet = known(ONCALL, None);
    assert_eq!(told(&quiet, &ana, &context(1), cache), "deny: ByPolicy", "no incident");
    let broken = quiet.clone().with_incident(Arc::new(incident("PD-1", &["payments"])));
    assert_eq!(told(&broken, &ana, &context(1), cache), "requestable: oncall/automatic/0@PD-1");
    assert_eq!(told(&broken, &ben, &context(1), cache), "deny: ByPolicy", "not on call");
    let handed_over = broken.with_schedule(schedule("primary", &["ben"], None));
    assert_eq!(told(&handed_over, &ana, &context(1), cache), "deny: ByPolicy");
    assert_eq!(
        told(&handed_over, &ben, &context(1), cache),
        "requestable: oncall/automatic/0@PD-1"
    );
}

#[test]
fn n07_an_incident_of_another_service_or_a_closed_one_opens_nothing() {
    let ana = subject("ana", &["payments-oncall"]);
    let cache = &mut DecisionCache::default();
    let other = known(ONCALL, None).with_incident(Arc::new(incident("PD-1", &["ledger"])));
    assert_eq!(told(&other, &ana, &context(1), cache), "deny: ByPolicy");
    let one = incident("PD-2", &["payments"]);
    let open = other.with_incident(Arc::new(one.clone()));
    let held = Grant { incident: Some(one.id.clone()), ..grant(&ana, "oncall", 0) };
    let held = open.with_grant(Arc::new(held), now());
    assert_eq!(told(&held, &ana, &context(1), cache), "permit by grant");
    // Before anybody has ended the grant itself.
    let by = ana.principal().id.clone();
    let closed = one.clone().close(now(), by).unwrap();
    let shut = held.clone().with_incident(Arc::new(closed));
    assert_eq!(told(&shut, &ana, &context(1), cache), "deny: ByPolicy");
    let services = ["ledger".parse().unwrap()].into();
    let moved = Incident { services, ..one.clone().updated(now()) };
    assert_eq!(
        told(&held.clone().with_incident(Arc::new(moved)), &ana, &context(1), cache),
        "deny: ByPolicy"
    );
    // A grant without an incident is none of this rule.
    let bare = known(ONCALL, None).with_incident(Arc::new(one));
    let bare = bare.with_grant(Arc::new(grant(&ana, "oncall", 0)), now());
    let cache = &mut DecisionCache::default();
    let offered = "requestable: oncall/automatic/0@PD-2";
    assert_eq!(told(&bare, &ana, &context(1), cache), offered);
}

#[test]
fn n07_a_rule_may_want_an_incident_that_somebody_else_opened() {
    let rule = ONCALL.replace(
        "context.grant.incident.open &&",
        r#"context.grant.incident has openedBy && !(context.grant.incident.openedBy == principal) &&
           context.grant.incident.source like "api:*" &&"#,
    );
    let (ana, lea) = (subject("ana", &["payments-oncall"]), subject("lea", &["payments-oncall"]));
    let people = schedule("primary", &["ana", "lea"], None);
    let snapshot = snapshot(&rule)
        .with_schedule(people)
        .with_incident(Arc::new(incident("PD-1", &["payments"])));
    let cache = &mut DecisionCache::default();
    assert_eq!(told(&snapshot, &ana, &context(1), cache), "requestable: oncall/automatic/0@PD-1");
    assert_eq!(told(&snapshot, &lea, &context(1), cache), "deny: ByPolicy");
}

#[test]
fn ways_are_tried_for_the_newest_incidents_and_for_the_one_that_is_named() {
    let ana = subject("ana", &["payments-oncall"]);
    let mut snapshot = known(ONCALL, None);
    for number in 0..12_i64 {
        let opened_at = now() + SignedDuration::from_secs(number);
        let one = Incident { opened_at, ..incident(&format!("PD-{number}"), &["payments"]) };
        snapshot = snapshot.with_incident(Arc::new(one));
    }
    let verdict = ask(&snapshot, &ana, REFUND, &context(1), &mut DecisionCache::default());
    let Answer::Requestable(ways) = verdict.answer else { panic!("{verdict:?}") };
    let named: Vec<_> = ways.iter().filter_map(|way| way.incident.as_ref()).collect();
    let newest = ["PD-11", "PD-10", "PD-9", "PD-8", "PD-7", "PD-6", "PD-5", "PD-4"];
    assert_eq!(named.iter().map(|id| id.as_str()).collect::<Vec<_>>(), newest);
    let resource = Resource { service: "payments".parse().unwrap(), instance: None };
    let (operation, one) = (REFUND.parse().unwrap(), "PD-1".parse().unwrap());
    for context in [&context(1), &ahead()] {
        let query = Query {
            subject: &ana,
            operation: &operation,
            resource: &resource,
            context,
            digest: None,
            incident: Some(&one),
            only: None,
        };
        let verdict = snapshot.decide(&query, &mut DecisionCache::default());
        assert_eq!(tell(&verdict), "requestable: oncall/automatic/0@PD-1");
    }
}

#[test]
fn a_rule_that_needs_no_incident_offers_none() {
    let rule = r#"@id("any") @reviews("1") permit (principal, action, resource in Service::"payments")
        when { context has grant };
        @id("bad") @reviews("1") permit (principal, action, resource in Service::"payments")
        when { context has grant && context.grant has incident && context.grant.incident.severity == "sev1" };"#;
    let snapshot = snapshot(rule).with_incident(Arc::new(incident("PD-1", &["payments"])));
    let cache = &mut DecisionCache::default();
    let offered = "requestable: any/review/1 bad/review/1@PD-1";
    assert_eq!(told(&snapshot, &subject("ana", &[]), &context(1), cache), offered);
}

#[test]
fn a_floor_may_be_lifted_by_an_incident() {
    let rule = r#"@id("any") @reviews("0") permit (principal, action, resource in Service::"payments")
        when { context has grant };
        @id("floor") forbid (principal, action, resource in Service::"payments")
        unless { context has grant && context.grant has incident && context.grant.incident.severity == "sev1" };"#;
    let snapshot = snapshot(rule);
    let ana = subject("ana", &[]);
    let cache = &mut DecisionCache::default();
    assert_eq!(told(&snapshot, &ana, &context(1), cache), "deny: ByPolicy");
    let stale = Some(in_an_hour());
    let one = Incident { fresh_until: stale, ..incident("PD-1", &["payments"]) };
    let broken = snapshot.with_incident(Arc::new(one.clone()));
    assert_eq!(told(&broken, &ana, &context(1), cache), "requestable: any/automatic/0@PD-1");
    let held = Grant {
        incident: Some(one.id),
        expires_at: now() + SignedDuration::from_hours(5),
        ..grant(&ana, "any", 0)
    };
    let held = broken.with_grant(Arc::new(held), now());
    assert_eq!(told(&held, &ana, &context(1), cache), "permit by grant");
    // Its limit is over: the forbid reads what is unknown, and denies.
    assert_eq!(told(&held, &ana, &later(2), cache), "deny: ByPolicy");
}

#[test]
fn n06_a_permit_that_reads_a_stale_schedule_does_not_apply() {
    let policy = r#"@id("read") permit (principal, action, resource in Service::"payments")
        when { principal is User && principal has onCall && principal.onCall.contains(Schedule::"primary") };"#;
    let cache = &mut DecisionCache::default();
    let (ana, ben) = (subject("ana", &[]), subject("ben", &[]));
    let snapshot = known(policy, Some(in_an_hour()));
    assert_eq!(told(&snapshot, &ana, &context(1), cache), "permit");
    assert_eq!(told(&snapshot, &ben, &context(1), cache), "deny: ByPolicy");
    assert_eq!(told(&snapshot, &ana, &later(2), cache), "deny: ByPolicy");
    assert_eq!(told(&snapshot, &ana, &context(1), cache), "permit");
    let again = snapshot.with_schedule(schedule("primary", &["ana"], None));
    assert_eq!(told(&again, &ana, &later(2), cache), "permit", "it was said again");
}

#[test]
fn n06_a_permit_that_wants_somebody_off_call_does_not_apply_either() {
    let policy = r#"@id("read") permit (principal, action, resource in Service::"payments")
        when { principal is User && !(principal has onCall && principal.onCall.contains(Schedule::"primary")) };"#;
    let cache = &mut DecisionCache::default();
    let ben = subject("ben", &[]);
    let snapshot = known(policy, Some(in_an_hour()));
    assert_eq!(told(&snapshot, &ben, &context(1), cache), "permit");
    assert_eq!(told(&snapshot, &ben, &later(2), cache), "deny: ByPolicy");
}

#[test]
fn n06_a_forbid_unless_on_call_denies_while_it_is_unknown() {
    let policy = floor(
        "unless { principal has onCall && principal.onCall.contains(Schedule::\"primary\") }",
    );
    let cache = &mut DecisionCache::default();
    let ana = subject("ana", &[]);
    let snapshot = known(&policy, Some(in_an_hour()));
    assert_eq!(told(&snapshot, &ana, &context(1), cache), "permit");
    assert_eq!(told(&snapshot, &ana, &later(2), cache), "deny: ByPolicy");
}

#[test]
fn n06_a_forbid_when_on_call_denies_while_it_is_unknown() {
    let policy =
        floor("when { principal has onCall && principal.onCall.contains(Schedule::\"primary\") }");
    let cache = &mut DecisionCache::default();
    let (ana, ben) = (subject("ana", &[]), subject("ben", &[]));
    let snapshot = known(&policy, Some(in_an_hour()));
    assert_eq!(told(&snapshot, &ana, &context(1), cache), "deny: ByPolicy");
    assert_eq!(told(&snapshot, &ben, &context(1), cache), "permit");
    assert_eq!(told(&snapshot, &ben, &later(2), cache), "deny: ByPolicy");
}

#[test]
fn n06_a_forbid_lets_pass_what_another_unless_of_it_lets_pass_without_the_fact() {
    let policy = floor(
        "unless { principal has onCall && principal.onCall.contains(Schedule::\"primary\") }
         unless { principal in Group::\"leads\" }",
    );
    let cache = &mut DecisionCache::default();
    let (lea, ben) = (subject("lea", &["leads"]), subject("ben", &[]));
    let snapshot = known(&policy, Some(in_an_hour()));
    assert_eq!(told(&snapshot, &lea, &later(2), cache), "permit");
    assert_eq!(told(&snapshot, &ben, &later(2), cache), "deny: ByPolicy");
}

#[test]
fn n06_a_schedule_that_nobody_spoke_of_is_unknown_and_another_one_is_not() {
    let when = |name: &str| {
        floor(&format!(
            "when {{ principal has onCall && principal.onCall.contains(Schedule::\"{name}\") }}"
        ))
    };
    let cache = &mut DecisionCache::default();
    let ben = subject("ben", &[]);
    assert_eq!(told(&known(&when("other"), None), &ben, &context(1), cache), "deny: ByPolicy");
    let cache = &mut DecisionCache::default();
    let both = known(&when("primary"), None).with_schedule(schedule(
        "other",
        &["ben"],
        Some(in_an_hour()),
    ));
    assert_eq!(told(&both, &ben, &later(2), cache), "permit", "the stale one does not matter");
    let cache = &mut DecisionCache::default();
    let any = floor("when { principal has onCall }");
    let any = known(&any, None).with_schedule(schedule("other", &[], Some(in_an_hour())));
    assert_eq!(told(&any, &ben, &context(1), cache), "permit");
    assert_eq!(told(&any, &ben, &later(2), cache), "deny: ByPolicy", "it could be any of them");
}

#[test]
fn n06_a_stale_incident_opens_nothing_and_is_not_offered() {
    let ana = subject("ana", &["payments-oncall"]);
    let cache = &mut DecisionCache::default();
    let one = Incident { fresh_until: Some(in_an_hour()), ..incident("PD-1", &["payments"]) };
    let snapshot = known(ONCALL, None).with_incident(Arc::new(one.clone()));
    let held = Grant {
        incident: Some(one.id.clone()),
        expires_at: now() + SignedDuration::from_hours(5),
        ..grant(&ana, "oncall", 0)
    };
    let held = snapshot.clone().with_grant(Arc::new(held), now());
    assert_eq!(told(&snapshot, &ana, &later(2), cache), "deny: ByPolicy");
    assert_eq!(told(&held, &ana, &context(1), cache), "permit by grant");
    assert_eq!(told(&held, &ana, &later(2), cache), "deny: ByPolicy");
    let said = Incident { fresh_until: None, ..one.updated(now()) };
    assert_eq!(
        told(&held.with_incident(Arc::new(said)), &ana, &later(2), cache),
        "permit by grant"
    );
}

#[test]
fn a_token_cannot_say_that_somebody_is_on_call() {
    let policy = r#"@id("read") permit (principal, action, resource in Service::"payments")
        when { principal is User && principal has onCall };"#;
    let mut liar = crate::fixture::person("liar", &[]);
    let claim = portcullis_model::AttributeValue::String("primary".to_owned());
    liar.claims.insert("onCall".to_owned(), claim);
    let liar = Subject::new(Arc::new(liar));
    let cache = &mut DecisionCache::default();
    assert_eq!(told(&known(policy, None), &liar, &context(1), cache), "deny: ByPolicy");
}

#[test]
fn what_facts_say_is_valid_until_their_limit() {
    let policy = r#"@id("read") permit (principal, action, resource in Service::"payments")
        when { principal is User && principal has onCall && principal.onCall.contains(Schedule::"primary") };"#;
    let snapshot = known(policy, Some(in_an_hour()));
    let verdict =
        ask(&snapshot, &subject("ana", &[]), REFUND, &context(1), &mut DecisionCache::default());
    assert_eq!(verdict.valid_until, Some(in_an_hour()));
    let Answer::Permit(pass) = verdict.answer else { panic!("no permit") };
    assert!(pass.rereads_time(), "a live connection is decided again");
}

const NIGHT: &str = r#"@id("night") permit (principal, action, resource in Service::"payments")
    when { context.clock.office.minute >= 1320 || context.clock.office.minute < 360 };"#;

fn at(time: &str) -> Context {
    Context { now: time.parse().unwrap(), ..context(1) }
}

#[test]
fn m08_a_window_from_ten_at_night_to_six_is_open_at_one() {
    let snapshot = snapshot(NIGHT);
    let ana = subject("ana", &[]);
    let cache = &mut DecisionCache::default();
    let mut told = |time: &str| {
        let remembered = tell(&ask(&snapshot, &ana, REFUND, &at(time), cache));
        let evaluated = ask(&snapshot, &ana, REFUND, &at(time), &mut DecisionCache::disabled());
        assert_eq!(remembered, tell(&evaluated), "{time}");
        remembered == "permit"
    };
    // In winter Lisbon is UTC, in summer an hour ahead.
    for (time, open) in [
        ("2026-01-10T21:59:59Z", false),
        ("2026-01-10T22:00:00Z", true),
        ("2026-01-11T01:00:00Z", true),
        ("2026-01-11T05:59:59Z", true),
        ("2026-01-11T06:00:00Z", false),
        ("2026-07-10T20:59:59Z", false),
        ("2026-07-10T21:00:00Z", true),
        ("2026-07-11T05:00:00Z", false),
        ("2026-01-11T01:00:00Z", true),
    ] {
        assert_eq!(told(time), open, "{time}");
    }
}

#[test]
fn e31_windows_over_an_hour_that_is_missing_or_comes_twice() {
    let window = r#"@id("early") permit (principal, action, resource in Service::"payments")
        when { context.clock.office.weekday == 7 && context.clock.office.minute >= 60 && context.clock.office.minute < 120 };"#;
    let snapshot = snapshot(window);
    let ana = subject("ana", &[]);
    let cache = &mut DecisionCache::default();
    let mut told = |time: &str| tell(&ask(&snapshot, &ana, REFUND, &at(time), cache));
    // Sunday, and the hour from one to two is not there.
    for time in ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"] {
        assert_eq!(told(time), "deny: ByPolicy", "{time}");
    }
    // Sunday, and it is there twice.
    for time in ["2026-10-25T00:00:00Z", "2026-10-25T00:59:59Z", "2026-10-25T01:59:59Z"] {
        assert_eq!(told(time), "permit", "{time}");
    }
    assert_eq!(told("2026-10-25T02:00:00Z"), "deny: ByPolicy");
}

#[test]
fn what_a_clock_opens_is_valid_to_the_end_of_the_minute_and_unknown_ahead() {
    let snapshot = snapshot(NIGHT);
    let ana = subject("ana", &[]);
    let cache = &mut DecisionCache::default();
    let verdict = ask(&snapshot, &ana, REFUND, &at("2026-01-10T22:00:30Z"), cache);
    assert_eq!(verdict.valid_until, Some("2026-01-10T22:01:00Z".parse().unwrap()));
    let Answer::Permit(pass) = verdict.answer else { panic!("no permit") };
    assert!(pass.rereads_time(), "a live connection is decided again");
    let before = Context { now: "2026-01-10T12:00:00Z".parse().unwrap(), ..ahead() };
    let verdict = ask(&snapshot, &ana, REFUND, &before, cache);
    assert_eq!(verdict.to_be_checked.len(), 1, "{verdict:?}");
    assert!(verdict.to_be_checked[0].contains("clock"), "{verdict:?}");
}

#[test]
fn m08_a_workload_that_asks_outside_a_window_has_no_way_and_a_person_may_ask_for_later() {
    let rule = r#"@id("night") @reviews("0") permit (principal, action, resource in Service::"payments")
        when { context has grant && (context.clock.office.minute >= 1320 || context.clock.office.minute < 360) };"#;
    let snapshot = snapshot(rule);
    let build = Subject::new(Arc::new(crate::fixture::workload(&[])));
    let ahead = |time: &str| Context { now: time.parse().unwrap(), ..ahead() };
    let (day, night) = (ahead("2026-01-10T12:00:00Z"), ahead("2026-01-10T23:00:00Z"));
    let ask = |who: &Subject, when: &Context| {
        ask(&snapshot, who, REFUND, when, &mut DecisionCache::disabled())
    };
    assert_eq!(tell(&ask(&build, &day)), "deny: ByPolicy");
    let within = ask(&build, &night);
    assert_eq!(tell(&within), "requestable: night/automatic/0");
    assert!(within.to_be_checked.is_empty(), "{within:?}");
    for when in [&day, &night] {
        let asked = ask(&subject("ana", &[]), when);
        assert_eq!(tell(&asked), "requestable: night/automatic/0");
        assert_eq!(asked.to_be_checked.len(), 1, "{asked:?}");
    }
}

#[test]
fn people_of_a_rotation_are_on_call_when_it_is_their_turn() {
    let policy = r#"@id("read") permit (principal, action, resource in Service::"payments")
        when { principal is User && principal has onCall && principal.onCall.contains(Schedule::"primary") };"#;
    let mut source = crate::fixture::source(policy);
    let rotation = crate::bundle::RotationSource {
        people: ["corp:ana", "corp:ben"].map(str::to_owned).into(),
        zone: "UTC".to_owned(),
        from: "2026-03-01T12:00".to_owned(),
        every_days: 1,
    };
    source.rotations.insert("primary".parse().unwrap(), rotation);
    let bundle = Arc::new(Bundle::load(&source).unwrap());
    let said = schedule("primary", &["ben"], None);
    let snapshot = Snapshot::new(bundle, 1).with_schedule(said);
    let cache = &mut DecisionCache::default();
    let (ana, ben) = (subject("ana", &[]), subject("ben", &[]));
    for (hours, ana_is, ben_is) in
        [(0, true, false), (25, false, true), (49, true, false), (1, true, false)]
    {
        assert_eq!(told(&snapshot, &ana, &later(hours), cache) == "permit", ana_is, "{hours}");
        assert_eq!(told(&snapshot, &ben, &later(hours), cache) == "permit", ben_is, "{hours}");
    }
    assert_eq!(told(&snapshot, &ben, &later(-1), cache), "deny: ByPolicy", "not begun");
    let verdict = ask(&snapshot, &ana, REFUND, &later(1), cache);
    assert_eq!(verdict.valid_until, Some(now() + SignedDuration::from_hours(24)));
}

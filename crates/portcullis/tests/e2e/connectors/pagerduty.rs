//! PagerDuty, end to end.

use serde_json::{Value, json};

use super::{Told, stream, ways};
use crate::{
    house::Plan,
    payments::{Visitor, ana, ben, grant, lea},
    vendor::Vendor,
};

const TOKEN: &str = "y_NbAkKc66ryYTWUXYEu";
const SECRET: &str = "whs-new-2f6d5c3f9a";
const OLD: &str = "whs-old-81b2aa0c11";
const ROUTING: &str = "e93facc04764012d7bfb002500d5d1a6";

/// Asked every second, and what it said is known for so long.
pub(super) fn told(fresh_for: &str, furnish: impl FnOnce(Plan) -> Plan) -> Told {
    asked_every("1s", fresh_for, furnish)
}

/// Asked so often.
pub(super) fn asked_every(poll: &str, fresh_for: &str, furnish: impl FnOnce(Plan) -> Plan) -> Told {
    let vendor = Vendor::start("pagerduty_peer.py", &[TOKEN, SECRET, OLD, ROUTING]);
    vendor.order(&json!({"do": "user", "id": "PANA", "email": "Ana@example.com"}));
    vendor.order(&json!({"do": "user", "id": "PLEA", "email": "lea@example.com"}));
    vendor.order(&json!({"do": "shift", "schedule": "PSCHED1", "users": ["PANA"]}));
    let url = &vendor.url;
    let connectors = format!(
        "{{pagerduty: {{url: \"{url}\", token: {{file: pd.token}}, webhook: {{file: pd.secret}}, \
         services: {{payments: PPAY, sse: [PSSE]}}, severities: {{P1: sev1}}, \
         schedules: {{payments-primary: PSCHED1}}, \
         people: {{by_email: corp, named: {{PBEN: \"corp:ben\"}}}}, \
         poll: {poll}, fresh_for: {fresh_for}, notes_from: lea@example.com, \
         urgent: {{urgent: {{file: pd.routing}}}}, events_url: \"{url}/v2/enqueue\"}}}}"
    );
    let told = Told::by(vendor, &connectors, |plan| {
        let plan = plan.file("pd.token", TOKEN).file("pd.secret", SECRET);
        furnish(plan.file("pd.routing", ROUTING))
    });
    told.aim("pagerduty");
    told
}

pub(super) fn trigger(number: u32, service: &str, more: Value) -> Value {
    let mut order = json!({"do": "trigger", "number": number, "service": service});
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

pub(super) fn on_call(told: &Told, ana: &Visitor<'_>) {
    told.schedule(ana, |it| it["known"] == true && it["people"] == json!(["corp:ana"]));
}

#[test]
fn an_incident_opens_by_message_and_its_end_cuts_what_it_opened() {
    let told = told("5m", |plan| plan);
    let (ana, ben) = (told.payments.enter(&ana()), told.payments.enter(&ben()));
    on_call(&told, &ana);
    assert!(ways(&ana.refund(1), "refund.incident").is_empty());

    assert_eq!(told.order(&trigger(4711, "PSSE", json!({"users": ["PBEN"]})))["status"], 202);
    let seen = told.incident(&ana, "PD-4711", |it| it["state"] == "open");
    assert_eq!((&seen["source"], &seen["severity"]), (&json!("pagerduty"), &json!("sev1")));
    assert_eq!(seen["services"], json!(["sse"]));
    assert_eq!(seen["responders"], json!(["corp:ben"]));
    assert!(seen["fresh_until"].is_string(), "{seen:#}");

    let ask =
        json!({"queries": [{"operation": "sse.GET"}], "reason": "watching", "incident": "PD-4711"});
    let asked = ana.call("POST", "/v1/access-requests", Some(ask.clone())).json();
    let granted = grant(&asked);
    assert_eq!(asked["incident"]["source"], "pagerduty");
    // Ben works on it, and is not on call.
    assert_eq!(ben.call("POST", "/v1/access-requests", Some(ask)).status, 403);
    let mut wire = stream(&told, &ana);
    assert_eq!(told.order(&json!({"do": "resolve", "number": 4711}))["status"], 202);
    assert!(wire.until_closed().is_some(), "it goes on after its incident");
    let ended = told.payments.event("grant_ended", |event| event["grant"] == granted.as_str());
    assert_eq!(ended["decision"], "incident_resolved");
    assert_eq!(ended["incident"], "PD-4711");
    told.incident(&ana, "PD-4711", |it| it["state"] == "closed");
    let opened = told.payments.event("incident_opened", |event| event["incident"] == "PD-4711");
    assert!(opened["detail"].as_str().unwrap().contains("from pagerduty"), "{opened:#}");

    let notes = told.written(|it| {
        it["notes"].as_array().is_some_and(|notes| {
            notes.iter().any(|note| note["content"].to_string().contains("Access ended"))
        })
    });
    let all = notes["notes"].to_string();
    for part in
        ["Access given: corp:ana may sse.GET, until ", "incident resolved", "/v1/evidence/PD-4711"]
    {
        assert!(all.contains(part), "{part}: {notes:#}");
    }
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn a_lost_message_is_found_by_asking_page_by_page_also_where_calls_are_limited() {
    let told = told("5m", |plan| plan);
    let ana = told.payments.enter(&ana());
    on_call(&told, &ana);
    told.order(&json!({"do": "limit", "calls": 2}));
    for number in 1..=5 {
        told.order(&trigger(number, "PPAY", json!({"hook": false, "users": ["PANA"]})));
    }
    // Nobody's here.
    told.order(&trigger(6, "PELSE", json!({})));
    for number in 1..=5 {
        let seen = told.incident(&ana, &format!("PD-{number}"), |it| it["state"] == "open");
        assert_eq!(seen["responders"], json!(["corp:ana"]), "by e-mail");
    }
    let others = ana.call("GET", "/v1/incidents/PD-6", None);
    assert_eq!(others.status, 404, "{}", others.text());
    grant(&ana.ask(&ana.refund(1), json!({"rule": "refund.incident", "incident": "PD-3"})).json());
    assert_eq!(ana.refund(1).status, 200);
    // Its end is lost, too; and one that is deleted there is over.
    told.order(&json!({"do": "resolve", "number": 3, "hook": false}));
    told.incident(&ana, "PD-3", |it| it["state"] == "closed");
    assert_eq!(ana.refund(1).status, 403);
    told.order(&json!({"do": "forget", "number": 4}));
    told.incident(&ana, "PD-4", |it| it["state"] == "closed");
    // Whoever joins is a responder, though the message does not say all.
    told.order(&json!({"do": "join", "number": 5, "user": "PBEN"}));
    told.incident(&ana, "PD-5", |it| it["responders"] == json!(["corp:ana", "corp:ben"]));
    told.order(&json!({"do": "move", "number": 5, "service": "PELSE"}));
    told.incident(&ana, "PD-5", |it| it["state"] == "closed");
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn messages_count_once_and_in_the_order_of_what_they_tell() {
    let told = told("5m", |plan| plan);
    let ana = told.payments.enter(&ana());
    on_call(&told, &ana);
    // Asking says nothing meanwhile: it is the messages that count.
    told.order(&json!({"do": "down"}));
    let opened = told.order(&trigger(1, "PPAY", json!({"hook": false, "offset": -3})));
    let acknowledged =
        told.order(&json!({"do": "acknowledge", "number": 1, "hook": false, "offset": -2}));
    let resolved = told.order(&json!({"do": "resolve", "number": 1, "hook": false, "offset": -1}));
    let reopened = told.order(&json!({"do": "reopen", "number": 1, "hook": false}));
    let deliver = |made: &Value| assert_eq!(told.vendor.deliver(made, "right"), 202);
    // Its end is heard of first: it never opens.
    deliver(&resolved);
    deliver(&opened);
    deliver(&acknowledged);
    let seen = told.incident(&ana, "PD-1", |_| true);
    assert_eq!(seen["state"], "closed");
    deliver(&reopened);
    deliver(&reopened);
    deliver(&resolved);
    deliver(&opened);
    assert_eq!(told.incident(&ana, "PD-1", |_| true)["state"], "open");
    let older = |one: &Value| one["detail"].to_string().contains("less about incident `PD-1`");
    told.payments.record(|all| {
        all.iter().filter(|one| one["type"] == "hook_refused" && older(one)).count() == 4
    });
    assert_eq!(told.count("incident_opened", |one| one["incident"] == "PD-1"), 1);
}

#[test]
fn forged_late_and_foreign_messages_do_nothing_and_are_on_record() {
    let told = told("5m", |plan| plan);
    let (ana, lea) = (told.payments.enter(&ana()), told.payments.enter(&lea()));
    on_call(&told, &ana);
    told.order(&json!({"do": "down"}));
    let made = told.order(&trigger(1, "PPAY", json!({"hook": false})));
    for sign in ["wrong", "none", "other body", "old"] {
        assert_eq!(told.vendor.deliver(&made, sign), 401, "{sign}");
    }
    let refused = |why: &str| {
        let event =
            told.payments.event("hook_refused", |one| one["detail"].to_string().contains(why));
        assert_eq!(event["source"], "127.0.0.1");
    };
    refused("signature is not right");
    let old = told.order(&trigger(2, "PPAY", json!({"hook": false, "offset": -3600})));
    let early = told.order(&trigger(3, "PPAY", json!({"hook": false, "offset": 3600})));
    for made in [&old, &early] {
        assert_eq!(told.vendor.deliver(made, "right"), 202, "or it sends nothing any more");
    }
    refused("too old to open incident `PD-2`");
    refused("too late, or too early");
    assert_eq!(told.order(&json!({"do": "other", "kind": "incident.novelty"}))["status"], 202);
    for number in 1..=3 {
        assert_eq!(ana.call("GET", &format!("/v1/incidents/PD-{number}"), None).status, 404);
    }
    // While the secret changes there are two signatures.
    assert_eq!(told.vendor.deliver(&made, "rotating"), 202);
    told.incident(&ana, "PD-1", |it| it["state"] == "open");

    // Nobody takes over what is another's.
    let mine = json!({"title": "mine", "severity": "sev1", "services": ["payments"]});
    let mut theirs = mine.clone();
    theirs["id"] = json!("PD-9");
    let answer = lea.call("POST", "/v1/incidents", Some(theirs));
    assert_eq!(answer.status, 400, "{}", answer.text());
    for what in ["close", "reopen"] {
        let answer = lea.call("POST", &format!("/v1/incidents/PD-1/{what}"), None);
        assert_eq!(answer.status, 409, "{what}: {}", answer.text());
    }
    let change = json!({"responders": ["corp:lea"]});
    assert_eq!(lea.call("PATCH", "/v1/incidents/PD-1", Some(change)).status, 409);
    let people = json!({"people": ["corp:lea"]});
    let answer = lea.call("PUT", "/v1/schedules/payments-primary", Some(people));
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(lea.call("POST", "/v1/incidents", Some(mine)).status, 201);
}

#[test]
fn n06_when_the_system_falls_silent_what_it_keeps_is_unknown_and_cuts() {
    let mut told = told("3s", |plan| plan);
    let ana_token = {
        let ana = told.payments.enter(&ana());
        on_call(&told, &ana);
        told.order(&trigger(1, "PSSE", json!({})));
        told.incident(&ana, "PD-1", |it| it["state"] == "open");
        let ask = json!({"queries": [{"operation": "sse.GET"}], "reason": "watching", "incident": "PD-1"});
        let asked = ana.call("POST", "/v1/access-requests", Some(ask.clone())).json();
        grant(&asked);
        let mut wire = stream(&told, &ana);
        told.order(&json!({"do": "down"}));
        assert!(wire.until_closed().is_some(), "what it opened goes on");
        told.schedule(&ana, |it| it["known"] == false);
        let failing = told.payments.event("connector_failing", |_| true);
        assert!(failing["detail"].to_string().contains("it answered 503"), "{failing:#}");
        assert_eq!(ana.call("POST", "/v1/access-requests", Some(ask)).status, 403);
        ana.control.clone()
    };
    // A restart makes nothing known.
    told.payments.house.kill();
    told.payments.house.restart();
    let known = |told: &Told| {
        let answer = told.payments.house.api("GET", "/v1/schedules", Some(&ana_token), None);
        answer.json()["schedules"][0]["known"] == true
    };
    assert!(!known(&told));
    told.order(&json!({"do": "up"}));
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !known(&told) {
        assert!(std::time::Instant::now() < deadline, "{}", told.payments.house.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(told.vendor.faults(), json!([]));
}

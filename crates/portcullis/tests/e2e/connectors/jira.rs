//! Jira Service Management, end to end.

use serde_json::{Value, json};

use super::{Told, stream};
use crate::{
    payments::{ana, ben, grant},
    vendor::Vendor,
};

const USER: &str = "portcullis@example.com";
const TOKEN: &str = "ATATT3xFfGF0";
const SECRET: &str = "jira-webhook-secret-5d";
const CLOUD: &str = "11223344-a1b2-3b33-c444-def123456789";

fn told() -> Told {
    let vendor = Vendor::start("jira_peer.py", &[USER, TOKEN, SECRET, CLOUD]);
    vendor.order(&json!({"do": "user", "id": "5b10ana", "email": "ana@example.com"}));
    vendor.order(&json!({"do": "shift", "schedule": "f8f2a4ec", "users": ["5b10ana"]}));
    let url = &vendor.url;
    let connectors = format!(
        "{{jira_service_management: {{url: \"{url}\", token: {{file: jira.token}}, user: {USER}, \
         cloud: {CLOUD}, project: OPS, webhook: {{file: jira.secret}}, notes: true, \
         responders_field: customfield_10200, services: {{payments: Payments API, sse: [Ticker]}}, \
         severities: {{Highest: sev1}}, schedules: {{payments-primary: f8f2a4ec}}, \
         people: {{by_email: corp, named: {{5b10ben: \"corp:ben\"}}}}, poll: 1s}}}}"
    );
    let told = Told::by(vendor, &connectors, |plan| {
        plan.file("jira.token", TOKEN).file("jira.secret", SECRET)
    });
    told.aim("jira_service_management");
    told
}

fn create(key: &str, component: &str, more: Value) -> Value {
    let mut order = json!({"do": "create", "key": key, "component": component});
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

#[test]
fn an_incident_of_jira_opens_by_message_and_its_end_cuts_what_it_opened() {
    let told = told();
    let (ana, _ben) = (told.payments.enter(&ana()), told.payments.enter(&ben()));
    told.schedule(&ana, |it| it["known"] == true && it["people"] == json!(["corp:ana"]));
    let responders = json!({"responders": ["5b10ben"]});
    assert_eq!(told.order(&create("OPS-7", "Ticker", responders))["status"], 202);
    let seen = told.incident(&ana, "JSM-7", |it| it["state"] == "open");
    assert_eq!(seen["source"], "jira_service_management");
    assert_eq!((&seen["severity"], &seen["responders"]), (&json!("sev1"), &json!(["corp:ben"])));
    let ask =
        json!({"queries": [{"operation": "sse.GET"}], "reason": "watching", "incident": "JSM-7"});
    grant(&ana.call("POST", "/v1/access-requests", Some(ask)).json());
    let mut wire = stream(&told, &ana);
    told.order(&json!({"do": "status", "key": "OPS-7", "category": "done"}));
    assert!(wire.until_closed().is_some(), "it goes on after its incident");
    let comments = told.written(|it| it["comments"].to_string().contains("Access ended"));
    let all = comments["comments"].to_string();
    for part in ["Access given: corp:ana may sse.GET", "/v1/evidence/JSM-7", "OPS-7"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn issues_that_are_incidents_are_found_by_asking_though_search_is_behind() {
    let told = told();
    let ana = told.payments.enter(&ana());
    told.order(&json!({"do": "limit", "calls": 1}));
    // Told of, and not found by the first search: it is open all the same.
    told.order(&create("OPS-1", "Payments API", json!({"assignee": "5b10ana"})));
    for number in 2..=5 {
        told.order(&create(&format!("OPS-{number}"), "Payments API", json!({"hook": false})));
    }
    // A task, and another project's.
    told.order(&create("OPS-8", "Payments API", json!({"kind": "Task"})));
    told.order(&create("WEB-9", "Payments API", json!({})));
    for number in 1..=5 {
        told.incident(&ana, &format!("JSM-{number}"), |it| it["state"] == "open");
    }
    told.incident(&ana, "JSM-1", |it| it["responders"] == json!(["corp:ana"]));
    assert_eq!(told.count("incident_closed", |_| true), 0);
    for number in [8, 9] {
        assert_eq!(ana.call("GET", &format!("/v1/incidents/JSM-{number}"), None).status, 404);
    }
    told.order(&json!({"do": "status", "key": "OPS-2", "category": "done", "hook": false}));
    told.incident(&ana, "JSM-2", |it| it["state"] == "closed");
    told.order(&json!({"do": "delete", "key": "OPS-3"}));
    told.incident(&ana, "JSM-3", |it| it["state"] == "closed");
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn forged_and_repeated_messages_of_jira_do_nothing() {
    let told = told();
    let ana = told.payments.enter(&ana());
    told.order(&json!({"do": "down"}));
    let opened = told.order(&create("OPS-1", "Payments API", json!({"hook": false, "offset": -2})));
    let done =
        json!({"do": "status", "key": "OPS-1", "category": "done", "hook": false, "offset": -1});
    let done = told.order(&done);
    for sign in ["wrong", "none", "other body"] {
        assert_eq!(told.vendor.deliver(&opened, sign), 401, "{sign}");
    }
    told.payments.event("hook_refused", |one| one["source"] == "127.0.0.1");
    assert_eq!(ana.call("GET", "/v1/incidents/JSM-1", None).status, 404);
    assert_eq!(told.vendor.deliver(&done, "right"), 202);
    assert_eq!(told.vendor.deliver(&opened, "right"), 202);
    assert_eq!(told.incident(&ana, "JSM-1", |_| true)["state"], "closed");
    assert_eq!(told.order(&json!({"do": "other", "kind": "comment_created"}))["status"], 202);
    let again =
        told.order(&json!({"do": "status", "key": "OPS-1", "category": "new", "hook": false}));
    for _ in 0..2 {
        assert_eq!(told.vendor.deliver(&again, "right"), 202);
    }
    assert_eq!(told.incident(&ana, "JSM-1", |_| true)["state"], "open");
    assert_eq!(told.count("incident_opened", |_| true), 1);
}

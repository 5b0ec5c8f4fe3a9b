//! incident.io, end to end.

use serde_json::{Value, json};

use super::{Told, stream, ways};
use crate::{
    payments::{ana, grant},
    vendor::Vendor,
};

const TOKEN: &str = "inc_key_4f0c3a";
const SECRET: &str = "whsec_c2l4IGFuZCB0aGlydHkgYnl0ZXMgb2Ygbm90aGluZw==";
const FIELD: &str = "01FCNDV6P870EA6S7TK1DSYDG0";
const NOTES: &str = "01GNW4BAQ7XRMFF6FHKNXDFPRW";

fn told() -> Told {
    let vendor = Vendor::start("incident_io_peer.py", &[TOKEN, SECRET, FIELD, NOTES]);
    vendor.order(&json!({"do": "user", "id": "01ANA", "email": "ana@example.com"}));
    vendor.order(&json!({"do": "user", "id": "01BEN", "email": "ben@example.com"}));
    vendor.order(&json!({"do": "shift", "schedule": "01SCHED", "users": ["01BEN", "01ANA"]}));
    let url = &vendor.url;
    let connectors = format!(
        "{{incident_io: {{url: \"{url}\", token: {{file: io.token}}, webhook: [{{file: io.secret}}], \
         service_field: {FIELD}, notes_field: {NOTES}, services: {{payments: 01PAY, sse: 01SSE}}, \
         schedules: {{payments-primary: 01SCHED}}, people: {{by_email: corp}}, poll: 1s}}}}"
    );
    let told = Told::by(vendor, &connectors, |plan| {
        plan.file("io.token", TOKEN).file("io.secret", SECRET)
    });
    told.aim("incident_io");
    told
}

fn declare(number: u32, service: &str, more: Value) -> Value {
    let mut order = json!({"do": "declare", "number": number, "service": service});
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

#[test]
fn an_incident_of_incident_io_opens_live_and_its_end_cuts_what_it_opened() {
    let told = told();
    let ana = told.payments.enter(&ana());
    // The override, and not the rotation; she is on the second page.
    told.schedule(&ana, |it| it["known"] == true && it["people"] == json!(["corp:ana"]));
    // In triage it may be none, and a test is none.
    assert_eq!(told.order(&declare(1, "01SSE", json!({"category": "triage"})))["status"], 202);
    assert_eq!(told.order(&declare(2, "01SSE", json!({"mode": "test"})))["status"], 202);
    for id in ["INC-1", "INC-2"] {
        assert_eq!(told.incident(&ana, id, |_| true)["state"], "closed", "{id}");
    }
    told.order(&json!({"do": "status", "number": 1, "category": "live"}));
    let seen = told.incident(&ana, "INC-1", |it| it["state"] == "open");
    assert_eq!((&seen["source"], &seen["severity"]), (&json!("incident_io"), &json!("Major")));
    let ask =
        json!({"queries": [{"operation": "sse.GET"}], "reason": "watching", "incident": "INC-1"});
    grant(&ana.call("POST", "/v1/access-requests", Some(ask)).json());
    let mut wire = stream(&told, &ana);
    told.order(&json!({"do": "assign", "number": 1, "users": ["01BEN"]}));
    told.incident(&ana, "INC-1", |it| it["responders"] == json!([])); // Ben has not signed in yet.
    told.order(&json!({"do": "status", "number": 1, "category": "learning"}));
    assert!(wire.until_closed().is_some(), "it goes on after its incident");
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn notes_on_incident_io_stand_in_a_field_of_text_and_a_link_leads_to_the_evidence() {
    let told = told();
    let ana = told.payments.enter(&ana());
    told.schedule(&ana, |it| it["known"] == true && it["people"] == json!(["corp:ana"]));
    told.order(&declare(1, "01PAY", json!({})));
    told.incident(&ana, "INC-1", |it| it["state"] == "open");
    told.order(&json!({"do": "write", "number": 1, "text": "ask Ana"}));
    let given = |count: usize| {
        let ask = json!({"rule": "refund.incident", "incident": "INC-1"});
        let granted = grant(&ana.ask(&ana.refund(1), ask).json());
        let back = ana.call("POST", &format!("/v1/grants/{granted}/give-back"), None);
        assert_eq!(back.status, 200, "{}", back.text());
        told.written(|it| it["texts"]["INC-1"].to_string().matches("Access ended").count() == count)
    };
    given(1);
    given(2);
    let written = given(3);
    let text = written["texts"]["INC-1"].as_str().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "ask Ana", "what somebody wrote stays");
    let begins = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!(begins("Access given: corp:ana may payments.createRefund, until "), 3, "{text}");
    assert_eq!((begins("Access ended, "), lines.len()), (3, 7), "{text}");
    let attached = written["attachments"].as_array().unwrap();
    assert_eq!(attached.len(), 1, "once, however many notes there are: {attached:#?}");
    let link = &attached[0]["resource"];
    assert_eq!(link["resource_type"], "arbitrary_url");
    assert!(link["permalink"].as_str().unwrap().ends_with("/v1/evidence/INC-1"), "{link:#}");
    // What is written there is told like any other change, and changes nothing here.
    told.incident(&ana, "INC-1", |it| it["state"] == "open");
    assert_eq!(told.count("incident_changed", |_| true), 0);
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn lost_and_private_incidents_of_incident_io_are_found_by_asking() {
    let told = told();
    let ana = told.payments.enter(&ana());
    told.order(&json!({"do": "limit", "calls": 1}));
    for number in 1..=5 {
        told.order(&declare(number, "01PAY", json!({"hook": false, "users": ["01ANA"]})));
    }
    for number in 1..=5 {
        let seen = told.incident(&ana, &format!("INC-{number}"), |it| it["state"] == "open");
        assert_eq!(seen["responders"], json!(["corp:ana"]));
    }
    told.order(&json!({"do": "status", "number": 2, "category": "closed", "hook": false}));
    told.incident(&ana, "INC-2", |it| it["state"] == "closed");
    told.order(&declare(6, "01PAY", json!({"private": true})));
    told.incident(&ana, "INC-6", |it| it["state"] == "open");
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn forged_late_and_repeated_messages_of_incident_io_do_nothing() {
    let told = told();
    let ana = told.payments.enter(&ana());
    told.order(&json!({"do": "down"}));
    let made = told.order(&declare(1, "01PAY", json!({"hook": false})));
    for sign in ["wrong", "none", "other body"] {
        assert_eq!(told.vendor.deliver(&made, sign), 401, "{sign}");
    }
    for sent in [-600, 600] {
        let order = json!({"do": "deliver", "event": made["event"], "sent": sent});
        assert_eq!(told.order(&order), 202, "signed then: it is not sent again and again");
    }
    let late = |one: &Value| one["detail"].to_string().contains("too late, or too early");
    told.payments.event("hook_refused", late);
    assert_eq!(ana.call("GET", "/v1/incidents/INC-1", None).status, 404);
    told.schedule(&ana, |_| true);
    assert!(ways(&ana.refund(1), "refund.incident").is_empty());
    assert_eq!(told.vendor.deliver(&made, "rotating"), 202);
    assert_eq!(told.vendor.deliver(&made, "right"), 202);
    told.incident(&ana, "INC-1", |it| it["state"] == "open");
    let resolved =
        told.order(&json!({"do": "status", "number": 1, "category": "closed", "offset": -60}));
    assert_eq!(resolved["status"], 202);
    // It is of a minute before: what is known is newer.
    let older = |one: &Value| one["detail"].to_string().contains("less about incident `INC-1`");
    told.payments.event("hook_refused", older);
    assert_eq!(told.incident(&ana, "INC-1", |_| true)["state"], "open");
    assert_eq!(told.count("incident_opened", |one| one["incident"] == "INC-1"), 1);
}

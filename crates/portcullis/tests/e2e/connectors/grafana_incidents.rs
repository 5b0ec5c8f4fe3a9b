//! Incidents that are declared in Grafana Cloud IRM, end to end.

use serde_json::{Value, json};

use super::{Told, stream};
use crate::{
    payments::{Visitor, ana, grant, lea},
    vendor::Vendor,
};

const TOKEN: &str = "glsa_incidents_meow";
const SECRET: &str = "signing-secret-31c7";

/// On call is whoever the house itself says.
fn told() -> Told {
    let vendor = Vendor::start("grafana_incidents_peer.py", &[TOKEN, SECRET]);
    for name in ["ana", "lea"] {
        let user = format!("grafana-incident:user-{name}");
        let email = format!("{name}@example.com");
        vendor.order(&json!({"do": "user", "id": user, "email": email}));
    }
    let url = &vendor.url;
    let connectors = format!(
        "{{grafana_incidents: {{url: \"{url}\", token: {{file: irm.token}}, \
         webhook: {{file: irm.secret}}, notes: true, \
         services: {{payments: \"service:payments\", sse: \"service:sse\"}}, \
         severities: {{critical: sev1}}, people: {{by_email: corp}}, poll: 1s}}}}"
    );
    let told = Told::by(vendor, &connectors, |plan| {
        let plan = plan.file("irm.token", TOKEN).file("irm.secret", SECRET);
        plan.policy("declared.cedar", POLICIES)
    });
    told.aim("grafana_incidents");
    told
}

const POLICIES: &str = r#"
@id("declared") @reviews("0") @max_duration("20m")
permit (principal is User in Group::"engineering", action == Action::"sse.GET", resource)
when {
  context has grant && context.grant has incident && context.grant.incident.open &&
  context.grant.incident.source == "grafana_incidents" &&
  context.grant.incident.responders.contains(principal)
};
"#;

fn declare(id: &str, label: &str, more: Value) -> Value {
    let mut order = json!({"do": "declare", "id": id, "label": label});
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

fn who(name: &str, role: &str) -> Value {
    json!({format!("grafana-incident:user-{name}"): role})
}

#[test]
fn a_declared_incident_opens_for_who_has_a_role_and_its_end_cuts_what_it_opened() {
    let told = told();
    let (ana, _lea) = (told.payments.enter(&ana()), told.payments.enter(&lea()));
    let mut roles = who("ana", "observer");
    roles.as_object_mut().unwrap().extend(who("lea", "commander").as_object().unwrap().clone());
    let more = json!({"severity": "critical", "roles": roles});
    assert_eq!(told.order(&declare("19", "service:sse", more))["status"], 202);
    let seen = told.incident(&ana, "IRM-19", |it| it["responders"] != json!([]));
    assert_eq!((&seen["source"], &seen["severity"]), (&json!("grafana_incidents"), &json!("sev1")));
    assert_eq!((&seen["state"], &seen["services"]), (&json!("open"), &json!(["sse"])));
    assert_eq!(seen["responders"], json!(["corp:lea"]), "who observes works on nothing");
    let ask =
        json!({"queries": [{"operation": "sse.GET"}], "reason": "looking", "incident": "IRM-19"});
    let observes = ana.call("POST", "/v1/access-requests", Some(ask.clone()));
    assert_eq!(observes.status, 403, "{}", observes.text());

    let roles = json!({"do": "assign", "id": "19", "roles": who("ana", "commander")});
    assert_eq!(told.order(&roles)["status"], 202);
    told.incident(&ana, "IRM-19", |it| it["responders"] == json!(["corp:ana"]));
    // It is told before it is in force.
    let asked = told.until(
        || ana.call("POST", "/v1/access-requests", Some(ask.clone())),
        |answer| answer.status == 201,
    );
    grant(&asked.json());
    let mut wire = stream(&told, &ana);
    assert_eq!(told.order(&json!({"do": "resolve", "id": "19"}))["status"], 202);
    assert!(wire.until_closed().is_some(), "it goes on after its incident");
    told.incident(&ana, "IRM-19", |it| it["state"] == "closed");

    let written = told.written(|it| it["notes"].to_string().contains("Access ended"));
    let all = written["notes"].to_string();
    for part in
        ["Access given: corp:ana may sse.GET, until ", "incident resolved", "/v1/evidence/IRM-19"]
    {
        assert!(all.contains(part), "{part}: {written:#}");
    }
    assert!(written["notes"].as_array().unwrap().iter().all(|note| note["id"] == "19"));
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn declared_incidents_are_found_page_by_page_and_a_drill_is_none() {
    let told = told();
    let ana = told.payments.enter(&ana());
    told.order(&json!({"do": "limit", "calls": 1}));
    for number in 1..=5 {
        let more = json!({"hook": false, "roles": who("ana", "investigator")});
        told.order(&declare(&format!("{number}"), "service:payments", more));
    }
    told.order(&declare("6", "service:payments", json!({"drill": true})));
    told.order(&declare("7", "service:others", json!({})));
    for number in 1..=5 {
        let seen = told.incident(&ana, &format!("IRM-{number}"), |it| it["state"] == "open");
        assert_eq!(seen["responders"], json!(["corp:ana"]), "by e-mail");
    }
    assert_eq!(told.incident(&ana, "IRM-6", |_| true)["state"], "closed");
    assert_eq!(ana.call("GET", "/v1/incidents/IRM-7", None).status, 404);
    told.order(&json!({"do": "resolve", "id": "3", "hook": false}));
    told.incident(&ana, "IRM-3", |it| it["state"] == "closed");
    told.order(&json!({"do": "activate", "id": "3", "hook": false}));
    told.incident(&ana, "IRM-3", |it| it["state"] == "open");
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn forged_late_and_repeated_messages_of_declared_incidents_do_nothing() {
    let told = told();
    let ana = told.payments.enter(&ana());
    told.order(&json!({"do": "down"}));
    let made = told.order(&declare("1", "service:payments", json!({"hook": false, "offset": -2})));
    for sign in ["wrong", "none", "other body"] {
        assert_eq!(told.vendor.deliver(&made, sign), 401, "{sign}");
    }
    told.payments.event("hook_refused", |one| one["source"] == "127.0.0.1");
    for sent in [-600, 600] {
        let order = json!({"do": "deliver", "event": made["event"], "sent": sent});
        assert_eq!(told.order(&order), 202);
    }
    let late = |one: &Value| one["detail"].to_string().contains("too late, or too early");
    told.payments.event("hook_refused", late);
    assert_eq!(ana.call("GET", "/v1/incidents/IRM-1", None).status, 404);
    let over = told.order(&json!({"do": "resolve", "id": "1", "hook": false, "offset": -1}));
    // Its end is heard of first: it never opens.
    assert_eq!(told.vendor.deliver(&over, "right"), 202);
    assert_eq!(told.vendor.deliver(&made, "right"), 202);
    assert_eq!(told.incident(&ana, "IRM-1", |_| true)["state"], "closed");
    let again = told.order(&json!({"do": "activate", "id": "1", "hook": false}));
    for _ in 0..2 {
        assert_eq!(told.vendor.deliver(&again, "right"), 202);
    }
    assert_eq!(told.incident(&ana, "IRM-1", |_| true)["state"], "open");
    assert_eq!(told.order(&json!({"do": "other", "kind": "grafana.task.created"}))["status"], 202);
    assert_eq!(told.count("incident_opened", |one| one["incident"] == "IRM-1"), 1);
    assert_eq!(told.vendor.faults(), json!([]));
}

fn declare_mine(told: &Told, ana: &Visitor<'_>, id: &str) {
    told.order(&declare(id, "service:sse", json!({"roles": who("ana", "commander")})));
    let mine = |it: &Value| it["responders"] == json!(["corp:ana"]);
    told.incident(ana, &format!("IRM-{id}"), mine);
}

/// Gets access for an incident once it is in force.
fn given(told: &Told, ana: &Visitor<'_>, incident: &str) {
    let ask =
        json!({"queries": [{"operation": "sse.GET"}], "reason": "looking", "incident": incident});
    let asked = told.until(
        || ana.call("POST", "/v1/access-requests", Some(ask.clone())),
        |answer| answer.status == 201,
    );
    grant(&asked.json());
}

#[test]
fn one_declared_incident_that_cannot_be_read_keeps_no_other_from_being_known() {
    let told = told();
    let ana = told.payments.enter(&ana());
    for (broken, status) in [("1", 500), ("2", 200)] {
        told.order(&json!({"do": "break_incident", "id": broken, "status": status}));
    }
    for id in ["1", "2", "3", "4"] {
        told.order(&declare(id, "service:payments", json!({"hook": false})));
    }
    for id in ["IRM-3", "IRM-4"] {
        told.incident(&ana, id, |it| it["state"] == "open");
    }
    for id in ["IRM-1", "IRM-2"] {
        assert_eq!(ana.call("GET", &format!("/v1/incidents/{id}"), None).status, 404);
    }
    // One that cannot be read any more is not gone for that, and what else ends is seen.
    told.order(&json!({"do": "break_incident", "id": "3"}));
    told.order(&json!({"do": "resolve", "id": "4", "hook": false}));
    told.incident(&ana, "IRM-4", |it| it["state"] == "closed");
    assert_eq!(told.incident(&ana, "IRM-3", |_| true)["state"], "open");
    for id in ["1", "2", "3"] {
        told.order(&json!({"do": "break_incident", "id": id, "status": null}));
    }
    for id in ["IRM-1", "IRM-2"] {
        told.incident(&ana, id, |it| it["state"] == "open");
    }
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn a_declared_incident_that_is_deleted_is_over_and_holds_up_no_notes() {
    let told = told();
    let ana = told.payments.enter(&ana());
    declare_mine(&told, &ana, "1");
    given(&told, &ana, "IRM-1");
    told.written(|it| it["notes"].to_string().contains("Access given"));
    told.order(&json!({"do": "forget", "id": "1"}));
    told.incident(&ana, "IRM-1", |it| it["state"] == "closed");
    // What ended with it is a note on what is not there any more.
    told.payments.event("grant_ended", |one| one["incident"] == "IRM-1");
    declare_mine(&told, &ana, "2");
    given(&told, &ana, "IRM-2");
    told.written(|it| it["notes"].as_array().unwrap().iter().any(|note| note["id"] == "2"));
    told.no_note_waits("grafana_incidents");
    assert_eq!(told.vendor.faults(), json!([]));
}

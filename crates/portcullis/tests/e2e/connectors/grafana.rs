//! Grafana Cloud IRM, end to end.

use serde_json::json;

use super::{Told, stream};
use crate::{
    payments::{ana, grant},
    vendor::Vendor,
};

const TOKEN: &str = "glsa_meowmeowmeow";
const STACK: &str = "http://127.0.0.1:3000";
const SECRET: &str = "Bearer irm-hook-7f1e";

fn told() -> Told {
    let vendor = Vendor::start("grafana_peer.py", &[TOKEN, STACK, SECRET]);
    vendor.order(&json!({"do": "user", "id": "UANA", "email": "ana@example.com"}));
    vendor.order(&json!({"do": "shift", "schedule": "SBM7DV", "users": ["UANA"]}));
    let url = &vendor.url;
    let connectors = format!(
        "{{grafana_irm: {{url: \"{url}\", token: {{file: irm.token}}, stack: \"{STACK}\", \
         webhook: {{file: irm.secret}}, notes: true, services: {{payments: [CPAY, \"service:payments\"], sse: CSSE}}, \
         schedules: {{payments-primary: SBM7DV}}, people: {{by_email: corp}}, poll: 1s}}}}"
    );
    let told = Told::by(vendor, &connectors, |plan| {
        plan.file("irm.token", TOKEN).file("irm.secret", SECRET)
    });
    told.aim("grafana_irm");
    told
}

#[test]
fn an_alert_group_opens_by_message_and_its_end_cuts_what_it_opened() {
    let told = told();
    let ana = told.payments.enter(&ana());
    told.schedule(&ana, |it| it["known"] == true && it["people"] == json!(["corp:ana"]));
    assert_eq!(
        told.order(&json!({"do": "fire", "id": "I68T", "integration": "CSSE"}))["status"],
        202
    );
    let seen = told.incident(&ana, "GRAFANA-I68T", |it| it["state"] == "open");
    assert_eq!((&seen["source"], &seen["severity"]), (&json!("grafana_irm"), &json!("unknown")));
    told.order(&json!({"do": "acknowledge", "id": "I68T", "user": "UANA"}));
    told.incident(&ana, "GRAFANA-I68T", |it| it["responders"] == json!(["corp:ana"]));
    let ask = json!({"queries": [{"operation": "sse.GET"}], "reason": "watching", "incident": "GRAFANA-I68T"});
    grant(&ana.call("POST", "/v1/access-requests", Some(ask)).json());
    let mut wire = stream(&told, &ana);
    told.order(&json!({"do": "resolve", "id": "I68T"}));
    assert!(wire.until_closed().is_some(), "it goes on after its incident");
    told.incident(&ana, "GRAFANA-I68T", |it| it["state"] == "closed");
    told.order(&json!({"do": "unresolve", "id": "I68T"}));
    told.incident(&ana, "GRAFANA-I68T", |it| it["state"] == "open");
    let notes = told.written(|it| it["notes"].to_string().contains("Access ended"));
    assert!(notes["notes"].to_string().contains("/v1/evidence/GRAFANA-I68T"), "{notes:#}");
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn what_a_message_of_grafana_says_is_looked_at_and_never_believed() {
    let told = told();
    let ana = told.payments.enter(&ana());
    let made = told.order(&json!({"do": "fire", "id": "I1", "integration": "CPAY", "hook": false}));
    told.incident(&ana, "GRAFANA-I1", |it| it["state"] == "open");
    told.order(&json!({"do": "resolve", "id": "I1", "hook": false}));
    told.incident(&ana, "GRAFANA-I1", |it| it["state"] == "closed");
    // Whoever knows the secret says that it fires: it does not.
    assert_eq!(told.vendor.deliver(&made, "right"), 202);
    for sign in ["wrong", "none"] {
        assert_eq!(told.vendor.deliver(&made, sign), 401, "{sign}");
    }
    told.payments.event("hook_refused", |one| one["source"] == "127.0.0.1");
    assert_eq!(told.incident(&ana, "GRAFANA-I1", |_| true)["state"], "closed");
    assert_eq!(told.count("incident_opened", |_| true), 1);
    let labels = json!({"severity": "critical", "service": "payments"});
    told.order(&json!({"do": "fire", "id": "I9", "integration": "CELSE", "labels": labels}));
    let seen = told.incident(&ana, "GRAFANA-I9", |it| it["state"] == "open");
    assert_eq!((&seen["severity"], &seen["services"]), (&json!("critical"), &json!(["payments"])));
    for number in 2..=6 {
        let id = format!("I{number}");
        let fire = json!({"do": "fire", "id": id, "integration": "CPAY", "hook": false});
        told.order(&fire);
    }
    // Nobody tells: they are on several pages.
    for number in 2..=6 {
        told.incident(&ana, &format!("GRAFANA-I{number}"), |it| it["state"] == "open");
    }
    assert_eq!(told.vendor.faults(), json!([]));
}

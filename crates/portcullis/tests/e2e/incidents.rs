//! Incidents and who is on call, on the real binary: what they open, and how that ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    payments::{Payments, Visitor, ana, ben, grant, lea},
    streams::ticking_upstream,
    upstream::Upstream,
    wire::Wire,
};

const POLICIES: &str = r#"
@id("refund.incident") @reviews("0") @max_duration("20m")
permit (principal is User in Group::"engineering", action in [Action::"payments.createRefund", Action::"sse.GET"], resource)
when {
  context has grant && context.grant has incident && context.grant.incident.open &&
  context.grant.incident.services.containsAny([Service::"payments", Service::"sse"]) &&
  principal has onCall && principal.onCall.contains(Schedule::"payments-primary")
};

@id("managers")
permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);
"#;

fn open() -> Payments {
    Payments::furnished(Upstream::start(), |plan| {
        let service = format!(
            "name: sse\nhosts: [sse.example.com]\nupstream: {{instances: {{i-1: \"http://{}\"}}}}",
            ticking_upstream()
        );
        plan.service(&service).policy("incidents.cedar", POLICIES)
    })
}

fn incident(lea: &Visitor<'_>, id: &str, services: &[&str]) -> Value {
    let body =
        json!({"id": id, "title": "refunds are stuck", "severity": "sev1", "services": services});
    let answer = lea.call("POST", "/v1/incidents", Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn on_call(lea: &Visitor<'_>, people: &[&str]) {
    let body = json!({"people": people});
    let answer = lea.call("PUT", "/v1/schedules/payments-primary", Some(body));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn n07_only_an_open_incident_of_this_service_opens_and_only_to_who_is_on_call() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let rules = |answer: &crate::wire::Response| -> Vec<Value> {
        let problem = answer.json();
        let ways = problem["ways"].as_array().cloned().unwrap_or_default();
        ways.into_iter().filter(|way| way["rule"] == "refund.incident").collect()
    };
    on_call(&lea, &["corp:ben"]);
    incident(&lea, "PD-1", &["sse"]);
    let own = json!({"id": "PD-2", "title": "mine", "severity": "sev1", "services": ["payments"]});
    assert_eq!(ben.call("POST", "/v1/incidents", Some(own)).status, 403);
    let refused = ben.refund(120);
    assert!(rules(&refused).is_empty(), "{}", refused.text());
    let other = ben.ask(&refused, json!({"rule": "refund.incident", "incident": "PD-1"}));
    assert_eq!(other.status, 400, "{}", other.text());

    let opened = incident(&lea, "PD-2", &["payments"]);
    assert_eq!(opened["source"], "api:corp:lea");
    let refused = ben.refund(120);
    let way = json!({"rule": "refund.incident", "kind": "automatic", "reviews": 0,
        "max_duration": "20m", "incident": "PD-2"});
    assert_eq!(rules(&refused), [way]);
    let asked = ben.ask(&refused, json!({"rule": "refund.incident"})).json();
    let granted = grant(&asked);
    assert_eq!(asked["incident"]["source"], "api:corp:lea");
    assert_eq!(ben.refund(120).status, 200);
    let shown = ben.call("GET", &format!("/v1/grants/{granted}"), None).json();
    assert_eq!(shown["incident"], "PD-2");

    // Handed over: the same grant opens nothing to whoever is off call.
    on_call(&lea, &["corp:ana"]);
    assert_eq!(ben.refund(120).status, 403);
    on_call(&lea, &["corp:ben"]);
    assert_eq!(ben.refund(120).status, 200);
    assert_eq!(lea.call("POST", "/v1/incidents/PD-2/close", None).status, 200);
    assert_eq!(ben.refund(120).status, 403, "closed");
    assert_eq!(lea.call("POST", "/v1/incidents/PD-2/reopen", None).status, 200);
    assert_eq!(ben.refund(120).status, 403, "reopening revives nothing");
    let ended = payments.event("grant_ended", |event| event["grant"] == granted.as_str());
    assert_eq!(ended["decision"], "incident_resolved");
    assert_eq!(ended["incident"], "PD-2");
    payments.event("incident_closed", |event| event["principal"]["id"] == "corp:lea");
}

#[test]
fn e21_a_live_stream_ends_with_its_incident_and_with_its_shift() {
    let payments = open();
    let (ana, lea) = (payments.enter(&ana()), payments.enter(&lea()));
    on_call(&lea, &["corp:ana"]);
    for (id, end) in [("PD-1", "close"), ("PD-2", "hand over")] {
        incident(&lea, id, &["sse"]);
        let ask =
            json!({"queries": [{"operation": "sse.GET"}], "reason": "watching", "incident": id});
        let asked = ana.call("POST", "/v1/access-requests", Some(ask));
        grant(&asked.json());
        let mut wire = Wire::connect(payments.house.gate);
        wire.send(format!(
            "GET /tail HTTP/1.1\r\nHost: sse.example.com\r\nAuthorization: Bearer {}\r\n\
             Accept: text/event-stream\r\n\r\n",
            ana.gate
        ));
        let begun = String::from_utf8_lossy(&wire.read_until(b"data: tick")).into_owned();
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
        match end {
            "close" => {
                let closed = lea.call("POST", &format!("/v1/incidents/{id}/close"), None);
                assert_eq!(closed.status, 200, "{}", closed.text());
            }
            _ => on_call(&lea, &[]),
        }
        let ended = Instant::now();
        assert!(wire.until_closed().is_some(), "{end}");
        assert!(ended.elapsed() < Duration::from_secs(3), "{end}: {:?}", ended.elapsed());
    }
}

#[test]
fn n06_on_call_for_a_time_is_unknown_after_it() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    incident(&lea, "PD-1", &["payments"]);
    let brief = json!({"people": ["corp:ben"], "fresh_for": "3s"});
    let said = Instant::now();
    let answer = lea.call("PUT", "/v1/schedules/payments-primary", Some(brief));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let refused = ben.refund(1);
    if said.elapsed() < Duration::from_secs(2) {
        assert!(refused.text().contains("refund.incident"), "{}", refused.text());
    }
    std::thread::sleep(Duration::from_millis(3_200).saturating_sub(said.elapsed()));
    let refused = ben.refund(1);
    assert!(!refused.text().contains("refund.incident"), "{}", refused.text());
    let listed = ben.call("GET", "/v1/schedules", None).json();
    assert_eq!(listed["schedules"][0]["known"], false, "{listed:#}");
    assert_eq!(listed["schedules"][0]["people"], json!([]));
}

#[test]
fn the_command_line_opens_lists_and_closes() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    payments.house.profile("lea", &lea.control);
    payments.house.profile("ben", &ben.control);
    let said = |home: &str, args: &[&str]| payments.house.says(home, args);
    let (code, text) =
        said("lea", &["schedules", "set", "payments-primary", "corp:ben", "--for", "12h"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("on call for payments-primary: corp:ben, until "), "{text}");
    let open = ["incidents", "open", "refunds are stuck", "--service", "payments", "--id", "PD-1"];
    let (code, text) = said("ben", &open);
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = said("lea", &open);
    assert_eq!((code, text.trim()), (Some(0), "PD-1 is open: refunds are stuck (sev2, payments)"));
    let (_, text) = said("ben", &["incidents"]);
    assert!(text.contains("PD-1") && text.contains("api:corp:lea"), "{text}");
    let (_, text) = said("ben", &["schedules"]);
    assert!(text.contains("payments-primary") && text.contains("corp:ben"), "{text}");
    let ask = ["ask", "payments.createRefund", "--incident", "PD-1", "--reason", "refunds stuck"];
    let (code, text) = said("ben", &ask);
    assert!(code == Some(0) && text.contains("granted payments.createRefund"), "{text}");
    assert_eq!(ben.refund(3).status, 200);
    let (code, text) = said("lea", &["incidents", "update", "PD-1", "--severity", "sev1"]);
    assert!(code == Some(0) && text.contains("sev1"), "{text}");
    assert_eq!(ben.refund(3).status, 200, "what the rule asks for has not changed");
    let (code, text) = said("lea", &["incidents", "close", "PD-1"]);
    assert!(code == Some(0) && text.starts_with("PD-1 is closed"), "{text}");
    assert_eq!(ben.refund(3).status, 403);
    let (code, text) = said("lea", &["incidents", "reopen", "PD-1"]);
    assert!(code == Some(0) && text.starts_with("PD-1 is open"), "{text}");
}

//! Emergencies: opened at once and loudly, with a reason, for a short time; somebody else looks at
//! each of them afterwards.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    payments::{Payments, Visitor, ben, grant, id, lea, leo},
    people::Person,
    upstream::Upstream,
    wire::{Response, exchange},
};

/// With an emergency rule that tells `hook`, and writing from elsewhere only in an emergency.
fn furnished(hook: &str) -> Payments {
    let policies = format!(
        r#"
@id("payments.emergency") @emergency("true") @max_duration("5m") @notify("webhook:{hook}/secret-path")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when {{ context has grant && context.grant.kind == "emergency" }};

@id("payouts.never.by.review")
forbid (principal is User in Group::"night", action == Action::"payments.createPayout", resource)
unless {{ context has grant && context.grant.kind == "emergency" }};

@id("payments.never")
forbid (principal is User, action == Action::"payments.cancelRefund", resource in Service::"payments")
unless {{ context has grant && context.grant.kind == "automatic" }};
"#
    );
    Payments::furnished(Upstream::start(), |plan| plan.policy("emergency.cedar", &policies))
}

fn emergency(visitor: &Visitor<'_>, more: Value) -> Response {
    let mut body = json!({"queries": [{"operation": "payments.*"}], "reason": "payouts are stuck"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    visitor.call("POST", "/v1/access-requests", Some(body))
}

fn look(visitor: &Visitor<'_>, request: &Value) -> Value {
    visitor.call("GET", &format!("/v1/access-requests/{}", id(request)), None).json()
}

fn to_review(visitor: &Visitor<'_>) -> Vec<String> {
    let listed = visitor.call("GET", "/v1/access-requests?filter=to-review", None).json();
    let listed = listed["access_requests"].as_array().unwrap().clone();
    listed.iter().map(|request| id(request).to_owned()).collect()
}

fn told(hook: &Upstream) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let told = hook.received();
        if !told.is_empty() {
            return told.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody is told");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn e34_an_emergency_takes_a_reason_and_opens_at_once_what_its_rule_matches() {
    let hook = Upstream::start();
    let payments = furnished(&hook.url());
    let ben = payments.enter(&ben());
    let _reviewers = (payments.enter(&lea()), payments.enter(&leo()));
    let refused = ben.send("POST", "/v1/payouts", None);
    let ways = refused.json()["ways"].as_array().unwrap().clone();
    let kinds: Vec<_> = ways.iter().map(|way| way["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["review", "emergency"], "it comes last");
    for reason in [json!({"reason": ""}), json!({"reason": null})] {
        let silent = emergency(&ben, reason);
        assert!([400, 422].contains(&silent.status), "{}: {}", silent.status, silent.text());
    }
    let long = emergency(&ben, json!({"duration": "6m"}));
    assert_eq!(long.status, 400, "{}", long.text());
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403, "nothing was opened by that");

    let opened = emergency(&ben, json!({}));
    assert_eq!(opened.status, 201, "{}", opened.text());
    let opened = opened.json();
    assert_eq!(opened["afterwards"], "open", "{opened:#}");
    assert_eq!(opened["reviewers"], json!(["lea", "leo"]));
    let granted = grant(&opened);
    for (method, path) in [("POST", "/v1/payouts"), ("GET", "/v1/refunds"), ("GET", "/v1/events")] {
        assert_eq!(ben.send(method, path, None).status, 200, "{method} {path}");
    }
    assert_eq!(ben.refund(90_000_000).status, 200, "the amounts of other rules are theirs");
    let forbidden = ben.send("DELETE", "/v1/refunds/7", None);
    assert_eq!(forbidden.status, 403, "a forbid that does not name emergencies holds");
    let held = ben.call("GET", &format!("/v1/grants/{granted}"), None).json();
    assert_eq!((&held["kind"], &held["operation"]), (&json!("emergency"), &json!("payments.*")));

    let message = told(&hook).remove(0);
    assert_eq!(message["type"], "emergency", "{message:#}");
    assert_eq!(message["access_request"]["reason"], "payouts are stuck");
    let enough = |events: &[Value]| events.iter().any(|event| event["status"] == 200);
    let events = payments.record(enough);
    let at = |kind: &str, which: &dyn Fn(&Value) -> bool| {
        let found = events.iter().position(|event| event["type"] == kind && which(event));
        found.unwrap_or_else(|| panic!("no {kind}: {events:#?}"))
    };
    let of_grant = |event: &Value| event["grant"] == granted.as_str();
    let first = at("attempt", &of_grant);
    assert!(at("emergency_opened", &|event| event["detail"] == "payouts are stuck") < first);
    assert!(at("grant_started", &of_grant) < first, "on record before anything goes through");

    let more = json!({"reason": "more", "duration": "5m"});
    let extended = ben.call("POST", &format!("/v1/grants/{granted}/extend"), Some(more));
    assert_eq!(extended.status, 409, "its cap is short: {}", extended.text());
    let again = emergency(&ben, json!({})).json();
    assert_eq!(again["id"], opened["id"], "asked twice, nothing is stretched");
    let back = ben.call("POST", &format!("/v1/grants/{granted}/give-back"), None);
    assert_eq!(back.status, 200, "{}", back.text());
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403);
    assert_eq!(look(&ben, &opened)["afterwards"], "open", "it stays on the list");
}

#[test]
fn e34_nothing_takes_an_emergency_by_itself() {
    let hook = Upstream::start();
    let payments = furnished(&hook.url());
    let night = payments.enter(&Person::new("nia", &["engineering", "night"]));
    let refused = night.send("POST", "/v1/payouts", None);
    assert_eq!(refused.json()["ways"].as_array().unwrap().len(), 1, "{}", refused.text());
    let asked = night.ask(&refused, json!({}));
    assert_eq!(asked.status, 403, "{}", asked.text());
    assert!(asked.text().contains("only an emergency would open"), "{}", asked.text());
    let queries = json!({"queries": [{"operation": "payments.createPayout"}], "reason": "x"});
    assert_eq!(night.call("POST", "/v1/access-requests", Some(queries)).status, 403);
    let begun = Instant::now();
    let held = exchange(
        payments.house.gate,
        format!(
            "POST /v1/payouts HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n\
             Prefer: wait=60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            night.gate
        ),
    );
    assert_eq!(held.status, 403, "{}", held.text());
    assert!(begun.elapsed() < Duration::from_secs(50), "it did not wait");
    assert!(to_review(&payments.enter(&lea())).is_empty());
    let by_rule = night.ask(&refused, json!({"rule": "payments.emergency"})).json();
    grant(&by_rule);
    assert_eq!(night.send("POST", "/v1/payouts", None).status, 200);
    let sam = payments.enter(&crate::payments::sam());
    assert_eq!(emergency(&sam, json!({})).status, 404, "who sees nothing learns nothing");
    let leo = payments.enter(&leo());
    let none = emergency(&leo, json!({}));
    assert!([403, 404].contains(&none.status), "{}: {}", none.status, none.text());
}

#[test]
fn e34_somebody_else_reviews_it_afterwards_and_it_gives_no_right_to_review() {
    let hook = Upstream::start();
    let mut payments = furnished(&hook.url());
    let opened = emergency(&payments.enter(&ben()), json!({})).json();
    let other = {
        let mia = payments.enter(&Person::new("mia", &["engineering"]));
        let queries = json!({"queries": [{"operation": "payments.events"}], "reason": "x"});
        mia.call("POST", "/v1/access-requests", Some(queries)).json()
    };
    // What is open stays open, whatever happens to the process.
    payments.house.kill();
    payments.house.restart();
    let (ben, lea, leo) = (payments.enter(&ben()), payments.enter(&lea()), payments.enter(&leo()));
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200, "it is in force");
    assert_eq!(ben.approve(&opened).status, 403, "never one's own");
    assert!([403, 404].contains(&ben.approve(&other).status), "and nobody else's by it");
    assert!(to_review(&lea).contains(&id(&opened).to_owned()));
    let shorter = json!({"decision": "approve", "duration": "1m"});
    let path = format!("/v1/access-requests/{}/reviews", id(&opened));
    assert_eq!(lea.call("POST", &path, Some(shorter)).status, 400);
    let reviewed = lea.approve(&opened);
    assert_eq!(reviewed.status, 201, "{}", reviewed.text());
    assert_eq!(reviewed.json()["afterwards"], "reviewed");
    assert_eq!(leo.approve(&opened).status, 409, "once");
    assert!(!to_review(&leo).contains(&id(&opened).to_owned()));
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200, "in order, so it goes on");
    let event = payments.event("emergency_reviewed", |_| true);
    assert_eq!(event["decision"], "approve");
    assert!(event["principal"].to_string().contains("corp:lea"), "{event:#}");
    assert_eq!(event["access_request"], opened["id"]);
}

#[test]
fn e34_what_was_not_in_order_ends_with_its_review() {
    let hook = Upstream::start();
    let payments = furnished(&hook.url());
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let opened = emergency(&ben, json!({})).json();
    let granted = grant(&opened);
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200);
    let path = format!("/v1/access-requests/{}/reviews", id(&opened));
    let silent = lea.call("POST", &path, Some(json!({"decision": "decline"})));
    assert_eq!(silent.status, 400, "a finding says what: {}", silent.text());
    let declined = lea.decline(&opened, "this was no emergency").json();
    assert_eq!(declined["reviews"][0]["note"], "this was no emergency", "{declined:#}");
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403);
    let ended = payments.event("grant_ended", |event| event["grant"] == granted.as_str());
    assert_eq!(ended["decision"], "revoked");
    let event = payments.event("emergency_reviewed", |_| true);
    assert_eq!(
        (&event["decision"], &event["detail"]),
        (&json!("decline"), &json!("this was no emergency"))
    );
    let revoked = emergency(&ben, json!({})).json();
    assert_ne!(revoked["id"], opened["id"]);
    let granted = grant(&revoked);
    assert_eq!(lea.call("POST", &format!("/v1/grants/{granted}/revoke"), None).status, 200);
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403);
    assert_eq!(look(&lea, &revoked)["afterwards"], "open", "also if it was revoked");
}

#[test]
fn e34_a_rule_that_is_for_emergencies_no_more_opens_nothing_of_before() {
    let hook = Upstream::start();
    let payments = furnished(&hook.url());
    let ben = payments.enter(&ben());
    grant(&emergency(&ben, json!({})).json());
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200);
    let reviewed = r#"
@id("payments.emergency") @reviews("2") @max_duration("5m")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant };
"#;
    payments.house.write_policy("emergency.cedar", reviewed);
    payments.house.signal("HUP");
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == 2);
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403);
    payments.event("grant_ended", |event| event["decision"] == "rule_gone");
}

#[test]
fn the_command_line_opens_an_emergency_and_reviews_it() {
    let hook = Upstream::start();
    let payments = furnished(&hook.url());
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    for (home, visitor) in [("ben", &ben), ("lea", &lea)] {
        payments.house.profile(home, &visitor.control);
    }
    let said = |home: &str, args: &[&str], code: i32| {
        let (exited, text) = payments.house.says(home, args);
        assert_eq!(exited, Some(code), "{args:?}: {text}");
        text
    };
    let silent = said("ben", &["emergency", "payments"], 2);
    assert!(silent.contains("--reason"), "{silent}");
    let unknown = ["emergency", "payments", "--rule", "payments.payout", "--reason", "x"];
    assert!(
        said("ben", &unknown, 1).contains("opens nothing of `payments` to you as an emergency")
    );
    let opened = said("ben", &["emergency", "payments", "--reason", "payouts are stuck"], 0);
    for word in ["granted payments.*", "until somebody reviews it"] {
        assert!(opened.contains(word), "{word}: {opened}");
    }
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200);
    let listed = said("lea", &["requests", "--to-review"], 0);
    for word in ["payments.*", "emergency", "payouts are stuck", "to be reviewed"] {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    let request = to_review(&lea).remove(0);
    let reviewed = said("lea", &["review", &request, "decline", "--note", "try a review first"], 0);
    assert!(reviewed.contains("not in order"), "{reviewed}");
    let whole = said("ben", &["requests", &request], 0);
    assert!(whole.contains("found not in order by  lea: try a review first"), "{whole}");
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403);
}

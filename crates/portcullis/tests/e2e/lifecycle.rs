//! The main job: refused, asked, reviewed, let through, cut off, on record; and how others got it wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    payments::{Payments, Visitor, ana, ben, grant, id, lea, leo},
    people::Person,
};

#[test]
fn an_automatic_way_opens_at_once_and_the_record_tells_the_story() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let refused = ana.refund(120);
    assert_eq!(refused.status, 403, "{}", refused.text());
    let problem = refused.json();
    assert_eq!(problem["ways"][0]["rule"], "payments.refund.oncall");
    assert_eq!(problem["ways"][0]["kind"], "automatic");
    assert_eq!(problem["ways"][1]["rule"], "payments.refund.reviewed");
    assert!(problem["digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(payments.upstream.take().is_empty());

    let asked = ana.ask(&refused, json!({}));
    assert!(asked.status < 300, "{}", asked.text());
    let granted = grant(&asked.json());
    let passed = ana.refund(120);
    assert_eq!(passed.status, 200, "{}", passed.text());
    assert_eq!(passed.header("portcullis-grant"), Some(granted.as_str()));
    assert_eq!(payments.upstream.take().len(), 1);

    let attempt = payments.event("attempt", |event| event["grant"] == granted.as_str());
    assert_eq!(attempt["decision"], "permit");
    assert_eq!(attempt["policies"], json!(["payments.refund.oncall"]));
    assert_eq!(attempt["operation"], "payments.createRefund");
    assert_eq!(attempt["status"], 200);
    for kind in ["access_requested", "grant_started", "signed_in"] {
        payments.event(kind, |_| true);
    }
}

#[test]
fn a_review_opens_for_exactly_the_refused_request_once() {
    let payments = Payments::open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let refused = ben.refund(40_000);
    assert_eq!(refused.json()["ways"].as_array().unwrap().len(), 1);
    let request = ben.ask(&refused, json!({})).json();
    assert_eq!(request["state"], "pending");
    assert_eq!(ben.refund(40_000).status, 403, "asking opens nothing");

    let approved = lea.approve(&request);
    assert!(approved.status < 300, "{}", approved.text());
    assert_eq!(ben.refund(40_001).status, 403, "another amount is another request");
    assert_eq!(ben.refund(40_000).status, 200);
    assert_eq!(ben.refund(40_000).status, 403, "one use");
    assert_eq!(payments.upstream.take().len(), 1);
    let over = payments.event("grant_ended", |_| true);
    assert_eq!(over["grant"], grant(&approved.json()).as_str());
}

#[test]
fn policy_on_the_body_has_no_way_for_too_much() {
    let payments = Payments::open();
    let refused = payments.enter(&ben()).refund(50_001);
    assert_eq!(refused.status, 403);
    assert!(refused.json().get("ways").is_none(), "{}", refused.text());
    assert!(refused.json().get("refusal").is_none(), "only what can be asked for has a code");
}

#[test]
fn e01_e02_m03_nobody_reviews_their_own_request_under_any_name() {
    let payments = Payments::open();
    let lea_herself = payments.enter(&lea());
    let refused = lea_herself.refund(10);
    let request = lea_herself.ask(&refused, json!({})).json();
    assert_eq!(lea_herself.approve(&request).status, 403);
    // The same verified e-mail under another subject, in other letters: the same person.
    let alias = Person { subject: "lea-admin".into(), email: "Lea@Example.com".into(), ..lea() };
    let answer = payments.enter(&alias).approve(&request);
    assert!([403, 409].contains(&answer.status), "{}", answer.text());
    assert_eq!(lea_herself.refund(10).status, 403);
    payments.event("review_refused", |_| true);
}

#[test]
fn e04_m01_m02_a_quorum_is_distinct_people() {
    let payments = Payments::open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let refused = ben.send("POST", "/v1/payouts", None);
    assert_eq!(refused.json()["ways"][0]["reviews"], 2);
    let request = ben.ask(&refused, json!({})).json();
    assert_eq!(lea.approve(&request).json()["state"], "pending");
    assert_eq!(lea.approve(&request).status, 409);
    // A second sign-in, more groups: still one person.
    let again = Person { groups: vec!["leads".into(), "sre".into()], ..crate::payments::lea() };
    assert_eq!(payments.enter(&again).approve(&request).status, 409);
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403);
    let approved = payments.enter(&leo()).approve(&request).json();
    assert_eq!(approved["state"], "approved");
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200);
    let third = Person::new("lou", &["leads"]);
    assert_eq!(payments.enter(&third).approve(&request).status, 409, "over is over");
}

#[test]
fn one_decline_ends_a_request_and_withdrawing_too() {
    let payments = Payments::open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let refused = ben.send("POST", "/v1/payouts", None);
    let request = ben.ask(&refused, json!({})).json();
    assert_eq!(lea.decline(&request, "").status, 400, "a decline needs a reason");
    let declined = lea.decline(&request, "not during the audit").json();
    assert_eq!(declined["state"], "declined");
    assert_eq!(payments.enter(&leo()).approve(&request).status, 409);

    let request = ben.ask(&refused, json!({})).json();
    let withdrawn =
        ben.call("POST", &format!("/v1/access-requests/{}/withdraw", id(&request)), None);
    assert_eq!(withdrawn.json()["state"], "withdrawn");
    assert_eq!(lea.approve(&request).status, 409);
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403);
}

#[test]
fn e30_durations_that_are_none_are_refused_and_nothing_is_asked() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let refused = ana.refund(1);
    let bad = ["0", "0s", "-1", "9223372036854775808", "1e9h", "P1Y", "NaN", "366d", "31m", ""];
    for duration in bad {
        let answer = ana.ask(&refused, json!({"duration": duration}));
        assert_eq!(answer.status, 400, "{duration}: {}", answer.text());
        assert!(answer.text().contains("duration"), "{duration}: {}", answer.text());
    }
    assert_eq!(ana.ask(&refused, json!({"duration": 30})).status, 400);
    assert_eq!(ana.refund(1).status, 403);
    let mine = ana.call("GET", "/v1/access-requests?filter=mine", None).json();
    assert_eq!(mine["access_requests"].as_array().map(Vec::len), Some(0), "{mine:#}");
}

#[test]
fn e37_what_is_anothers_cannot_be_found() {
    let payments = Payments::open();
    let (ana, ben) = (payments.enter(&ana()), payments.enter(&ben()));
    let refused = ana.refund(1);
    let code = refused.json()["refusal"].as_str().unwrap().to_owned();
    assert_eq!(ana.call("GET", &format!("/v1/refusals/{code}"), None).status, 200);
    assert_eq!(ben.call("GET", &format!("/v1/refusals/{code}"), None).status, 404);
    assert_eq!(ben.ask(&refused, json!({})).status, 404);
    let request = ana.ask(&refused, json!({})).json();
    let path = format!("/v1/access-requests/{}", id(&request));
    assert_eq!(ben.call("GET", &path, None).status, 404);
    let granted = grant(&request);
    for (method, path) in [("GET", ""), ("POST", "/revoke"), ("POST", "/give-back")] {
        let answer = ben.call(method, &format!("/v1/grants/{granted}{path}"), None);
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
    }
    assert_eq!(ana.refund(1).status, 200, "the grant is untouched");
}

#[test]
fn m04_a_grants_clock_starts_at_approval_and_ends_it() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let refused = ana.send("DELETE", "/v1/refunds/7", None);
    let asked = Instant::now();
    let granted = grant(&ana.ask(&refused, json!({})).json());
    assert_eq!(ana.send("DELETE", "/v1/refunds/7", None).status, 200);
    std::thread::sleep(Duration::from_millis(6_100).saturating_sub(asked.elapsed()));
    assert_eq!(ana.send("DELETE", "/v1/refunds/7", None).status, 403, "six seconds, not more");
    let ended = payments.event("grant_ended", |event| event["grant"] == granted.as_str());
    assert!(ended.to_string().contains("expired"), "{ended:#}");
}

#[test]
fn m05_revoking_and_giving_back_shut_the_gate_at_once() {
    let payments = Payments::open();
    let (ana, lea) = (payments.enter(&ana()), payments.enter(&lea()));
    let granted = ask_and_pass(&ana);
    assert_eq!(lea.call("POST", &format!("/v1/grants/{granted}/revoke"), None).status, 200);
    assert_eq!(ana.refund(1).status, 403);
    assert_eq!(lea.call("POST", &format!("/v1/grants/{granted}/revoke"), None).status, 409);
    let granted = ask_and_pass(&ana);
    assert_eq!(ana.call("POST", &format!("/v1/grants/{granted}/give-back"), None).status, 200);
    assert_eq!(ana.refund(1).status, 403);
}

#[test]
fn n02_a_grant_is_worth_nothing_without_its_rule() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    ask_and_pass(&ana);
    let renamed =
        crate::payments::POLICIES.replace("payments.refund.oncall", "payments.refund.renamed");
    payments.house.write_policy("payments.cedar", &renamed);
    payments.house.signal("HUP");
    payments.event("grant_ended", |event| event.to_string().contains("rule_gone"));
    let refused = ana.refund(1);
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["ways"][0]["rule"],
        "payments.refund.renamed",
        "it can be asked for anew"
    );
}

#[test]
fn signing_out_ends_what_was_signed_in() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
    assert!(ana.call("POST", "/v1/sign-out", None).status < 300);
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 401);
    assert_eq!(ana.call("GET", "/v1/whoami", None).status, 401);
}

#[test]
fn n01_audiences_are_apart() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let swapped =
        payments.house.gate("payments.example.com", "GET", "/v1/refunds", Some(&ana.control), None);
    assert_eq!(swapped.status, 401);
    assert_eq!(payments.house.api("GET", "/v1/whoami", Some(&ana.gate), None).status, 401);
    let token = ana
        .call("POST", "/v1/sign-ins", Some(json!({"audience": "gate", "service": "payments"})))
        .json();
    let token = token["token"].as_str().unwrap();
    let elsewhere = payments.house.gate("nowhere.example.com", "GET", "/", Some(token), None);
    assert!([401, 403, 404].contains(&elsewhere.status));
}

fn ask_and_pass(visitor: &Visitor<'_>) -> String {
    let refused = visitor.refund(1);
    assert_eq!(refused.status, 403);
    let granted = grant(&visitor.ask(&refused, json!({})).json());
    assert_eq!(visitor.refund(1).status, 200);
    granted
}

#[test]
fn n04_bodies_that_mean_two_things_are_refused() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let send = |body: &str| {
        let head = format!(
            "POST /v1/refunds HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            ana.gate,
            body.len()
        );
        crate::wire::exchange(payments.house.gate, head)
    };
    let twice = send(r#"{"amount": 1, "amount": 99999, "currency": "EUR"}"#);
    assert_eq!(twice.status, 400, "{}", twice.text());
    for body in [r#"{"amount": 1.5, "currency": "EUR"}"#, r#"{"amount": "1", "currency": "EUR"}"#] {
        assert_eq!(send(body).status, 422, "{body}");
    }
    assert_eq!(send("{\"amount\": 1, \"currency\"").status, 400);
    assert!(payments.upstream.take().is_empty());
    let granted: Value = ana.ask(&ana.refund(1), json!({})).json();
    grant(&granted);
    let undeclared = send(r#"{"amount": 1, "currency": "EUR", "note": {"amount": 2}}"#);
    assert_eq!(undeclared.status, 200, "{}", undeclared.text());
}

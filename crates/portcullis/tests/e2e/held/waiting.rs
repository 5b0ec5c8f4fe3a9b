//! What becomes of a request that waits.

use serde_json::json;

use super::{CANARY, assert_never_runs, body, held, open, over, refund, refund_at_once, send};
use crate::payments::{ana, ben, grant, id, lea};

#[test]
fn e19_a_request_that_waits_is_sent_once_when_it_is_approved() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let mut wire = refund(&payments, &ben, 60);
    let request = held(&lea);
    assert_eq!(request["held"]["summary"], "POST /v1/refunds");
    assert_eq!(request["held"]["size"], body().len());
    assert_eq!(request["queries"][0]["way"]["max_uses"], 1);
    assert!(request["queries"][0]["digest"].as_str().unwrap().starts_with("sha256:"));
    let shown = request.to_string();
    assert!(!shown.contains(CANARY) && !shown.contains("40000"), "nothing of the payload: {shown}");
    assert!(payments.upstream.received().is_empty(), "it waits");

    let approved = lea.approve(&request);
    assert!(approved.status < 300, "{}", approved.text());
    let answer = wire.response().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), Some("wait=60"));
    let granted = grant(&approved.json());
    assert_eq!(answer.header("portcullis-grant"), Some(granted.as_str()));
    let received = payments.upstream.take();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].body, body().as_bytes());
    assert!(received[0].headers("prefer").is_empty(), "the gate has applied it");

    // A client, a library or a proxy in between sends it again by itself: not under this grant.
    assert_eq!(refund_at_once(&payments, &ben).status, 403);
    assert!(payments.upstream.take().is_empty());

    let sent = request["held"]["request"].as_str().unwrap();
    let asked = payments.event("access_requested", |event| event["request"] == sent);
    assert_eq!(asked["access_request"], id(&request));
    let digest = request["queries"][0]["digest"].as_str().unwrap();
    let detail = asked["detail"].as_str().unwrap();
    assert!(detail.contains("POST /v1/refunds") && detail.ends_with(digest), "{detail}");
    let attempt = payments.event("attempt", |event| event["request"] == sent);
    assert_eq!((&attempt["decision"], &attempt["status"]), (&json!("permit"), &json!(200)));
    assert_eq!(attempt["grant"], granted.as_str());
    payments.event("grant_used", |event| event["request"] == sent);
    let log = payments.house.log();
    assert!(!log.contains(CANARY), "{log}");
}

#[test]
fn a_rule_may_hold_by_itself_and_a_reviewer_may_say_no() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let cancel =
        |more| send(&payments, &ben, "payments.example.com", "DELETE /v1/refunds/r%2D7", more, "");
    // Who does not want to wait says so.
    let refused = cancel("Prefer: wait=0\r\n").response().unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(refused.json()["ways"][0]["hold"], "1m");
    assert_eq!(refused.header("preference-applied"), None);

    let mut wire = cancel("");
    let request = held(&lea);
    assert_eq!(request["held"]["parameters"], json!({"id": "r-7"}));
    assert!(lea.decline(&request, "call me first").status < 300);
    let answer = wire.response().unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), None, "nobody preferred anything");
    let problem = answer.json();
    assert!(problem["type"].as_str().unwrap().ends_with("/problems/declined"), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains("call me first"), "{problem:#}");
    assert!(problem["refusal"].is_null(), "there is nothing to ask for");
    assert_never_runs(&payments, &lea, &request);

    let mut wire = cancel("");
    assert!(lea.approve(&held(&lea)).status < 300);
    assert_eq!(wire.response().unwrap().status, 200);
    assert_eq!(payments.upstream.take()[0].target(), "DELETE /v1/refunds/r%2D7");
    // The rule counts nothing; what was held was one action all the same.
    assert_eq!(cancel("Prefer: wait=0\r\n").response().unwrap().status, 403);
}

#[test]
fn nobody_answers_and_it_can_be_asked_for_as_ever() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let mut wire = refund(&payments, &ben, 2);
    let request = held(&lea);
    let answer = wire.response().unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), Some("wait=2"));
    let problem = answer.json();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("waited for 2s and nobody answered"), "{detail}");
    let withdrawn = over(&lea, &request);
    assert_eq!(withdrawn["state"], "withdrawn");
    assert_eq!(withdrawn["why"], "nobody answered while the request waited");
    assert_never_runs(&payments, &lea, &request);
    let ended =
        payments.event("access_request_ended", |event| event["access_request"] == id(&request));
    assert_eq!(ended["detail"], "nobody answered while the request waited");

    let asked = ben.ask(&answer, json!({}));
    assert!(asked.status < 300, "{}", asked.text());
    assert!(lea.approve(&asked.json()).status < 300);
    assert_eq!(refund_at_once(&payments, &ben).status, 200, "one identical request, later");
    assert_eq!(payments.upstream.take().len(), 1);
}

#[test]
fn e38_who_leaves_takes_the_request_along() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let wire = refund(&payments, &ben, 60);
    let request = held(&lea);
    drop(wire);
    let withdrawn = over(&lea, &request);
    assert_eq!(
        (&withdrawn["state"], &withdrawn["why"]),
        (&json!("withdrawn"), &json!("the client went away"))
    );
    assert_never_runs(&payments, &lea, &request);
    let sent = request["held"]["request"].as_str().unwrap();
    let attempt = payments.event("attempt", |event| event["request"] == sent);
    assert_eq!((&attempt["refusal"], &attempt["status"]), (&json!("client-gone"), &json!(499)));
}

#[test]
fn an_automatic_way_goes_through_at_once() {
    let payments = open();
    let ana = payments.enter(&ana());
    let answer = refund(&payments, &ana, 60).response().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), Some("wait=60"));
    assert_eq!(payments.upstream.take().len(), 1);
    // It was for this one.
    assert_eq!(refund_at_once(&payments, &ana).status, 403);
}

#[test]
fn e36_identical_requests_are_one_question_and_one_of_them_is_sent() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let mut wires: Vec<_> = (0..4).map(|_| refund(&payments, &ben, 60)).collect();
    let request = held(&lea);
    // The first to leave takes nothing along: others wait for the same.
    drop(wires.pop());
    payments.event("attempt", |event| event["refusal"] == "client-gone");
    assert_eq!(held(&lea), request);
    assert!(lea.approve(&request).status < 300);
    let mut statuses: Vec<_> =
        wires.iter_mut().map(|wire| wire.response().unwrap().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403]);
    assert_eq!(payments.upstream.take().len(), 1);
}

#[test]
fn e22_whoever_signs_out_does_not_wait_any_longer() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let mut wire = refund(&payments, &ben, 60);
    let request = held(&lea);
    let own = ben.call("GET", "/v1/sign-ins", None).json();
    for sign_in in own["sign_ins"].as_array().unwrap() {
        if sign_in["audience"] == "gate" {
            let path = format!("/v1/sign-ins/{}", id(sign_in));
            assert!(ben.call("DELETE", &path, None).status < 300);
        }
    }
    let answer = wire.response().unwrap();
    assert_eq!(answer.status, 401, "{}", answer.text());
    let withdrawn = over(&lea, &request);
    assert_eq!(withdrawn["why"], "what identified the caller ended");
    assert_never_runs(&payments, &lea, &request);
}

#[test]
fn e22_n16_e28_an_approval_under_policies_that_have_changed_sends_nothing() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let mut wire = refund(&payments, &ben, 60);
    let request = held(&lea);
    let without = crate::payments::POLICIES
        .replace("context.body.amount <= 50000", "context.body.amount <= 39999");
    payments.house.write_policy("payments.cedar", &without);
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == 2);
    // What reviewers approve is decided ahead of the body; the gate decides with it.
    assert!(lea.approve(&request).status < 300);
    let answer = wire.response().unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn portcullis_curl_waits_with_curl_itself() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    payments.house.profile("ben", &ben.control);
    let gate = format!("http://{}", payments.house.gate);
    let address = "http://payments.example.com/v1/refunds/7";
    let arguments = [
        "curl",
        "--gate",
        &gate,
        "--wait",
        "90s",
        "-sS",
        "--http2-prior-knowledge",
        "-X",
        "DELETE",
        address,
    ];
    let output = std::thread::scope(|scope| {
        let curl = scope.spawn(|| payments.house.cli("ben", &arguments));
        let request = held(&lea);
        assert_eq!(request["held"]["parameters"], json!({"id": "7"}));
        assert!(lea.approve(&request).status < 300);
        curl.join().unwrap()
    });
    assert_eq!(String::from_utf8_lossy(&output.stdout), "upstream", "{output:?}");
    assert_eq!(output.status.code(), Some(0));
}

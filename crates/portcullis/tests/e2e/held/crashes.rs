//! kill -9 while a request waits, and when it is let go: nothing runs later, nothing runs twice.

use std::time::Duration;

use serde_json::{Value, json};

use super::{held, open, open_at, refund};
use crate::{
    payments::{Payments, ben, id, lea},
    upstream::Upstream,
    wire::{Response, Wire},
};

/// A request that waits, the tokens of ben and lea, and what asks for it.
struct Waits {
    wire: Wire,
    ben: String,
    lea: String,
    request: Value,
}

impl Waits {
    fn begin(payments: &Payments) -> Self {
        let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
        let wire = refund(payments, &ben, 120);
        let request = held(&lea);
        Self { wire, ben: ben.gate, lea: lea.control, request }
    }

    fn approval(&self) -> String {
        format!("/v1/access-requests/{}/reviews", id(&self.request))
    }

    fn now(&self, payments: &Payments) -> Value {
        let path = format!("/v1/access-requests/{}", id(&self.request));
        payments.house.api("GET", &path, Some(&self.lea), None).json()
    }

    /// The same request again, by somebody who does not wait.
    fn again(&self, payments: &Payments) -> Response {
        let body = serde_json::from_str(&super::body()).unwrap();
        payments.house.gate(
            "payments.example.com",
            "POST",
            "/v1/refunds",
            Some(&self.ben),
            Some(body),
        )
    }
}

#[test]
fn e18_what_waited_when_the_process_was_killed_never_runs() {
    let mut payments = open();
    let mut waits = Waits::begin(&payments);
    payments.house.kill();
    assert!(waits.wire.response().is_none());
    payments.house.restart();
    let withdrawn = waits.now(&payments);
    assert_eq!(withdrawn["state"], "withdrawn", "{withdrawn:#}");
    assert_eq!(withdrawn["why"], "the gate stopped while the request waited; it was not sent");
    let approve = json!({"decision": "approve"});
    let late = payments.house.api("POST", &waits.approval(), Some(&waits.lea), Some(approve));
    assert_eq!(late.status, 409, "{}", late.text());
    assert_eq!(waits.again(&payments).status, 403);
    assert!(payments.upstream.take().is_empty());
    let ended = payments
        .event("access_request_ended", |event| event["access_request"] == id(&waits.request));
    assert_eq!(ended["request"], waits.request["held"]["request"]);
}

#[test]
fn e18_killed_after_it_was_sent_its_outcome_is_unknown_and_its_use_is_spent() {
    // An upstream that takes the request and never answers.
    let mut payments = open_at(Upstream::answering(""), |plan| plan);
    let waits = Waits::begin(&payments);
    let approve = json!({"decision": "approve"});
    let approved = payments.house.api("POST", &waits.approval(), Some(&waits.lea), Some(approve));
    assert!(approved.status < 300, "{}", approved.text());
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while payments.upstream.received().is_empty() {
        assert!(std::time::Instant::now() < deadline, "it should be sent");
        std::thread::sleep(Duration::from_millis(10));
    }
    payments.house.kill();
    payments.house.restart();
    let sent = &waits.request["held"]["request"];
    let attempt = payments.event("attempt", |event| event["request"] == *sent);
    assert_eq!(attempt["outcome"], "unknown", "{attempt:#}");
    let used = payments.event("grant_used", |event| event["request"] == *sent);
    assert_eq!(used["grant"], attempt["grant"]);
    assert_eq!(waits.again(&payments).status, 403, "its use is spent");
    assert_eq!(payments.upstream.take().len(), 1);
}

#[test]
fn e18_killed_while_it_is_let_go_it_runs_at_most_once() {
    for milliseconds in [0, 3, 8, 15, 30] {
        let mut payments = open();
        let waits = Waits::begin(&payments);
        let body = json!({"decision": "approve"}).to_string();
        // The answer may never come: the process dies at any point behind this.
        let mut approval = Wire::connect(payments.house.control);
        approval.send(format!(
            "POST {} HTTP/1.1\r\nHost: control.example.com\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            waits.approval(),
            waits.lea,
            body.len()
        ));
        std::thread::sleep(Duration::from_millis(milliseconds));
        payments.house.kill();
        payments.house.restart();
        let sent = payments.upstream.take().len();
        assert!(sent <= 1, "{sent} after {milliseconds} ms");
        assert_ne!(waits.now(&payments)["state"], "pending");
        // Where its use was not spent, an identical request may have it: one of them.
        let later = (0..3).filter(|_| waits.again(&payments).status == 200).count();
        assert!(sent + later <= 1, "{sent} and {later} after {milliseconds} ms");
        assert_eq!(payments.upstream.take().len(), later);
        if sent == 1 {
            let request = &waits.request["held"]["request"];
            payments.event("attempt", |event| event["request"] == *request);
        }
    }
}

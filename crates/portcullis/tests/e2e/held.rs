//! Holding one action at the gate: it waits for an approval of exactly itself, and is sent once or
//! never.

mod crashes;
mod digests;
mod grpc;
mod limits;
mod shown;
mod waiting;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    house::Plan,
    payments::{Payments, Visitor, id},
    upstream::Upstream,
    wire::Wire,
};

/// Says nothing to anybody but the upstream.
const CANARY: &str = "held-canary-4711";

/// Beside the policies of the house: rules that hold, and one that only counts.
const POLICIES: &str = r#"
@id("payments.cancel.held")
@reviews("1") @max_duration("15m") @hold("1m")
permit (principal is User in Group::"engineering", action == Action::"payments.cancelRefund", resource in Service::"payments")
when { context has grant };

@id("vault.write")
@reviews("1") @max_duration("15m") @max_uses("1")
permit (principal is User in Group::"engineering", action in [Action::"vault.PUT", Action::"vault.POST"], resource in Service::"vault")
when { context has grant };

@id("vault.reviewers")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"vault" };
"#;

/// Payments, and a vault that declares no operations.
fn open() -> Payments {
    open_with(|plan| plan)
}

fn open_with(furnish: impl FnOnce(Plan) -> Plan) -> Payments {
    open_at(Upstream::start(), furnish)
}

fn open_at(upstream: Upstream, furnish: impl FnOnce(Plan) -> Plan) -> Payments {
    let vault = format!(
        "name: vault\nhosts: [vault.example.com]\nmax_body: 4KiB\n\
         upstream: {{instances: {{v-1: \"{}\"}}}}",
        upstream.url()
    );
    Payments::furnished(upstream, |plan| {
        furnish(plan.service(&vault).policy("held.cedar", POLICIES))
    })
}

/// Sends a request on a connection of its own, and does not wait for the answer.
fn send(
    payments: &Payments,
    who: &Visitor<'_>,
    host: &str,
    line: &str,
    more: &str,
    body: &str,
) -> Wire {
    let mut wire = Wire::connect(payments.house.gate);
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n{more}\r\n",
        who.gate,
        body.len()
    );
    wire.send(head + body);
    wire
}

/// A refund that waits for up to `seconds`.
fn refund(payments: &Payments, who: &Visitor<'_>, seconds: u32) -> Wire {
    let more = format!("Content-Type: application/json\r\nPrefer: wait={seconds}\r\n");
    send(payments, who, "payments.example.com", "POST /v1/refunds", &more, &body())
}

fn body() -> String {
    json!({"amount": 40_000, "currency": "EUR", "note": CANARY}).to_string()
}

/// The same again, by somebody who does not wait.
fn refund_at_once(payments: &Payments, who: &Visitor<'_>) -> crate::wire::Response {
    let more = "Content-Type: application/json\r\n";
    send(payments, who, "payments.example.com", "POST /v1/refunds", more, &body())
        .response()
        .unwrap()
}

/// All access requests that wait at the gate, once there are `count`.
fn all_held(reviewer: &Visitor<'_>, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let page = reviewer.call("GET", "/v1/access-requests?filter=to-review", None).json();
        let listed = page["access_requests"].as_array().unwrap();
        let held: Vec<_> = listed.iter().filter(|one| one["held"].is_object()).cloned().collect();
        if held.len() == count {
            return held;
        }
        assert!(Instant::now() < deadline, "{count} should wait: {page:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn held(reviewer: &Visitor<'_>) -> Value {
    all_held(reviewer, 1).remove(0)
}

/// The access request, once it is over.
fn over(who: &Visitor<'_>, request: &Value) -> Value {
    let path = format!("/v1/access-requests/{}", id(request));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = who.call("GET", &path, None).json();
        if now["state"] != "pending" {
            return now;
        }
        assert!(Instant::now() < deadline, "it should be over: {now:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Nobody can approve it any more, and nothing was sent.
fn assert_never_runs(payments: &Payments, reviewer: &Visitor<'_>, request: &Value) {
    assert_eq!(reviewer.approve(request).status, 409);
    let received = payments.upstream.take();
    assert!(received.is_empty(), "{received:?}");
}

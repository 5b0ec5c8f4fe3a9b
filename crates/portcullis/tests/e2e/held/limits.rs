//! How many may wait, and how much of a body is read.

use std::fmt::Write as _;

use super::{all_held, held, open, open_with, over, refund, send};
use crate::{
    payments::{ben, id, lea, leo},
    people::Person,
};

#[test]
fn e39_more_than_may_wait_are_refused_at_once_with_their_ways() {
    let payments =
        open_with(|plan| plan.setting("holding: {requests: 3, per_principal: 2, bytes: 64KiB}"));
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let eve = payments.enter(&Person::new("eve", &["engineering"]));
    let cancel = |who: &_, number: u32| {
        let line = format!("DELETE /v1/refunds/{number}");
        send(&payments, who, "payments.example.com", &line, "Prefer: wait=60\r\n", "")
    };
    let mut first = cancel(&ben, 1);
    let _second = cancel(&ben, 2);
    all_held(&lea, 2);
    let refused = cancel(&ben, 3).response().unwrap();
    assert_eq!(refused.status, 403, "too many of one: {}", refused.text());
    assert_eq!(refused.json()["ways"][0]["rule"], "payments.cancel.held");
    assert!(refused.json()["refusal"].is_string(), "it can be asked for");
    assert_eq!(refused.header("preference-applied"), None, "nobody waited");
    let _third = cancel(&eve, 4);
    let waiting = all_held(&lea, 3);
    assert_eq!(cancel(&eve, 5).response().unwrap().status, 403, "too many in all");
    let metrics = payments.house.api("GET", "/metrics", None, None).text();
    assert!(metrics.contains("portcullis_gate_held 3"), "{metrics}");
    assert!(metrics.contains("portcullis_gate_holds_total{end=\"turned-away\"} 2"), "{metrics}");

    // A place that is free again is taken.
    let of_first = |one: &&serde_json::Value| one["held"]["summary"] == "DELETE /v1/refunds/1";
    assert!(lea.approve(waiting.iter().find(of_first).unwrap()).status < 300);
    assert_eq!(first.response().unwrap().status, 200);
    let _again = cancel(&ben, 6);
    all_held(&lea, 3);
}

#[test]
fn e39_bodies_that_wait_are_bounded_in_bytes() {
    let payments = open_with(|plan| plan.setting("holding: {bytes: 5KiB}"));
    let (ben, leo) = (payments.enter(&ben()), payments.enter(&leo()));
    let put = |more: &str, body: &str| {
        let more = format!("Prefer: wait=60\r\n{more}");
        send(&payments, &ben, "vault.example.com", "PUT /key", &more, body)
    };
    let _first = put("", &"a".repeat(4096));
    held(&leo);
    assert_eq!(put("", &"b".repeat(2048)).response().unwrap().status, 403);
    let _second = put("", &"c".repeat(512));
    all_held(&leo, 2);
}

#[test]
fn a_body_over_the_limit_is_refused_and_never_passes_unseen() {
    let payments = open();
    let ben = payments.enter(&ben());
    let large = "x".repeat(4097);
    for more in ["", "Prefer: wait=60\r\n"] {
        let refused = send(&payments, &ben, "vault.example.com", "PUT /key", more, &large);
        let refused = { refused }.response().unwrap();
        assert_eq!(refused.status, 413, "{}", refused.text());
    }
    // Without a length that could be looked at first.
    let mut wire = crate::wire::Wire::connect(payments.house.gate);
    let mut chunked = format!(
        "PUT /key HTTP/1.1\r\nHost: vault.example.com\r\nAuthorization: Bearer {}\r\n\
         Prefer: wait=60\r\nTransfer-Encoding: chunked\r\n\r\n",
        ben.gate
    );
    for _ in 0..5 {
        write!(chunked, "400\r\n{}\r\n", "x".repeat(1024)).unwrap();
    }
    let refused = wire.send(chunked + "0\r\n\r\n").response().unwrap();
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn a_body_that_does_not_come_waits_no_longer_than_the_request_may() {
    let payments = open();
    let ben = payments.enter(&ben());
    let mut wire = crate::wire::Wire::connect(payments.house.gate);
    wire.send(format!(
        "DELETE /v1/refunds/1 HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n\
         Prefer: wait=1\r\nContent-Length: 10\r\n\r\nabc",
        ben.gate
    ));
    let refused = wire.response().unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn l12_a_gate_that_stops_lets_nobody_wait_and_takes_the_requests_back() {
    let mut payments = open();
    let (request, control, mut wire) = {
        let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
        let wire = refund(&payments, &ben, 60);
        (held(&lea), lea.control, wire)
    };
    payments.house.signal("TERM");
    let answer = wire.response().unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    payments.house.wait_end();
    payments.house.restart();
    let path = format!("/v1/access-requests/{}", id(&request));
    let found = payments.house.api("GET", &path, Some(&control), None).json();
    assert_eq!(found["state"], "withdrawn", "{found:#}");
    assert_eq!(found["why"], "the gate is shutting down");
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn a_service_bounds_how_long_anything_waits() {
    let upstream = crate::upstream::Upstream::start();
    let service = format!(
        "name: brief\nhosts: [brief.example.com]\nmax_hold: 1s\n\
         upstream: {{instances: {{b-1: \"{}\"}}}}",
        upstream.url()
    );
    let rule = "@id(\"brief.held\") @hold(\"10m\")\n\
        permit (principal is User in Group::\"engineering\", action == Action::\"brief.POST\", resource in Service::\"brief\")\n\
        when { context has grant };\n\
        @id(\"brief.reviewers\")\n\
        permit (principal is User in Group::\"leads\", action == Action::\"review\", resource is AccessRequest)\n\
        when { resource.service == Service::\"brief\" };";
    let payments = open_with(|plan| plan.service(&service).policy("brief.cedar", rule));
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let mut wire = send(&payments, &ben, "brief.example.com", "POST /", "Prefer: wait=600\r\n", "");
    let answer = wire.response().unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), Some("wait=1"), "as long as it was");
    let listed = lea.call("GET", "/v1/access-requests?filter=all", None).json();
    let request = &listed["access_requests"][0];
    assert_eq!(over(&lea, request)["state"], "withdrawn");
}

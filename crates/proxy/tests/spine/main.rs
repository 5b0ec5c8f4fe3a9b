//! The spine with a real bundle, real sockets and ports held in memory.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken house fails the test that lives in it"
)]

mod approvals;
mod browsers;
mod grant_tokens;
mod house;
mod masking_cost;
mod panics;
mod upstream;

use std::time::{Duration, Instant};

use house::{House, TOKEN};
use jiff::SignedDuration;
use portcullis_model::Grant;

#[test]
fn a_permitted_request_reaches_the_upstream_with_the_gates_own_headers() {
    let house = House::open();
    let spoofed = "Portcullis-Principal: root\r\nX_Forwarded_For: 6.6.6.6\r\nX-Note: kept\r\n";
    let answer = house.get("payments.test", "/v1/refunds/7?x=1", spoofed);
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = &answer.body;
    assert!(seen.starts_with("GET /v1/refunds/7?x=1 HTTP/1.1"), "{seen}");
    assert!(seen.contains("portcullis-principal: corp:ana\r\n"), "{seen}");
    assert!(seen.contains("x-note: kept\r\n"), "{seen}");
    assert!(seen.contains("portcullis-assertion: ey"), "{seen}");
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
    assert!(!seen.contains("root") && !seen.contains("6.6.6.6"), "{seen}");
    assert!(!seen.contains(TOKEN), "the credential that was used is removed");
    assert!(answer.head.contains("portcullis-request-id: "), "{}", answer.head);
    assert_eq!(house.records(), ["intent permit Standard payments.getRefund", "outcome 200"]);
}

#[test]
fn nobody_and_nonsense_are_refused_before_anything_else() {
    let house = House::open();
    let none = house.raw("GET / HTTP/1.1\r\nHost: nowhere.test\r\n\r\n");
    assert_eq!(none.status, 401);
    assert!(none.head.contains("www-authenticate: Bearer"), "{}", none.head);
    let bad = "GET / HTTP/1.1\r\nHost: payments.test\r\nAuthorization: Bearer nonsense\r\n\r\n";
    assert_eq!(house.raw(bad).status, 401);
    assert_eq!(house.raw("GET /a/../b HTTP/1.1\r\nHost: payments.test\r\n\r\n").status, 400);
    assert_eq!(house.raw("TRACE / HTTP/1.1\r\nHost: payments.test\r\n\r\n").status, 405);
    assert_eq!(house.raw("GET / HTTP/1.1\r\n\r\n").status, 400);
    assert_eq!(house.get("nowhere.test", "/", "").status, 404);
    assert_eq!(house.get("payments.test", "/v1/unknown", "").status, 403);
    assert_eq!(house.upstream_requests(), 0);
}

#[test]
fn k13_what_cannot_be_kept_is_not_forwarded() {
    let house = House::open();
    let answer = house.get("payments.test", "/v1/kept", "");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(house.upstream_requests(), 0);
}

#[test]
fn a_requestable_refusal_names_what_would_open_it() {
    let house = House::open();
    let answer = house.post("payments.test", "/v1/refunds", "{\"amount\":1}");
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
    assert!(answer.body.contains("\"refusal\":\"7K2M\""), "{}", answer.body);
    assert!(answer.body.contains("\"ask\":\"portcullis ask 7K2M\""), "{}", answer.body);
    assert!(answer.body.contains("\"reviewers\":[\"lea\"]"), "{}", answer.body);
    assert_eq!(house.records(), ["refused requestable payments.createRefund 403"]);
    assert_eq!(house.upstream_requests(), 0);
}

#[test]
fn a_grant_opens_it_and_its_end_closes_it() {
    let house = House::open();
    let grant = house.grant("payments.createRefund", None);
    let answer = house.post("payments.test", "/v1/refunds", "{\"amount\":1}");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("portcullis-grant: "), "{}", answer.head);
    assert_eq!(house.records()[0], "intent permit Strict payments.createRefund");
    house.revoke(&grant);
    assert_eq!(house.post("payments.test", "/v1/refunds", "{\"amount\":1}").status, 403);
}

#[test]
fn a_broken_record_lets_nothing_through() {
    let house = House::open();
    house.break_record();
    assert_eq!(house.get("payments.test", "/v1/refunds/7", "").status, 503);
    assert_eq!(house.get("nowhere.test", "/", "").status, 503);
    assert_eq!(house.upstream_requests(), 0);
}

#[test]
fn a16_an_unread_body_is_never_taken_for_a_request() {
    let house = House::open();
    let hidden = "GET /v1/refunds/7 HTTP/1.1\r\nHost: payments.test\r\n\r\n";
    let padding = "x".repeat(200_000);
    let length = hidden.len() + padding.len();
    let request = format!(
        "POST /nothing HTTP/1.1\r\nHost: payments.test\r\nContent-Length: {length}\r\n\r\n\
         {hidden}{padding}"
    );
    let everything = house.raw_all(&request);
    assert_eq!(everything.matches("HTTP/1.1 ").count(), 1, "{everything}");
    assert!(everything.contains("connection: close"), "{everything}");
}

#[test]
fn e21_an_idle_event_stream_is_cut_when_its_grant_ends() {
    let house = House::open();
    let grant = house.grant("payments.events", None);
    let mut stream = house.stream("GET", "payments.test", "/v1/events", "");
    assert!(stream.until("data: hello").contains("200 OK"));
    house.wait_for_connections(1);
    house.revoke(&grant);
    let cut = Instant::now();
    let rest = stream.rest();
    assert!(cut.elapsed() < Duration::from_secs(8), "{:?}", cut.elapsed());
    assert!(!rest.contains("0\r\n\r\n"), "the client must see that it is cut: {rest:?}");
    assert_eq!(house.ended_connections(), ["sse GrantEnded"]);
}

#[test]
fn e21_an_idle_websocket_is_closed_with_1008_and_a_reason() {
    let house = House::open();
    let grant = house.grant("payments.socket", None);
    let upgrade = "Connection: Upgrade, X-Forwarded-For\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut stream = house.stream("GET", "payments.test", "/v1/socket", upgrade);
    let head = stream.until("hello");
    assert!(head.contains("101 Switching Protocols"), "{head}");
    house.wait_for_connections(1);
    house.revoke(&grant);
    let cut = Instant::now();
    let rest = stream.rest_bytes();
    assert!(cut.elapsed() < Duration::from_secs(8), "{:?}", cut.elapsed());
    assert_eq!(rest[..4], [0x88, 17, 0x03, 0xf0], "{rest:?}");
    assert_eq!(&rest[4..], b"the grant ended");
    assert_eq!(house.ended_connections(), ["websocket GrantEnded"]);
}

#[test]
fn a_stream_lives_on_with_its_grant_when_that_is_extended() {
    let house = House::open();
    let grant = house.grant("payments.events", None);
    let mut stream = house.stream("GET", "payments.test", "/v1/events", "");
    assert!(stream.until("data: hello").contains("200 OK"));
    house.wait_for_connections(1);
    let until = grant.expires_at + SignedDuration::from_mins(3);
    let now = grant.starts_at;
    house.put(grant.clone().extend(until, grant.kind, grant.reviews, now).unwrap());
    house.advance(SignedDuration::from_mins(6));
    // Time is looked at twice a second.
    std::thread::sleep(Duration::from_millis(1200));
    assert!(house.is_nothing_ended(), "the end that it had is no end any more");
    house.advance(SignedDuration::from_mins(2));
    stream.rest();
    assert_eq!(house.ended_connections(), ["sse GrantEnded"], "and the end that it has is one");
}

#[test]
fn only_grants_that_end_unused_are_said_to_be_used() {
    let house = House::open();
    let grant = house.grant("payments.createRefund", None);
    assert_eq!(house.post("payments.test", "/v1/refunds", "{\"amount\":1}").status, 200);
    assert_eq!(house.used(), 0);
    let idle = Some("5m".parse().unwrap());
    house.put(Grant { idle, version: grant.version + 1, ..grant });
    for _ in 0..3 {
        assert_eq!(house.post("payments.test", "/v1/refunds", "{\"amount\":1}").status, 200);
    }
    assert_eq!(house.used(), 1, "once in a second, and no more");
    house.advance(SignedDuration::from_secs(1));
    assert_eq!(house.post("payments.test", "/v1/refunds", "{\"amount\":1}").status, 200);
    assert_eq!(house.used(), 2);
}

#[test]
fn a_counted_grant_is_spent_before_sending_and_admits_one_request() {
    let house = House::open();
    house.grant("payments.createRefund", Some(1));
    assert_eq!(house.post("payments.test", "/v1/refunds", "{\"amount\":1}").status, 200);
    assert_eq!(house.consumed(), 1);
    assert_eq!(house.post("payments.test", "/v1/refunds", "{\"amount\":1}").status, 403);
    assert_eq!(house.upstream_requests(), 1);
}

#[test]
fn a_port_in_use_is_an_error_and_no_second_listener() {
    let house = House::open();
    let error = House::try_open_at(house.address()).expect_err("the port is in use");
    assert!(error.to_string().contains("is another program using the port"), "{error}");
}

#[test]
fn an_upstream_that_is_gone_is_502() {
    let house = House::open();
    house.grant("payments.getRefund", None);
    let answer = house.get("gone.test", "/anything", "");
    assert_eq!(answer.status, 502, "{answer:?}");
    let records = house.records();
    assert_eq!(records.last().map(String::as_str), Some("outcome 502 upstream"));
}

#[test]
fn a_flood_of_strangers_is_on_record_as_a_number() {
    let house = House::open();
    for _ in 0..130 {
        assert_eq!(house.raw("GET / HTTP/1.1\r\nHost: payments.test\r\n\r\n").status, 401);
    }
    // What was counted is told every five seconds, so the flood may be told in parts.
    house.advance(SignedDuration::from_secs(6));
    let counted = || {
        let records = house.records();
        let counts = records.iter().filter_map(|line| line.strip_prefix("counted "));
        counts.map(|count| count.parse::<u64>().unwrap()).sum::<u64>()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while counted() < 30 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(counted(), 30);
    let listed = house.records().iter().filter(|line| line.starts_with("refused")).count();
    assert_eq!(listed, 100);
}

#[test]
fn spending_the_last_use_elsewhere_cuts_no_stream() {
    let house = House::open();
    let grant = house.grant("payments.events", Some(2));
    let mut stream = house.stream("GET", "payments.test", "/v1/events", "");
    assert!(stream.until("data: hello").contains("200 OK"));
    house.wait_for_connections(1);
    house.spend(&grant);
    assert_eq!(house.get("payments.test", "/v1/events", "").status, 403, "nothing is left to open");
    std::thread::sleep(Duration::from_millis(700));
    assert!(house.is_nothing_ended(), "a stream that one use opened was cut with the last use");
    house.advance(SignedDuration::from_mins(6));
    assert!(!stream.rest().contains("0\r\n\r\n"));
    assert_eq!(house.ended_connections(), ["sse GrantEnded"]);
}

#[test]
fn revoking_a_counted_grant_cuts_its_streams() {
    let house = House::open();
    let grant = house.grant("payments.events", Some(3));
    let mut stream = house.stream("GET", "payments.test", "/v1/events", "");
    assert!(stream.until("data: hello").contains("200 OK"));
    house.wait_for_connections(1);
    house.revoke(&grant);
    assert!(!stream.rest().contains("0\r\n\r\n"));
    assert_eq!(house.ended_connections(), ["sse GrantEnded"]);
}

#[test]
fn an_instance_that_is_gone_is_made_up_for_by_another() {
    let house = House::open();
    for _ in 0..4 {
        assert_eq!(house.get("twin.test", "/anything", "").status, 200);
    }
    assert_eq!(house.upstream_requests(), 4);
    let addressed = house.get("twin.test", "/anything", "Portcullis-Instance: p-1\r\n");
    assert_eq!(addressed.status, 502, "who names an instance means that one");
}

//! Without waiting: a grant for one request admits that request, and nothing that looks like it.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{open, send};
use crate::{
    payments::{Payments, Visitor, ben, lea},
    wire::Response,
};

const JSON: &str = "Content-Type: application/json\r\nX-Case: 7\r\n";
const BODY: &str = r#"{"amount": 1, "note": "e"}"#;

fn post(payments: &Payments, who: &Visitor<'_>, target: &str, more: &str, body: &str) -> Response {
    let line = format!("POST {target}");
    send(payments, who, "vault.example.com", &line, more, body).response().unwrap()
}

/// The digest by the documentation alone, over what the upstream received.
fn digest(payments: &Payments, headers: &[(&str, &str)]) -> String {
    let received = payments.upstream.take().remove(0);
    let (method, target) = received.target().split_once(' ').unwrap();
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for text in ["portcullis request 1", "User", "corp:ben", "vault", "", method] {
        part(text.as_bytes());
    }
    for text in ["vault.example.com", path, query] {
        part(text.as_bytes());
    }
    hash.update((headers.len() as u64).to_be_bytes());
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for (name, value) in headers {
        assert_eq!(received.headers(name), [*value], "the upstream got the header");
        part(name.as_bytes());
        part(value.as_bytes());
    }
    part(&received.body);
    format!("sha256:{:x}", hash.finalize())
}

/// Refused, asked for and approved: what the refusal named.
fn approved(
    payments: &Payments,
    ben: &Visitor<'_>,
    lea: &Visitor<'_>,
    refused: &Response,
) -> String {
    let asked = ben.ask(refused, json!({}));
    assert!(asked.status < 300, "{}", asked.text());
    assert!(lea.approve(&asked.json()).status < 300);
    assert!(payments.upstream.take().is_empty());
    refused.json()["digest"].as_str().unwrap().to_owned()
}

#[test]
fn e12_e13_e14_m09_a_grant_for_one_request_admits_that_request_only() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let refused = post(&payments, &ben, "/key?a=1&b=2", JSON, BODY);
    assert_eq!(refused.status, 403);
    let named = approved(&payments, &ben, &lea, &refused);

    let changed = [
        // E12: one byte, a header, the order of the query, the path, the method's own.
        ("/key?a=1&b=2", JSON, r#"{"amount": 2, "note": "e"}"#),
        ("/key?a=1&b=2", "Content-Type: application/json\r\nX-Case: 8\r\n", BODY),
        ("/key?a=1&b=2", "Content-Type: application/json\r\nX-Case: 7\r\nX-Case: 7\r\n", BODY),
        ("/key?a=1&b=2", "Content-Type: application/json\r\n", BODY),
        ("/key?b=2&a=1", JSON, BODY),
        ("/key?a=1&b=2&", JSON, BODY),
        ("/keY?a=1&b=2", JSON, BODY),
        ("/ke%79?a=1&b=2", JSON, BODY),
        // E13: the same meaning in other bytes.
        ("/key?a=1&b=2", JSON, r#"{"amount":1,"note":"e"}"#),
        ("/key?a=1&b=2", JSON, r#"{"amount": 1.0, "note": "e"}"#),
        ("/key?a=1&b=2", JSON, "{\"amount\": 1, \"note\": \"\\u0065\"}"),
        ("/key?a=1&b=2", JSON, r#"{"note": "e", "amount": 1}"#),
        ("/key?a=1&b=2", JSON, r#"{"amount": 9, "amount": 1, "note": "e"}"#),
    ];
    for (target, more, body) in changed {
        let answer = post(&payments, &ben, target, more, body);
        assert_eq!(answer.status, 403, "{target} {more} {body}: {}", answer.text());
    }
    // Without a path, it would be another request than the one that is decided on.
    let pathless = post(&payments, &ben, "http://vault.example.com?a=1&b=2", JSON, BODY);
    assert_eq!(pathless.status, 400, "{}", pathless.text());
    let mut put = send(&payments, &ben, "vault.example.com", "PUT /key?a=1&b=2", JSON, BODY);
    assert_eq!(put.response().unwrap().status, 403, "another method");
    let other = send(&payments, &lea, "vault.example.com", "POST /key?a=1&b=2", JSON, BODY);
    assert_eq!({ other }.response().unwrap().status, 403, "another principal");
    assert!(payments.upstream.received().is_empty());

    // What tells two sendings of one action apart is not part of it.
    let more = format!(
        "{JSON}User-Agent: other\r\nAccept: */*\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    );
    assert_eq!(post(&payments, &ben, "/key?a=1&b=2", &more, BODY).status, 200);
    let sent = digest(&payments, &[("content-type", "application/json"), ("x-case", "7")]);
    assert_eq!(sent, named, "what was approved is what the upstream got");
    assert_eq!(post(&payments, &ben, "/key?a=1&b=2", JSON, BODY).status, 403, "once");
}

#[test]
fn e14_a_coded_body_is_approved_and_sent_as_the_bytes_that_it_is() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    // Two codings of one text: no decoder would tell them apart.
    let coded = "Content-Encoding: x-shift\r\nContent-Type: text/plain\r\n";
    let refused = post(&payments, &ben, "/key", coded, "bcd");
    let named = approved(&payments, &ben, &lea, &refused);
    let plain = "Content-Type: text/plain\r\n";
    assert_eq!(post(&payments, &ben, "/key", plain, "abc").status, 403, "decoded");
    assert_eq!(post(&payments, &ben, "/key", plain, "bcd").status, 403, "not said to be coded");
    assert_eq!(post(&payments, &ben, "/key", coded, "bcd").status, 200);
    let headers = [("content-encoding", "x-shift"), ("content-type", "text/plain")];
    assert_eq!(digest(&payments, &headers), named);
}

#[test]
fn e22_a_grant_that_is_revoked_before_it_is_used_admits_nothing() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let refused = ben.refund(40_000);
    let asked = ben.ask(&refused, json!({})).json();
    let granted = crate::payments::grant(&lea.approve(&asked).json());
    assert_eq!(lea.call("POST", &format!("/v1/grants/{granted}/revoke"), None).status, 200);
    assert_eq!(ben.refund(40_000).status, 403);
    assert!(payments.upstream.take().is_empty());
}

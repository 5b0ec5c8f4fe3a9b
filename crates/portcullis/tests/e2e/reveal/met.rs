//! What was masked in an answer is on record, however the answer comes and however short it is.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use super::{CARD, Orders, Visitor};
use crate::mesh::eventually;

/// An answer that has begun: its request, and what comes.
fn begun(visitor: &Visitor<'_>) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(visitor.house.gate).unwrap();
    write!(
        stream,
        "GET /orders/parts HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n\r\n",
        visitor.gate
    )
    .unwrap();
    headed(BufReader::new(stream))
}

/// Once its head is there.
fn headed(mut lines: BufReader<TcpStream>) -> (String, BufReader<TcpStream>) {
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "{head}");
        head.push_str(&line);
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let id = head.lines().find_map(|line| line.strip_prefix("portcullis-request-id: "));
    (id.unwrap().to_owned(), lines)
}

fn rest(mut lines: BufReader<TcpStream>) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n0\r\n\r\n") {
        lines.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    text
}

/// The entry of this kind about `request`, once it is there.
fn of(orders: &Orders, kind: &str, request: &str) -> Value {
    let is_it = |event: &&Value| event["request"] == request && event["type"] == kind;
    let events = orders.house.record(&orders.auditor, |events| events.iter().any(|e| is_it(&e)));
    events.iter().find(is_it).unwrap().clone()
}

#[test]
fn what_was_met_in_a_short_answer_that_streams_is_on_record_with_its_attempt() {
    let orders = Orders::open();
    let ana = orders.enter("ana", &["oncall"]);
    let (request, lines) = begun(&ana);
    orders.slow.release();
    let text = rest(lines);
    assert!(text.contains("***") && !text.contains(CARD), "{text}");
    let attempt = of(&orders, "attempt", &request);
    assert_eq!(attempt["status"], 200, "{attempt:#}");
    assert_eq!(attempt["masked"], json!(["pci", "pii"]), "{attempt:#}");
    assert_eq!(attempt["met"], json!(["pci", "pii"]), "{attempt:#}");
    // A client that leaves half-way met half of it.
    let (request, lines) = begun(&ana);
    drop(lines);
    let attempt = of(&orders, "attempt", &request);
    assert_eq!(attempt["met"], json!(["pci"]), "{attempt:#}");
}

#[test]
fn the_attempt_of_an_answer_that_goes_on_does_not_wait_for_its_end() {
    let orders = Orders::open();
    let ana = orders.enter("ana", &["oncall"]);
    let (request, lines) = begun(&ana);
    // On record, while nobody lets the rest go.
    let attempt = of(&orders, "attempt", &request);
    assert_eq!(attempt.get("met"), None, "{attempt:#}");
    orders.slow.release();
    rest(lines);
    let ended = of(&orders, "connection_ended", &request);
    assert_eq!(ended["connection"], attempt["connection"], "{ended:#}");
    assert_eq!(ended["met"], json!(["pci", "pii"]), "{ended:#}");
}

/// What somebody sends bit by bit, until others see it as a connection: what is left of it is sent with the end.
fn seen(orders: &Orders, ana: &Visitor<'_>, path: &str) -> BufReader<TcpStream> {
    let lea = orders.enter("lea", &["leads"]);
    let mut stream = TcpStream::connect(ana.house.gate).unwrap();
    write!(
        stream,
        "PUT {path} HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
        ana.gate
    )
    .unwrap();
    eventually("it is listed", || {
        let listed = orders.house.api("GET", "/v1/connections", Some(&lea.control), None).json();
        listed["connections"].as_array().is_some_and(|listed| !listed.is_empty())
    });
    stream.write_all(b"0\r\n\r\n").unwrap();
    BufReader::new(stream)
}

#[test]
fn an_answer_on_a_connection_that_others_see_has_both_that_and_what_was_met_on_record() {
    let orders = Orders::open();
    let ana = orders.enter("ana", &["oncall"]);
    let both = |request: &str| {
        let attempt = of(&orders, "attempt", request);
        assert_eq!(attempt["met"], json!(["pci", "pii"]), "{attempt:#}");
        let ended = of(&orders, "connection_ended", request);
        assert_eq!(attempt["connection"], ended["connection"], "{attempt:#}");
        assert_eq!(ended["met"], json!(["pci", "pii"]), "{ended:#}");
    };
    // All of it at once.
    let (request, _) = headed(seen(&orders, &ana, "/orders/o-1/note"));
    both(&request);
    // In two parts.
    orders.slow.release();
    let (request, lines) = headed(seen(&orders, &ana, "/orders/parts/note"));
    rest(lines);
    both(&request);
    // One that goes on is on record before it ends, and its end says what was met.
    let (request, lines) = headed(seen(&orders, &ana, "/orders/parts/note"));
    let attempt = of(&orders, "attempt", &request);
    assert_eq!(attempt.get("met"), None, "{attempt:#}");
    orders.slow.release();
    rest(lines);
    let ended = of(&orders, "connection_ended", &request);
    assert!(ended["connection"].is_string(), "{ended:#}");
    assert_eq!(attempt["connection"], ended["connection"], "{attempt:#}");
    assert_eq!(ended["met"], json!(["pci", "pii"]), "{ended:#}");
}

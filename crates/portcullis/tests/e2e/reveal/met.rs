//! What was masked in an answer is on record, however the answer comes and however short it is.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use super::{CARD, Orders, Visitor};

/// An answer that has begun: its request, and what comes.
fn begun(visitor: &Visitor<'_>) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(visitor.house.gate).unwrap();
    write!(
        stream,
        "GET /orders/parts HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n\r\n",
        visitor.gate
    )
    .unwrap();
    let mut lines = BufReader::new(stream);
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

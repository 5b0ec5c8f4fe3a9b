//! How much of a body is read before a decision: a limit for each operation, whatever the protocol.

use std::{
    fmt::Write,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;

use crate::{
    house::Plan,
    mesh::eventually,
    payments::{Payments, Visitor, ana, ben},
    upstream::Upstream,
    wire::Wire,
};

const HOST: &str = "drop.example.com";

const OPENAPI: &str = r#"
openapi: 3.1.0
info: {title: Drop, version: "1"}
paths:
  /small:
    post:
      operationId: putSmall
      requestBody: &note
        required: true
        content:
          application/json:
            schema: {type: object, required: [note], properties: {note: {type: string}}}
      responses: {"200": {description: ok}}
  /large: {post: {operationId: putLarge, requestBody: *note, responses: {"200": {description: ok}}}}
  /huge: {post: {operationId: putHuge, requestBody: *note, responses: {"200": {description: ok}}}}
  /usual: {post: {operationId: putUsual, requestBody: *note, responses: {"200": {description: ok}}}}
  /sealed: {post: {operationId: putSealed, requestBody: *note, responses: {"200": {description: ok}}}}
  /free: {post: {operationId: putFree, requestBody: *note, responses: {"200": {description: ok}}}}
"#;

const POLICIES: &str = r#"
@id("drop.noted")
permit (principal is User in Group::"oncall", action in [Action::"drop.putSmall", Action::"drop.putLarge", Action::"drop.putHuge", Action::"drop.putUsual"], resource in Service::"drop")
when { context has body && context.body.note == "ok" };

@id("drop.sealed")
@reviews("1") @max_duration("15m") @max_uses("1")
permit (principal is User in Group::"engineering", action == Action::"drop.putSealed", resource in Service::"drop")
when { context has grant };

@id("drop.free")
permit (principal is User in Group::"oncall", action == Action::"drop.putFree", resource in Service::"drop");
"#;

fn open() -> Payments {
    open_with(|plan| plan)
}

fn open_with(more: impl FnOnce(Plan) -> Plan) -> Payments {
    let upstream = Upstream::start();
    let service = format!(
        "name: drop\nhosts: [{HOST}]\nmax_body: 8KiB\nupstream: {{instances: {{d-1: \"{}\"}}}}\n\
         operations: {{openapi: apis/drop.yaml, max_body: {{putSmall: 1KiB, putLarge: 64KiB, putHuge: 32MiB, putSealed: 2KiB, putFree: 1KiB}}}}",
        upstream.url()
    );
    Payments::furnished(upstream, |plan| {
        more(plan).service(&service).file("apis/drop.yaml", OPENAPI).policy("drop.cedar", POLICIES)
    })
}

/// Ways to send the same body: by both protocols, with a length and without (chunked, in HTTP/1.1).
const WAYS: [(&str, bool); 4] = [
    ("--http1.1", true),
    ("--http1.1", false),
    ("--http2-prior-knowledge", true),
    ("--http2-prior-knowledge", false),
];

/// The status of a POST of `length` bytes to `path` by curl.
fn post(
    payments: &Payments,
    who: &Visitor<'_>,
    path: &str,
    length: usize,
    way: (&str, bool),
) -> u16 {
    let file = payments.house.dir().join("body");
    fs::write(&file, body(length)).unwrap();
    send(payments, who, path, &file, way)
}

/// A note of exactly so many bytes.
fn body(length: usize) -> String {
    let body = json!({"note": "ok", "pad": ""}).to_string();
    body.replace("\"\"", &format!("\"{}\"", "x".repeat(length - body.len())))
}

fn send(payments: &Payments, who: &Visitor<'_>, path: &str, file: &Path, way: (&str, bool)) -> u16 {
    let (port, whole) = (payments.house.gate.port(), format!("@{}", file.display()));
    let (protocol, with_length) = way;
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"])
        .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1"), protocol])
        .args(["-H", &format!("Authorization: Bearer {}", who.gate)])
        .args(["-H", "Content-Type: application/json", "-H", "Expect:"])
        .args(if with_length { ["--data-binary", whole.as_str()] } else { ["-T", "-"] })
        .arg(format!("http://{HOST}:{port}{path}"))
        .stdin(Stdio::from(File::open(file).unwrap()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    said.parse().unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn what_a_policy_reads_is_limited_for_each_operation() {
    let payments = open();
    let ana = payments.enter(&ana());
    for way in WAYS {
        for (path, most) in [("/small", 1024), ("/usual", 8 * 1024), ("/large", 64 * 1024)] {
            payments.upstream.take();
            assert_eq!(post(&payments, &ana, path, most, way), 200, "{path} {way:?}");
            let arrived = payments.upstream.take();
            assert_eq!(arrived.len(), 1, "{path} {way:?}");
            assert_eq!(arrived[0].body.len(), most, "{path} {way:?}");
            assert_eq!(post(&payments, &ana, path, most + 1, way), 413, "{path} {way:?}");
            assert!(payments.upstream.take().is_empty(), "{path} {way:?} passed unseen");
        }
        // What nothing reads streams, however long it is: there is nothing to be unseen.
        assert_eq!(post(&payments, &ana, "/free", 32 * 1024, way), 200, "{way:?}");
        assert_eq!(payments.upstream.take().len(), 1);
    }
    payments.event("attempt", |event| {
        event["operation"] == "drop.putSmall" && event["refusal"] == "too-large"
    });
}

#[test]
fn what_a_grant_is_bound_to_is_limited_for_each_operation() {
    let payments = open();
    let ben = payments.enter(&ben());
    payments.upstream.take();
    for way in WAYS {
        assert_eq!(
            post(&payments, &ben, "/sealed", 2048, way),
            403,
            "{way:?}: it can be asked for"
        );
        assert_eq!(post(&payments, &ben, "/sealed", 2049, way), 413, "{way:?}");
    }
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn i02_a_body_that_a_policy_reads_does_not_wait_for_ever() {
    let payments = open_with(|plan| plan.setting("limits: {body: 2s}"));
    let ana = payments.enter(&ana());
    let mut wire = Wire::connect(payments.house.gate);
    wire.send(format!(
        "POST /small HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n{{",
        ana.gate
    ));
    let answer = wire.response().expect("an answer");
    assert_eq!((answer.status, answer.closed), (408, true), "{}", answer.text());
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn i16_bodies_that_are_read_to_decide_count_for_whom_they_are() {
    let payments = open_with(|plan| plan.setting("limits: {requests_per_principal: 3}"));
    let (ana, ben) = (payments.enter(&ana()), payments.enter(&ben()));
    let begin = |who: &Visitor<'_>, begun: &str| {
        let mut wire = Wire::connect(payments.house.gate);
        wire.send(format!(
            "POST /small HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{begun}",
            who.gate,
            body(100).len()
        ));
        wire
    };
    let mut held = Vec::new();
    // Each core counts for itself: far more than any has.
    let refused = loop {
        assert!(held.len() < 100, "it goes on and on");
        held.push(begin(&ana, "{"));
        let answer = begin(&ana, &body(100)).response().expect("an answer");
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status, 429, "{}", refused.text());
    let other = begin(&ben, &body(100)).response().expect("an answer");
    assert_eq!(other.status, 403, "others are not concerned: {}", other.text());
    let ended = held.iter_mut().map(|wire| {
        wire.send(&body(100)[1..]);
        let answer = wire.patience(Duration::from_secs(30)).response();
        answer.expect("an answer").status
    });
    let ended: Vec<_> = ended.collect();
    assert!(ended.iter().all(|status| matches!(status, 200 | 429)), "{ended:?}");
    assert!(ended.iter().filter(|status| **status == 200).count() >= 3, "{ended:?}");
    eventually("what is over counts no more", || {
        begin(&ana, &body(100)).response().expect("an answer").status == 200
    });
}

#[test]
fn i12_bodies_that_are_deep_or_wide_are_refused_and_cost_little() {
    let payments = open();
    let ana = payments.enter(&ana());
    let file = payments.house.dir().join("body");
    let deep = |count: usize, open: &str, close: &str| {
        format!(r#"{{"note": "ok", "pad": {}1{}}}"#, open.repeat(count), close.repeat(count))
    };
    let wide = (0..1_000_000).fold(String::new(), |mut wide, n| {
        write!(wide, r#""k{n}": 1, "#).unwrap();
        wide
    });
    payments.upstream.take();
    for (what, body, status) in [
        ("brackets", deep(100_000, "[", "]"), 400),
        ("braces", deep(100_000, r#"{"a":"#, "}"), 400),
        ("open brackets", "[".repeat(100_000), 400),
        ("wide", format!(r#"{{{wide}"note": "ok"}}"#), 400),
    ] {
        fs::write(&file, body).unwrap();
        for way in WAYS {
            let answer = send(&payments, &ana, "/huge", &file, way);
            assert_eq!(answer, status, "{what} {way:?}");
        }
    }
    assert_eq!(post(&payments, &ana, "/usual", 1000, WAYS[0]), 200, "everybody else is served");
}

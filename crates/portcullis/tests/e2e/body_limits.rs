//! How much of a body is read before a decision: a limit for each operation, whatever the protocol.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    payments::{Payments, Visitor, ana, ben},
    upstream::Upstream,
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
  /usual: {post: {operationId: putUsual, requestBody: *note, responses: {"200": {description: ok}}}}
  /sealed: {post: {operationId: putSealed, requestBody: *note, responses: {"200": {description: ok}}}}
  /free: {post: {operationId: putFree, requestBody: *note, responses: {"200": {description: ok}}}}
"#;

const POLICIES: &str = r#"
@id("drop.noted")
permit (principal is User in Group::"oncall", action in [Action::"drop.putSmall", Action::"drop.putLarge", Action::"drop.putUsual"], resource in Service::"drop")
when { context has body && context.body.note == "ok" };

@id("drop.sealed")
@reviews("1") @max_duration("15m") @max_uses("1")
permit (principal is User in Group::"engineering", action == Action::"drop.putSealed", resource in Service::"drop")
when { context has grant };

@id("drop.free")
permit (principal is User in Group::"oncall", action == Action::"drop.putFree", resource in Service::"drop");
"#;

fn open() -> Payments {
    let upstream = Upstream::start();
    let service = format!(
        "name: drop\nhosts: [{HOST}]\nmax_body: 8KiB\nupstream: {{instances: {{d-1: \"{}\"}}}}\n\
         operations: {{openapi: apis/drop.yaml, max_body: {{putSmall: 1KiB, putLarge: 64KiB, putSealed: 2KiB, putFree: 1KiB}}}}",
        upstream.url()
    );
    Payments::furnished(upstream, |plan| {
        plan.service(&service).file("apis/drop.yaml", OPENAPI).policy("drop.cedar", POLICIES)
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

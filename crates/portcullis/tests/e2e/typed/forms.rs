//! Forms, forms in parts and header parameters, as curl sends them.

use std::process::Command;

use crate::{
    outsiders::has,
    payments::{Payments, Visitor, ana},
    upstream::Upstream,
};

const HOST: &str = "desk.example.com";

const OPENAPI: &str = r##"
openapi: 3.1.0
info: {title: Desk, version: "1"}
paths:
  /refunds:
    post:
      operationId: createRefund
      parameters:
        - {name: X-Tenant, in: header, schema: {type: integer}}
        - {name: tag, in: query, style: pipeDelimited, schema: {type: array, items: {type: string}}}
      requestBody:
        required: true
        content:
          application/json: {schema: {$ref: "#/components/schemas/Refund"}}
          application/x-www-form-urlencoded: {schema: {$ref: "#/components/schemas/Refund"}}
          multipart/form-data: {schema: {$ref: "#/components/schemas/Refund"}}
      responses: {"201": {description: created}}
  /receipts:
    post:
      operationId: upload
      requestBody:
        required: true
        content:
          multipart/form-data:
            schema:
              type: object
              required: [receipt]
              properties: {receipt: {type: string, format: binary}, note: {type: [string, "null"]}}
      responses: {"201": {description: created}}
  /free: {post: {operationId: free, responses: {"200": {description: ok}}}}
components:
  schemas:
    Refund:
      type: object
      required: [amount]
      properties: {amount: {type: integer}, note: {type: string}}
"##;

const POLICIES: &str = r#"
@id("desk.refund")
permit (principal is User in Group::"oncall", action == Action::"desk.createRefund", resource in Service::"desk")
when {
  context has params && context.params has "X-Tenant" && context.params["X-Tenant"] == 7 &&
  context has body && context.body.amount <= 50
};

@id("desk.upload")
permit (principal is User in Group::"oncall", action == Action::"desk.upload", resource in Service::"desk")
when {
  context has body && context.body.receipt.size <= 1000 &&
  context.body.receipt has type && context.body.receipt.type == "application/pdf"
};

@id("desk.free")
permit (principal is User in Group::"oncall", action == Action::"desk.free", resource in Service::"desk");
"#;

pub(super) fn open() -> Payments {
    let upstream = Upstream::start();
    let service = format!(
        "name: desk\nhosts: [{HOST}]\nupstream: {{instances: {{d-1: \"{}\"}}}}\noperations: {{openapi: apis/desk.yaml}}",
        upstream.url()
    );
    Payments::furnished(upstream, |plan| {
        plan.service(&service).file("apis/desk.yaml", OPENAPI).policy("desk.cedar", POLICIES)
    })
}

/// The status of what curl sends to `path` with `more`, and whether it arrived.
pub(super) fn curl(
    payments: &Payments,
    who: &Visitor<'_>,
    path: &str,
    more: &[&str],
) -> (u16, bool) {
    let port = payments.house.gate.port();
    payments.upstream.take();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"])
        .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")])
        .args(["-H", &format!("Authorization: Bearer {}", who.gate)])
        .args(more)
        .arg(format!("http://{HOST}:{port}{path}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let status = said.parse();
    let status =
        status.unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    (status, !payments.upstream.take().is_empty())
}

#[test]
fn policies_decide_on_forms_and_headers_that_curl_sends() {
    if !has("curl") {
        return;
    }
    let payments = open();
    let ana = payments.enter(&ana());
    let send = |more: &[&str]| curl(&payments, &ana, "/refunds?tag=a%7Cb", more);
    let tenant = ["-H", "X-Tenant: 7"];
    let with = |more: &[&'static str]| send(&[&tenant, more].concat());
    let json = ["-H", "Content-Type: application/json", "-d"];
    assert_eq!(with(&[&json[..], &[r#"{"amount": 50}"#]].concat()), (200, true));
    assert_eq!(
        with(&["--data-urlencode", "amount=50", "--data-urlencode", "note=a & b"]),
        (200, true)
    );
    assert_eq!(with(&["-F", "amount=50", "-F", "note=a; b"]), (200, true));
    for over in [
        &["-d", "amount=51"][..],
        &["-F", "amount=51"],
        &[json[0], json[1], "-d", r#"{"amount": 51}"#],
    ] {
        assert_eq!(with(over), (403, false), "{over:?}");
    }
    assert_eq!(send(&["-H", "X-Tenant: 8", "-d", "amount=50"]), (403, false));
    assert_eq!(send(&["-d", "amount=50"]), (403, false), "no tenant");
    assert_eq!(send(&["-H", "X-Tenant: 7", "-H", "X-Tenant: 7", "-d", "amount=50"]), (400, false));
    assert_eq!(send(&["-H", "X-Tenant: 7", "-H", "X_Tenant: 8", "-d", "amount=50"]), (400, false));
    // What `Connection` names goes no further, so policies do not see it either.
    let dropped =
        ["--http1.1", "-H", "X-Tenant: 7", "-H", "Connection: X-Tenant", "-d", "amount=50"];
    assert_eq!(send(&dropped), (403, false));
    assert_eq!(with(&["-H", "Content-Type: text/plain", "-d", "amount=50"]), (422, false));
    assert_eq!(with(&["-H", "Content-Encoding: gzip", "-d", "amount=50"]), (422, false));
    assert_eq!(curl(&payments, &ana, "/free", &["-d", "anything"]), (200, true));
}

#[test]
fn policies_decide_on_files_by_size_and_type() {
    if !has("curl") {
        return;
    }
    let payments = open();
    let ana = payments.enter(&ana());
    let file = payments.house.dir().join("a b.pdf");
    let part = format!("receipt=@\"{}\";type=application/pdf", file.display());
    let text = format!("receipt=@\"{}\";type=text/plain", file.display());
    let send = |part: &str| curl(&payments, &ana, "/receipts", &["-F", part, "-F", "note=n"]);
    std::fs::write(&file, [0xff; 1000]).unwrap();
    assert_eq!(send(&part), (200, true));
    assert_eq!(send(&text), (403, false));
    assert_eq!(send("receipt=no file"), (422, false));
    assert_eq!(
        curl(&payments, &ana, "/receipts", &["-F", &part, "-F", &part]),
        (400, false),
        "two of them"
    );
    std::fs::write(&file, [0xff; 1001]).unwrap();
    assert_eq!(send(&part), (403, false));
}

/// What is sent, and the status that a policy which reads it makes of it; 200 if it arrived as it was.
#[test]
fn n04_duplicates_are_malformed_the_undeclared_stays_out_and_no_float_is_a_long() {
    if !has("curl") {
        return;
    }
    let payments = open();
    let ana = payments.enter(&ana());
    let json = ["-H", "Content-Type: application/json", "-d"];
    let cases: [(&[&str], u16); 14] = [
        (&[json[0], json[1], json[2], r#"{"amount": 1, "amount": 99}"#], 400),
        (&[json[0], json[1], json[2], r#"{"amount": 1, "Amount": 99}"#], 400),
        (&[json[0], json[1], json[2], r#"{"amount": 1, "limit": 99}"#], 200),
        (&[json[0], json[1], json[2], r#"{"amount": 1.5}"#], 422),
        (&["-d", "amount=1&amount=99"], 400),
        (&["-d", "amount=1;amount=99"], 400),
        (&["-d", "amount=1&limit=99&limit=98"], 200),
        (&["-d", "amount=1.5"], 422),
        (&["-d", "note=x"], 422),
        (&["-F", "amount=1", "-F", "amount=99"], 400),
        (&["-F", "amount=1", "-F", "amount[]=99"], 400),
        (&["-F", "amount=1", "-F", "limit=99", "-F", "limit=98"], 200),
        (&["-F", "amount=1.5"], 422),
        (&["-F", "amount=9223372036854775808"], 422),
    ];
    for (more, expected) in cases {
        let (status, arrived) =
            curl(&payments, &ana, "/refunds", &[&["-H", "X-Tenant: 7"], more].concat());
        assert_eq!((status, arrived), (expected, expected == 200), "{more:?}");
    }
    for (query, expected) in [
        ("?tag=a%7Cb", 200),
        ("?tag=a&tag=b", 400),
        ("?Tag=a", 400),
        ("?tag=%ff", 400),
        ("?tags=a&tags=b", 200),
    ] {
        let more = ["-H", "X-Tenant: 7", "-d", "amount=1"];
        assert_eq!(
            curl(&payments, &ana, &format!("/refunds{query}"), &more).0,
            expected,
            "{query}"
        );
    }
    let more = ["-H", "X-Tenant: 7.5", "-d", "amount=1"];
    assert_eq!(curl(&payments, &ana, "/refunds", &more), (422, false));
}

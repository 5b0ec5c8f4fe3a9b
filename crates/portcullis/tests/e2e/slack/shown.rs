//! What a message shows: who, what and why as they were written, nothing that imitates anything, and no
//! secret.

use serde_json::json;

use super::{Mode, Office, text};
use crate::{
    payments::{ben, lea},
    people::Person,
    wire::Wire,
};

const CANARY: &str = "canary-0815-in-a-payload";

/// A service whose requests have something sensitive in them.
const TILL: &str = r#"
@id("till.refund")
@reviews("1") @max_duration("15m") @max_uses("1")
permit (principal is User in Group::"engineering", action == Action::"till.createRefund", resource in Service::"till")
when { context has grant };

@id("till.reviewers")
permit (principal is User in Group::"leads", action in [Action::"review", Action::"reviewByChat"], resource is AccessRequest)
when { resource.service == Service::"till" };
"#;

/// A refund that waits at the gate.
fn held(office: &Office, service: &str, gate: &str, body: &str) -> Wire {
    let mut wire = Wire::connect(office.payments.house.gate);
    let head = format!(
        "POST /v1/refunds?note={CANARY}-query HTTP/1.1\r\nHost: {service}.example.com\r\nAuthorization: Bearer {gate}\r\n\
         Cookie: session={CANARY}-cookie\r\nContent-Type: application/json\r\nPrefer: wait=60\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    wire.send(head + body);
    wire
}

#[test]
fn e15_what_people_write_stays_text() {
    let mut office = Office::open(Mode::Http);
    office.token(&lea());
    let mut ben = ben();
    ben.more = json!({"name": "lea\nApproved by lea <!channel>"});
    let token = office.token(&ben);
    let reason = "*bold* <@U1> <!here> [a](https://evil.example) `x` :tada: \u{200b}&lt;";
    let asked = office.ask(&token, reason);
    let message = office.in_channel(&asked);
    let said = text(&message);
    assert!(
        said.contains("*bold* <@U1> <!here> [a](https://evil.example) `x` :tada: \\u{200b}&lt;"),
        "{said}"
    );
    let lines: Vec<&str> = said.lines().collect();
    assert!(!lines.iter().any(|line| line.starts_with("Approved")), "{said}");
    // Nowhere does Slack read any of it as markup.
    assert!(!message.to_string().contains("mrkdwn"), "{message:#}");
    let fallback = message["text"].as_str().unwrap();
    assert_eq!(fallback, "Access request: payments");
}

#[test]
fn e15_a_body_is_quoted_with_its_digest_and_says_where_it_is_cut() {
    let mut office = Office::open(Mode::Http);
    office.token(&lea());
    let gate = office.payments.house.gate_token(&office.token(&ben()));
    let currency = format!("\u{202e}{}", "E".repeat(3_500));
    let body = json!({"amount": 40_000, "currency": currency}).to_string();
    let mut wire = held(&office, "payments", &gate, &body);
    let posted = office.slack.until("posted", |got| got["place"] == "#payments")["message"].clone();
    let said = text(&posted);
    assert!(said.contains("Truncated: 2000 of ") && said.contains("Digest: sha256:"), "{said}");
    assert!(!said.contains('\u{202e}'), "{said}");
    let kinds: Vec<&str> = posted["blocks"][1]["elements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"rich_text_preformatted") && kinds.contains(&"rich_text_quote"),
        "{kinds:?}"
    );
    // One press, and what waited is sent.
    office.press("lea", &posted, "approve", json!({}));
    let answer = wire.response().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(office.payments.upstream.take().len(), 1);
    let last = office.becomes(&posted, "Access has ended: payments");
    assert!(text(&last).contains("is used up at"), "{}", text(&last));
}

#[test]
fn j07_no_secret_of_a_request_is_in_any_message() {
    let mut office = Office::furnished(Mode::Socket, TILL, "email: verified", |plan| {
        plan.service(
            "name: till\nhosts: [till.example.com]\nupstream: {url: \"http://127.0.0.1:9\"}\n\
             operations: {openapi: apis/payments.yaml}\nsensitive: {pii: [\"$.currency\"]}",
        )
    });
    office.token(&lea());
    let gate =
        office.payments.house.gate_token(&office.token(&Person::new("ben", &["engineering"])));
    let body = json!({"amount": 40_000, "currency": format!("{CANARY}-body")}).to_string();
    let _wire = held(&office, "till", &gate, &body);
    let posted = office.slack.until("posted", |got| got["place"] == "#access")["message"].clone();
    assert!(text(&posted).contains("Masked: pii"), "{}", text(&posted));
    office.press("lea", &posted, "decline", json!({"note": "no"}));
    office.becomes(&posted, "Declined: till");
    let all: String = office.slack.all.iter().map(ToString::to_string).collect();
    for secret in [CANARY, &gate, super::BOT, super::APP, super::SECRET] {
        assert!(!all.contains(secret), "{secret} is in Slack");
    }
}

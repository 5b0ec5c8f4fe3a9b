//! `/access`: asking by words.

use serde_json::{Value, json};

use super::{Mode, Office, text};
use crate::payments::{ana, ben, lea};

/// Types a command and returns what its writer was told.
fn typed(office: &mut Office, by: &str, words: &str) -> String {
    office.slack.order(json!({"do": "type", "by": by, "text": words}));
    let told = office.slack.until("answered", |got| got["to"] == by)["message"].clone();
    assert_eq!(told["response_type"], "ephemeral", "{told:#}");
    text(&told)
}

#[test]
fn a_command_asks_and_says_what_came_of_it() {
    for mode in [Mode::Http, Mode::Socket] {
        let mut office = Office::open(mode);
        let (_, ben) = (office.token(&lea()), office.token(&ben()));
        office.token(&ana());
        let told = typed(&mut office, "ben", "payments events 10m queues are stuck");
        assert!(told.starts_with("Asked: it waits until") && told.contains("lea"), "{told}");
        let mine = office.payments.house.api("GET", "/v1/access-requests", Some(&ben), None).json();
        let asked = mine["access_requests"][0].clone();
        assert_eq!(
            (&asked["reason"], &asked["duration"]),
            (&json!("queues are stuck"), &json!("10m"))
        );
        let message = office.in_channel(&asked);
        assert!(text(&message).contains("queues are stuck"), "{message:#}");
        // What policy grants by itself is granted at once.
        let told = typed(&mut office, "ana", "payments payments.createRefund 5m refunds are stuck");
        assert!(told.starts_with("Granted: for 5m"), "{told}");
    }
}

#[test]
fn errors_of_a_command_say_what_would_do() {
    let mut office = Office::open(Mode::Http);
    office.token(&ben());
    for (words, said) in [
        ("", "write `/access SERVICE OPERATION"),
        ("help", "write `/access SERVICE OPERATION"),
        ("payments", "write `/access SERVICE OPERATION"),
        ("payment refund why", "you see payments"),
        ("payments teleport why", "has no `teleport`; it has payments."),
        ("payments e 10m why", "may be one of"),
        ("payments events", "say why, at the end"),
        ("payments events 9h why", "at most 15m"),
        ("refusal 7F3K why", "the refusal was not found"),
        ("card nothing", "four characters"),
    ] {
        let told = typed(&mut office, "ben", words);
        assert!(told.contains(said), "{words}: {told}");
    }
    // Nobody's account asks for nobody.
    let told = typed(&mut office, "leo", "payments events why");
    assert!(told.contains("sign in here once"), "{told}");
}

#[test]
fn a_refusals_card_is_shown_to_the_channel_by_whoever_was_refused() {
    let mut office = Office::open(Mode::Http);
    let ben = office.token(&ben());
    let gate = office.payments.house.gate_token(&ben);
    let refused = office.payments.house.gate(
        "payments.example.com",
        "POST",
        "/v1/refunds",
        Some(&gate),
        Some(json!({"amount": 40_000, "currency": "EUR"})),
    );
    assert_eq!(refused.status, 403, "{}", refused.text());
    let refused = refused.json();
    let code = refused["refusal"].as_str().unwrap();
    office.token(&lea());
    let told = typed(&mut office, "lea", &format!("card {code}"));
    assert!(told.contains("was not found"), "somebody else's is nobody's: {told}");
    office.slack.order(json!({"do": "type", "by": "ben", "text": format!("card {code}")}));
    let shown: Value = office.slack.until("answered", |got| got["to"] == "ben")["message"].clone();
    assert_eq!(shown["response_type"], "in_channel", "{shown:#}");
    let said = text(&shown);
    for part in ["ben", "payments.createRefund", "POST /v1/refunds", "40000", "sha256:", "1 review"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(shown.to_string().contains(&format!("/ask/{code}")), "{shown:#}");
    // And asked for, by its code.
    let told = typed(&mut office, "ben", &format!("refusal {code} refunds are stuck"));
    assert!(told.starts_with("Asked: it waits until"), "{told}");
}

//! What a reviewer sees is what is there: nothing that a requester writes moves the cursor, turns the
//! text around, hides or imitates something else.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{held, open, send};
use crate::{
    house::binary,
    payments::{Payments, Visitor, ben, id, lea},
    pki::python,
    wire::Response,
};

/// What a terminal obeys, or hides.
const OBEYED: [&str; 10] = [
    "a\nwho      root",
    "a\rb",
    "\u{1b}[2J\u{1b}[1;1Happroved",
    "\u{9b}31m",
    "\u{202e}drawkcab",
    "\u{2066}isolated\u{2069}",
    "a\u{2028}b",
    "a\u{0}b",
    "\u{7}",
    "a\tb",
];

/// What lea's terminal is sent by a command of hers, byte by byte.
fn on_terminal(payments: &Payments, args: &[&str]) -> String {
    let output = python("terminal.py")
        .arg(binary())
        .args(args)
        .env("PORTCULLIS_HOME", payments.house.dir().join("homes").join("lea"))
        .env("TERM", "xterm-256color")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let sent = STANDARD.decode(String::from_utf8_lossy(&output.stdout).trim()).unwrap();
    String::from_utf8(sent).unwrap()
}

/// No character that a terminal obeys, but its own line ends.
#[track_caller]
fn is_harmless(shown: &str) {
    let bad = shown.replace("\r\n", "\n").chars().find(|c| {
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        hidden || c.is_control() && *c != '\n'
    });
    assert_eq!(bad, None, "{shown:?}");
}

fn ask(ben: &Visitor<'_>, refused: &Response, reason: &str) -> Response {
    let body = json!({"refusal": refused.json()["refusal"], "reason": reason});
    ben.call("POST", "/v1/access-requests", Some(body))
}

#[test]
fn e15_a_reason_cannot_imitate_the_screen() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    payments.house.profile("lea", &lea.control);
    let refused = ben.refund(40_000);
    for reason in OBEYED {
        let answer = ask(&ben, &refused, reason);
        assert_eq!(answer.status, 400, "{reason:?}: {}", answer.text());
        assert_eq!(answer.json()["field"], "reason", "{reason:?}: {}", answer.text());
    }
    let long = "x".repeat(1001);
    assert_eq!(ask(&ben, &refused, &long).status, 400, "nothing is cut: it is refused");
    // What is text to everybody is shown as it is, all of it; what has no width is shown.
    let marked = "**APPROVED** <@U1> [safe](https://evil.example) \u{200b}`rm`";
    let reason = format!("{marked} {}end", "y".repeat(900));
    let asked = ask(&ben, &refused, &reason);
    assert!(asked.status < 300, "{}", asked.text());
    let asked = asked.json();
    assert_eq!(asked["reason"], reason, "the API says what was written");
    let one = on_terminal(&payments, &["requests", &id(&asked)[18..]]);
    is_harmless(&one);
    assert!(one.contains(&reason.replace('\u{200b}', "\\u{200b}")), "{one}");
    let digest = asked["queries"][0]["digest"].as_str().unwrap();
    assert!(one.contains(&format!("and no other: {digest}")), "{one}");
    // A table wraps cells: each of its lines is one of the table's, and nothing is left out.
    let table = on_terminal(&payments, &["requests", "--to-review"]);
    is_harmless(&table);
    let letters = |text: &str| text.chars().filter(|c| *c == 'y').count();
    assert!(letters(&table) >= 900, "{table}");
    assert!(table.contains("<@U1>") && table.contains("**APPROVED**"), "{table}");
}

#[test]
fn e15_what_waits_is_shown_in_quotes_with_its_digest_and_says_what_is_cut() {
    let payments = open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    payments.house.profile("lea", &lea.control);
    let show = |path: &str| {
        let line = format!("DELETE /v1/refunds/{path}");
        let wire = send(&payments, &ben, "payments.example.com", &line, "", "");
        let waiting = held(&lea);
        let one = on_terminal(&payments, &["requests", &id(&waiting)[18..]]);
        let table = on_terminal(&payments, &["requests", "--to-review"]);
        let plain = payments.house.cli("lea", &["requests", "--to-review"]);
        is_harmless(&one);
        is_harmless(&table);
        drop(wire);
        crate::mesh::eventually("it is withdrawn", || {
            let page = lea.call("GET", "/v1/access-requests?filter=to-review", None).json();
            page["access_requests"] == json!([])
        });
        (waiting, one, String::from_utf8(plain.stdout).unwrap())
    };
    let digest = |waiting: &Value| waiting["queries"][0]["digest"].as_str().unwrap().to_owned();
    // A value that looks like the end of the line stays within its quotes.
    let (waiting, one, table) = show("7%22,%200%20bytes,%20sha256:0123456789ab%E2%80%A6%E2%80%AE");
    let said = waiting["held"]["parameters"]["id"].as_str().unwrap();
    assert!(said.contains('\u{202e}') && said.contains('"'), "{said:?}");
    let quoted = r#""7\", 0 bytes, sha256:0123456789ab…\u{202e}""#;
    assert!(one.contains(&format!("id = {quoted}")), "{one}");
    assert!(one.contains(&digest(&waiting)), "{one}");
    assert!(
        table.contains(&format!("id={quoted}, 0 bytes, {}", &digest(&waiting)[..19])),
        "{table}"
    );
    // What is cut says so, to people and to programs; the digest tells two of them apart.
    let (first, one, _) = show(&format!("{}a", "z".repeat(400)));
    let cut = format!("{}… (truncated: 200 of 401 characters)", "z".repeat(200));
    assert_eq!(first["held"]["parameters"]["id"], cut);
    assert!(one.contains("truncated: 200 of 401 characters"), "{one}");
    let (second, _, _) = show(&format!("{}b", "z".repeat(400)));
    assert_eq!(second["held"]["parameters"]["id"], cut);
    assert_ne!(digest(&first), digest(&second));
}

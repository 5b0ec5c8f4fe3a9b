//! Group J: what must not get into logs, and what must not get out of them.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    house::{House, Plan},
    payments::{Payments, ana, ben, id, lea, sam},
    wire::{Response, exchange},
};

/// A line end, a terminal sequence, quotes, a right-to-left override and the second set of controls.
const NASTY: &str =
    "one\r\ntwo\u{1b}[31mred\u{7}\"quoted'\\\u{202e}txt.exe\u{9b}2J\u{2028}{\"type\":\"started\"}";

/// What may be written, and must not end the JSON string that it is kept in.
const QUOTED: &str = "\"},{\"type\":\"started\",\"x\":\"\\";

#[test]
fn j06_what_callers_write_stays_one_escaped_line() {
    let payments = Payments::open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let refused = ben.refund(10);
    for bad in NASTY.chars().filter(|c| obeyed(*c)) {
        let answer = ben.ask(&refused, json!({"reason": format!("a{bad}b")}));
        assert_eq!(answer.status, 400, "{bad:?}: {}", answer.text());
        assert!(!misleads(&answer.text()), "{bad:?}: {:?}", answer.text());
    }
    let request = ben.ask(&refused, json!({"reason": QUOTED})).json();
    let path = format!("/v1/access-requests/{}/reviews", id(&request));
    let decline =
        |note: &str| lea.call("POST", &path, Some(json!({"decision": "decline", "note": note})));
    assert_eq!(decline(NASTY).status, 400);
    assert_eq!(decline(QUOTED).status, 201);
    let gate = |target: &str, headers: &str| {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
            ben.gate
        );
        exchange(payments.house.gate, head).status
    };
    assert_eq!(gate("/v1/%E2%80%AEtxt.exe\"}", ""), 403);
    assert_eq!(gate("/v1/%0d%0a%1b[31m", ""), 400);
    assert_eq!(gate("/v1/none", "User-Agent: \u{202e}evil\"}\u{9b}2J\r\n"), 403);
    assert_eq!(gate("/v1/none", "User-Agent: a\u{1b}[31m\r\n"), 400);
    payments.event("access_request_ended", |_| true);
    one_line_each(&payments.house);
    // Whoever looks at it with the product's own tools is not misled either.
    let auditor = payments.house.sign_in(&sam());
    payments.house.profile("sam", &auditor);
    payments.house.profile("ben", &ben.control);
    payments.house.profile("lea", &lea.control);
    let commands: [(&str, &[&str]); 6] = [
        ("sam", &["audit", "tail", "-n", "200"]),
        ("sam", &["audit", "tail", "-n", "200", "--output", "json"]),
        ("ben", &["requests"]),
        ("ben", &["requests", "--output", "json"]),
        ("lea", &["requests"]),
        ("ben", &["services"]),
    ];
    for (home, command) in commands {
        let output = payments.house.cli(home, command);
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!shown.is_empty(), "{command:?}");
        assert!(!misleads(&shown), "{command:?}: {shown:?}");
    }
}

/// Whether a terminal or a log would do something else with it than show it.
fn obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}')
}

fn misleads(text: &str) -> bool {
    text.chars().any(|c| obeyed(c) && c != '\n')
}

/// Every line of the process's log and every entry of the record is one JSON object.
fn one_line_each(house: &House) {
    for line in house.log().lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|value| value.is_object()), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let mut entries = 0;
    for file in files(&house.dir().join("audit/log/tile/entries")) {
        let Some(bytes) = read(&file) else { continue };
        let mut rest = bytes.as_slice();
        while let [high, low, after @ ..] = rest {
            let (entry, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            let text = std::str::from_utf8(entry).unwrap();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()));
            entries += 1;
            rest = next;
        }
    }
    assert!(entries > 5);
}

fn files(folder: &Path) -> Vec<String> {
    let output = Command::new("find").arg(folder).args(["-type", "f"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A file that was listed, unless it was replaced meanwhile: the process is still at work.
fn read(file: &str) -> Option<Vec<u8>> {
    match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.unwrap()),
    }
}

#[test]
fn j07_secrets_of_callers_are_nowhere() {
    let payments = Payments::open();
    let (house, mut canaries) = (&payments.house, Vec::new());
    let mut shown = String::new();
    {
        let (ana, ben) = (payments.enter(&ana()), payments.enter(&ben()));
        let begun = house.api("POST", "/v1/device", None, Some(json!({}))).json();
        let device = begun["device_token"].as_str().unwrap().to_owned();
        house.api("POST", "/v1/device/token", None, Some(json!({"device_token": device})));
        let workload = house.workload_token("canary", &["strangers"]);
        canaries.extend([device, workload.clone(), ana.control.clone(), ana.gate.clone()]);
        canaries.extend([ben.control.clone(), ben.gate.clone()]);
        canaries.extend(
            ["pc_sign_canaryforged", "canarybasic", "canarycookie", "canaryquery", "canarybody"]
                .map(str::to_owned),
        );
        let body = json!({"amount": 1, "currency": "canarybody"}).to_string();
        for token in [&ana.gate, &ben.gate, &workload, "pc_sign_canaryforged"] {
            misuse(house, token, &body);
        }
        let refused = ana.send("POST", "/v1/refunds", serde_json::from_str(&body).ok());
        assert_eq!(ana.ask(&refused, json!({})).status, 201);
        assert_eq!(ana.send("POST", "/v1/refunds", serde_json::from_str(&body).ok()).status, 200);
        for token in ["pc_sign_canaryforged", &ana.gate] {
            assert_eq!(house.api("GET", "/v1/grants", Some(token), None).status, 401);
        }
        let auditor = house.sign_in(&sam());
        canaries.push(auditor.clone());
        house.profile("ana", &ana.control);
        house.profile("sam", &auditor);
        house.profile("nobody", "pc_sign_canaryforged");
        for (home, command) in [
            ("ana", "whoami"),
            ("ana", "grants"),
            ("ana", "requests"),
            ("ana", "services"),
            ("sam", "audit tail -n 500"),
            ("sam", "audit tail -n 500 --output json"),
            ("nobody", "whoami"),
            ("nobody", "grants"),
            ("ana", "logout"),
        ] {
            let output = house.cli(home, &command.split(' ').collect::<Vec<_>>());
            shown.push_str(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
        }
        payments.event("sign_in_ended", |_| true);
    }
    shown.push_str(&house.api("GET", "/metrics", None, None).text());
    assert!(shown.contains("payments.createRefund"), "{shown}");
    let mut places = vec![("outputs and metrics".to_owned(), shown.into_bytes())];
    // The store keeps hashes: not even there is a token.
    let written = files(house.dir()).into_iter().filter(|file| !file.contains("/homes/"));
    places.extend(written.filter_map(|file| read(&file).map(|bytes| (file, bytes))));
    assert!(places.iter().any(|(name, _)| name.ends_with("portcullis.db")));
    for (name, bytes) in &places {
        for canary in &canaries {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} is in {name}");
        }
    }
}

/// Requests of all kinds with canaries wherever one fits; no answer repeats one.
fn misuse(house: &House, token: &str, body: &str) {
    for (method, target) in [
        ("POST", "/v1/refunds?limit=canaryquery"),
        ("GET", "/v1/refunds?limit=canaryquery"),
        ("GET", "/v1/refunds?a=canaryquery"),
        ("GET", "/v1/../x?a=canaryquery"),
        ("GET", "/none?a=canaryquery"),
    ] {
        let answer = raw(house, method, target, token, body);
        assert!(!answer.text().contains("canary"), "{method} {target}: {}", answer.text());
    }
}

fn raw(house: &House, method: &str, target: &str, token: &str, body: &str) -> Response {
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: payments.example.com\r\nPortcullis-Authorization: Bearer {token}\r\n\
         Authorization: Basic canarybasic\r\nCookie: session=canarycookie\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    exchange(house.gate, head)
}

/// Whoever knew an empty secret, or another system's, could say what they like.
#[test]
fn nothing_begins_with_a_secret_that_is_empty_or_that_two_systems_share() {
    const SOUND: &str = "whsec_c2l4IGFuZCB0aGlydHkgYnl0ZXMgb2Ygbm90aGluZw==";
    let slack = |more: &str| {
        format!(
            "slack: {{workspace: T024BE7LD, people: {{provider: corp, email: verified}}, channel: \"#a\", {more}}}"
        )
    };
    let empty = "is empty; write the secret into it";
    for (connectors, why) in [
        (slack("bot_token: {file: blank}"), empty),
        (slack("bot_token: {file: sound}, signing_secret: {file: blank}"), empty),
        (slack("bot_token: {file: sound}, app_token: {file: blank}"), empty),
        ("teams: {a: {url: {file: blank}}}".into(), empty),
        ("webhooks: {a: {url: \"https://a.example.com/\", secret: {file: blank}}}".into(), empty),
        (
            "email: {smtp: localhost, from: a@a.example, username: a, password: {file: blank}}"
                .into(),
            empty,
        ),
        ("decisions: {a: {secret: {file: blank}}}".into(), empty),
        (
            "decisions: {a: {secret: {file: sound}}, b: {secret: {file: sound}}}".into(),
            "have the same secret; give each its own",
        ),
    ] {
        let setting = format!("connectors: {{{connectors}}}");
        let plan = Plan::empty().setting(&setting).file("blank", " \n").file("sound", SOUND);
        let mut house = plan.start_unready();
        house.wait_end();
        assert!(house.log().contains(why), "{setting}: {}", house.log());
        assert!(!house.log().contains(SOUND), "{}", house.log());
    }
}

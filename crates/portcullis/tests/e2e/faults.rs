//! What breaks denies, and says so; and the process lives.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_testkit::net::{free_port, wait_for_port};
use serde_json::json;

use crate::{
    house::{House, Plan},
    payments::{Payments, ana, ben, grant, id, lea},
    pki::{Pki, python},
    shop::Shop,
    streams::Peer,
    upstream::Upstream,
};

/// Damages one row of a store, whoever has it open.
fn damage(house: &House, table: &str, column: &str, key: &str, body: &str) {
    let store = house.dir().join("portcullis.db");
    let damaged =
        python("store_state.py").arg("damage").arg(store).args([table, column, key, body]).output();
    let damaged = damaged.unwrap();
    assert!(damaged.status.success(), "{}", String::from_utf8_lossy(&damaged.stderr));
}

#[test]
fn f08_a_row_that_cannot_be_read_is_left_out_and_the_process_lives() {
    let mut payments = Payments::open();
    let house = &payments.house;
    let (ana, ben, lea) = (payments.enter(&ana()), payments.enter(&ben()), payments.enter(&lea()));
    let granted = grant(&ana.ask(&ana.refund(1), json!({})).json());
    let pending = ben.ask(&ben.refund(2), json!({})).json();
    let other = ben.ask(&ben.send("POST", "/v1/payouts", None), json!({})).json();
    let path = format!("/v1/access-requests/{}", id(&pending));
    for body in ["", "null", "{}", "[]", "{\"id\": null}", "not JSON"] {
        damage(house, "access_requests", "id", id(&pending), body);
        assert_eq!(ben.call("GET", &path, None).status, 500, "{body:?}");
        assert_eq!(
            lea.approve(&pending).status,
            500,
            "{body:?}: nobody approves what cannot be read"
        );
        let listed = lea.call("GET", "/v1/access-requests?filter=to-review", None).json();
        let listed: Vec<&str> =
            listed["access_requests"].as_array().unwrap().iter().map(id).collect();
        assert_eq!(listed, [id(&other)], "{body:?}: the others are there");
    }
    assert_eq!(house.api("GET", "/readyz", None, None).status, 200);
    assert_eq!(ana.refund(1).status, 200, "what gates know does not come from the store each time");
    // Damaged while nobody looked: what was in force by it is not any more, and all else is.
    let mine = ana.call("GET", "/v1/sign-ins", None).json();
    let sign_in = mine["sign_ins"][0]["id"].as_str().unwrap().to_owned();
    let (ana, ben) = ((ana.control.clone(), ana.gate.clone()), ben.gate.clone());
    damage(house, "grants", "id", &granted, "null");
    damage(house, "sign_ins", "id", &sign_in, "{}");
    payments.house.kill();
    payments.house.restart();
    let house = &payments.house;
    let refund = |token: &str| {
        let body = json!({"amount": 1, "currency": "EUR"});
        house.gate("payments.example.com", "POST", "/v1/refunds", Some(token), Some(body)).status
    };
    assert_ne!(refund(&ana.1), 200);
    assert_eq!(refund(&ben), 403, "ben is still signed in");
    let log = house.log();
    assert!(log.contains("cannot be read and is left out"), "{log}");
}

const NOTES: &str = r#"
openapi: 3.1.0
info: {title: Notes, version: "1"}
paths:
  /note:
    post:
      operationId: note
      requestBody:
        required: true
        content:
          application/json:
            schema: {type: object, required: [note], properties: {note: {type: string}}}
      responses: {"200": {description: ok}}
"#;

#[test]
fn f11_i13_an_evaluation_that_takes_too_long_denies_and_is_counted() {
    // Short texts match at once; in a long one each place is tried, and the last one fits.
    let pattern = "a".repeat(800);
    let policies = format!(
        "@id(\"notes\")\npermit (principal is User in Group::\"oncall\", action == Action::\"notes.note\", resource in Service::\"notes\")\n\
         when {{ context has body && context.body.note like \"*{pattern}b*\" }};\n"
    );
    let upstream = Upstream::start();
    let service = format!(
        "name: notes\nhosts: [notes.example.com]\nupstream: {{instances: {{n-1: \"{}\"}}}}\n\
         operations: {{openapi: apis/notes.yaml}}",
        upstream.url()
    );
    let payments = Payments::furnished(upstream, |plan| {
        plan.service(&service).file("apis/notes.yaml", NOTES).policy("notes.cedar", &policies)
    });
    let ana = payments.enter(&ana());
    let note = |length: usize| {
        let body = json!({"note": format!("{}b", "a".repeat(length))});
        payments.house.gate("notes.example.com", "POST", "/note", Some(&ana.gate), Some(body))
    };
    let counted = || {
        let text = payments.house.api("GET", "/metrics", None, None).text();
        let line = text
            .lines()
            .find(|line| line.starts_with("portcullis_policy_evaluations_too_long_total "));
        line.unwrap_or_else(|| panic!("{text}")).rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    assert_eq!((note(800).status, counted()), (200, 0));
    payments.upstream.take();
    let refused = note(1_000_000);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(counted() > 0);
    assert!(payments.upstream.take().is_empty());
    payments.event("attempt", |event| {
        event["operation"] == "notes.note" && event["decision"] == "deny"
    });
    assert_eq!(note(900).status, 200, "the next one is as quick as ever");
}

/// A server that keeps what it is sent, and answers as HTTP/1.1 would.
fn eavesdropper() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, heard) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<u8>>>::default());
    let keep = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut some = [0; 4096];
            if let Ok(length) = stream.read(&mut some) {
                keep.lock().unwrap().extend(&some[..length]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (port, heard)
}

#[test]
fn f16_an_upstream_that_cannot_prove_itself_gets_nothing_and_never_in_clear_text() {
    let (port, heard) = eavesdropper();
    // One that speaks no TLS where it should; one whose certificate nobody vouches for.
    let pki = Pki::new();
    let own = pki.server("upstream", &pki.authority("nobody"));
    let tls = free_port();
    let log = pki.path("heard");
    let server = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &tls.to_string()])
        .args(["-cert", own.certificate.to_str().unwrap(), "-key", own.key.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Peer::of(server);
    assert!(wait_for_port(([127, 0, 0, 1], tls).into(), Duration::from_secs(20)));
    for (upstream, what) in [
        (format!("https://127.0.0.1:{port}"), "clear text"),
        (format!("https://localhost:{tls}"), "a certificate of nobody's"),
    ] {
        let shop = Shop::before(&upstream);
        let answer = shop.read_as(&shop.token);
        assert_eq!(answer.status, 502, "{what}: {}", answer.text());
    }
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard.first(), Some(&0x16), "a TLS handshake, and nothing else");
    for secret in [&b"GET "[..], b"portcullis-", b"shop.example.com", b"/page"] {
        assert!(!heard.windows(secret.len()).any(|part| part == secret), "{heard:?}");
    }
    assert_eq!(fs::read(&log).unwrap(), b"", "something was sent before the certificate held");
}

#[test]
fn f16_a_listener_without_its_certificate_does_not_fall_back_to_clear_text() {
    let port = free_port();
    let listener = format!(
        "{{name: tls, address: \"127.0.0.1:{port}\", tls: {{certificate: gone.crt, key: gone.key}}}}"
    );
    let mut house = Plan::empty()
        .service("name: shop\nhosts: [shop.example.com]\nupstream: {instances: {s-1: \"http://127.0.0.1:1\"}}")
        .listener(&listener)
        .start_unready();
    house.wait_end();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(house.log().contains("gone.crt"), "{}", house.log());
}

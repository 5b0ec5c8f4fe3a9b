//! Tokens for tools that cannot sign in, with curl as the tool: one redemption, one grant, one end.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    sync::Barrier,
};

use serde_json::{Value, json};

use crate::{
    house::{House, binary},
    payments::{Payments, Visitor, ana, ben, grant, lea},
    secrecy::handed_out,
    upstream::Upstream,
    wire::Response,
};

pub(crate) const HOST: &str = "payments.example.com";
pub(crate) const REFUND: &str = r#"{"amount": 1, "currency": "EUR"}"#;

/// Redeemers of one token.
const RACING: usize = 16;

/// With a second service, where ana may read by standing policy.
pub(crate) fn open() -> Payments {
    let upstream = Upstream::start();
    let stock = format!(
        "name: stock\nhosts: [stock.example.com]\nupstream: {{instances: {{s-1: \"{}\"}}}}",
        upstream.url()
    );
    let policy = "@id(\"stock.all\")\npermit (principal is User in Group::\"oncall\", action, resource in Service::\"stock\");\n";
    Payments::furnished(upstream, |plan| plan.service(&stock).policy("stock.cedar", policy))
}

/// Ana's automatic grant for refunds.
pub(crate) fn held(ana: &Visitor<'_>) -> String {
    grant(&ana.ask(&ana.refund(1), json!({})).json())
}

pub(crate) fn once(holder: &Visitor<'_>, grant: &str) -> Value {
    let made = holder.call("POST", &format!("/v1/grants/{grant}/tokens"), None);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

fn redeem(house: &House, token: &str) -> Response {
    house.api("POST", "/v1/tokens/redeem", None, Some(json!({ "token": token })))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:#}")).to_owned()
}

/// What curl gets: the status and the body.
pub(crate) fn curl(args: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "-w", "\n%{http_code}"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// A request of curl's at the gate, with `token` in the header called `name`.
fn at_gate(house: &House, host: &str, name: &str, token: &str, args: &[&str]) -> u16 {
    handed_out(token);
    let (port, header) = (house.gate.port(), format!("{name}: Bearer {token}"));
    let (resolve, url) =
        (format!("{host}:{port}:127.0.0.1"), format!("http://{host}:{port}/v1/refunds"));
    let (status, body) =
        curl(&[&["--resolve", &resolve, "-H", &header, url.as_str()], args].concat());
    assert!(!body.contains(token), "an answer repeats the token");
    status
}

fn refund(house: &House, token: &str) -> u16 {
    let sent = ["-H", "Content-Type: application/json", "-d", REFUND];
    at_gate(house, HOST, "Authorization", token, &sent)
}

#[test]
fn e16_m16_curl_redeems_once_uses_one_grant_and_ends_with_it() {
    let payments = open();
    let house = &payments.house;
    let (ana, lea) = (payments.enter(&ana()), payments.enter(&lea()));
    let grant = held(&ana);
    let made = once(&ana, &grant);
    let token = text(&made["token"]);
    assert!(token.starts_with("pc_once_"));
    assert_eq!(made["opens"]["operation"], "payments.createRefund", "{made:#}");
    // A one-time token opens nothing by itself.
    assert_eq!(refund(house, &token), 401);
    let url = format!("http://{}/v1/tokens/redeem", house.control);
    let body = json!({ "token": token }).to_string();
    let redeeming = ["-H", "Content-Type: application/json", "-d", &body, &url];
    let (status, answer) = curl(&redeeming);
    assert_eq!(status, 201, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let token = text(&answer["token"]);
    assert!(token.starts_with("pc_grant_"));
    assert_eq!(answer["opens"]["principal"]["id"], "corp:ana", "{answer:#}");
    let (status, again) = curl(&redeeming);
    assert_eq!(status, 401, "{again}");
    // What it opens, as its holder, by either header; and the upstream does not see it.
    payments.upstream.take();
    assert_eq!(refund(house, &token), 200);
    let json = ["-H", "Content-Type: application/json", "-d", REFUND];
    assert_eq!(at_gate(house, HOST, "Portcullis-Authorization", &token, &json), 200);
    let arrived = payments.upstream.take();
    assert_eq!(arrived.len(), 2);
    assert!(!format!("{arrived:?}").contains(&token), "the upstream got the token");
    // What its holder may do besides it does not open: standing policy, another service, control.
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
    assert_eq!(at_gate(house, HOST, "Authorization", &token, &[]), 403);
    assert_eq!(at_gate(house, "stock.example.com", "Authorization", &ana.gate, &[]), 200);
    assert_eq!(at_gate(house, "stock.example.com", "Authorization", &token, &[]), 401);
    let bearer = format!("Authorization: Bearer {token}");
    for path in ["/v1/grants", "/v1/whoami", "/v1/access-requests"] {
        let (status, _) = curl(&["-H", &bearer, &format!("http://{}{path}", house.control)]);
        assert_eq!(status, 401, "{path}");
    }
    payments.upstream.take();
    assert!(lea.call("POST", &format!("/v1/grants/{grant}/revoke"), None).status < 300);
    assert_eq!(refund(house, &token), 401);
    assert!(payments.upstream.take().is_empty());
    on_record(&payments, &grant);
}

/// The record tells the holder, and that it was the token.
fn on_record(payments: &Payments, grant: &str) {
    let of_grant = |event: &Value| event["grant"] == *grant;
    for kind in ["token_issued", "token_redeemed", "token_refused"] {
        let event = payments.event(kind, of_grant);
        assert_eq!(event["principal"]["id"], "corp:ana", "{event:#}");
        assert!(event["source"].is_string(), "{event:#}");
    }
    let by_token = |event: &Value| event["auth_method"] == "grant_token";
    for decision in ["permit", "deny"] {
        let attempt =
            payments.event("attempt", |event| by_token(event) && event["decision"] == *decision);
        assert_eq!(attempt["principal"]["id"], "corp:ana", "{attempt:#}");
        assert_eq!(attempt["grant"], *grant, "{attempt:#}");
    }
    payments.event("attempt", |event| event["auth_method"] == "sign_in");
}

#[test]
fn e16_m06_of_many_redeemers_at_once_the_binary_lets_one_win() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let grant = held(&ana);
    let token = text(&once(&ana, &grant)["token"]);
    let together = Barrier::new(RACING);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || {
            together.wait();
            redeem(&payments.house, &token).status
        };
        let racing: Vec<_> = (0..RACING).map(|_| scope.spawn(one)).collect();
        racing.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 401].contains(status)), "{statuses:?}");
    let redeemed =
        |events: &[Value], kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    let events = payments.record(|events| redeemed(events, "token_refused") > 0);
    assert_eq!((redeemed(&events, "token_redeemed"), redeemed(&events, "token_refused")), (1, 1));
}

#[test]
fn m11_m16_a_grant_token_ends_when_its_only_use_is_spent_and_not_by_a_restart() {
    let mut payments = Payments::open();
    let (grant, token) = {
        let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
        let asked = ben.ask(&ben.refund(1), json!({})).json();
        let asked = lea.approve(&asked).json();
        let grant = grant(&asked);
        let redeemed = redeem(&payments.house, &text(&once(&ben, &grant)["token"])).json();
        assert_eq!(redeemed["opens"]["uses_left"], 1, "{redeemed:#}");
        (grant, text(&redeemed["token"]))
    };
    payments.house.kill();
    payments.house.restart();
    // The body that was approved, and then no more.
    let ours = json!({"amount": 1, "currency": "EUR"});
    let send = |body: &Value| {
        payments.house.gate(HOST, "POST", "/v1/refunds", Some(&token), Some(body.clone())).status
    };
    assert_eq!(send(&json!({"amount": 2, "currency": "EUR"})), 403, "another request");
    assert_eq!(send(&ours), 200);
    assert_eq!(send(&ours), 401);
    let ended = payments.event("grant_ended", |event| event["grant"] == *grant);
    assert_eq!(ended["decision"], "used_up");
}

#[test]
fn what_is_wrong_with_a_one_time_token_is_answered_alike() {
    let payments = Payments::open();
    let (ana, house) = (payments.enter(&ana()), &payments.house);
    let grant = held(&ana);
    let used = text(&once(&ana, &grant)["token"]);
    let redeemed = text(&redeem(house, &used).json()["token"]);
    let open = text(&once(&ana, &grant)["token"]);
    assert!(ana.call("POST", &format!("/v1/grants/{grant}/give-back"), None).status < 300);
    let unknown = format!("pc_once_{}", "A".repeat(43));
    let told = |token: &str| {
        let answer = redeem(house, token);
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("request");
        (answer.status, problem)
    };
    let first = told(&used);
    assert_eq!(first.0, 401, "{first:?}");
    for token in [&open, &unknown, &redeemed, "", "x"] {
        assert_eq!(told(token), first, "{token}");
    }
    // What is not built is an error.
    let more = json!({"token": unknown, "dpop": "x"});
    let answer = house.api("POST", "/v1/tokens/redeem", None, Some(more));
    assert!([400, 422].contains(&answer.status), "{} {}", answer.status, answer.text());
    assert_eq!(refund(house, &redeemed), 401, "it was given back");
    // Too many are told when to come again.
    let grant = held(&ana);
    for _ in 0..8 {
        once(&ana, &grant);
    }
    let ninth = ana.call("POST", &format!("/v1/grants/{grant}/tokens"), None);
    assert_eq!((ninth.status, ninth.header("retry-after")), (429, Some("60")), "{}", ninth.text());
}

/// `portcullis redeem`, on a host where nobody is signed in.
pub(crate) fn redeem_by_cli(house: &House, args: &[&str], token: &str) -> Output {
    let mut child = Command::new(binary())
        .arg("redeem")
        .args(args)
        .env("PORTCULLIS_HOME", house.dir().join("homes").join("nobody"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_command_line_hands_a_grant_to_a_host_that_cannot_sign_in() {
    let payments = Payments::open();
    let (ana, house) = (payments.enter(&ana()), &payments.house);
    let grant = held(&ana);
    house.profile("ana", &ana.control);
    let short = &grant[grant.len() - 8..];
    let made = house.cli("ana", &["token", short]);
    let (token, said) = (line(&made.stdout), String::from_utf8_lossy(&made.stderr).into_owned());
    assert!(made.status.success() && token.starts_with("pc_once_"), "{said}");
    for word in ["once", " s: ", "payments.createRefund", "portcullis redeem http://"] {
        assert!(said.contains(word), "{said}");
    }
    let url = format!("http://{}", house.control);
    let got = redeem_by_cli(house, &[&url], &token);
    let (token, told) = (line(&got.stdout), String::from_utf8_lossy(&got.stderr).into_owned());
    assert!(got.status.success() && token.starts_with("pc_grant_"), "{told}");
    assert!(told.contains("payments.createRefund for corp:ana and nothing else"), "{told}");
    assert!(!told.contains(&token) && !said.contains("pc_"), "{told}{said}");
    assert_eq!(refund(house, &token), 200);
    let late = redeem_by_cli(house, &[&url], &line(&made.stdout));
    let told = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(!late.status.success() && late.stdout.is_empty(), "{told}");
    assert!(told.contains("ask the holder"), "{told}");
    let nothing = redeem_by_cli(house, &[&url], "");
    assert_eq!(nothing.status.code(), Some(2));
    // What was there before is as it was.
    let service = house.cli("ana", &["token", "payments"]);
    assert!(line(&service.stdout).starts_with("pc_sign_"));
}

pub(crate) fn line(output: &[u8]) -> String {
    let line = String::from_utf8_lossy(output).trim().to_owned();
    handed_out(&line);
    line
}

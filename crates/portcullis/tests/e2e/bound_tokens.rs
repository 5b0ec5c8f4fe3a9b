//! Grant tokens that are bound to a key of the tool: a copy of the token opens nothing without it.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Barrier,
    time::{Duration, Instant},
};

use portcullis_testkit::{TempDir, ambient::machine_time, net::free_port};
use serde_json::{Value, json};

use crate::{
    grant_tokens::{HOST, REFUND, curl, held, line, once, redeem_by_cli, text},
    house::{House, binary},
    payments::{Payments, Visitor, ana},
    pki::{Pair, Pki, python},
    secrecy::handed_out,
    upstream::Upstream,
};

/// Copies of one proof.
const RACING: usize = 16;

const PATH: &str = "/v1/refunds";

/// A tool with a key of its own, which knows nothing of this product: Python's.
struct Tool {
    _folder: TempDir,
    key: PathBuf,
}

impl Tool {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let key = folder.path().join("tool.key");
        let tool = Self { _folder: folder, key };
        tool.run(&["key"], &[]);
        tool
    }

    fn run(&self, command: &[&str], rest: &[&str]) -> String {
        let output =
            python("dpop_tool.py").args(command).arg(&self.key).args(rest).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn thumbprint(&self) -> String {
        self.run(&["thumbprint"], &[])
    }

    /// A proof for a refund with `token`.
    fn proof(&self, house: &House, token: &str) -> String {
        self.proof_of("POST", &address(house), token, &json!({}), &json!({}))
    }

    fn proof_of(
        &self,
        method: &str,
        url: &str,
        token: &str,
        claims: &Value,
        headers: &Value,
    ) -> String {
        self.run(&["proof"], &[method, url, token, &claims.to_string(), &headers.to_string()])
    }

    /// Redeems a one-time token with a proof for that call.
    fn redeem(&self, house: &House, token: &str) -> (u16, Value) {
        let url = redeem_address(house);
        redeem(&url, token, &[&self.proof_of("POST", &url, "", &json!({}), &json!({}))])
    }

    /// A grant token of `holder`'s, bound to this tool's key.
    fn bound(&self, house: &House, holder: &Visitor<'_>, grant: &str) -> String {
        let (status, made) = self.redeem(house, &text(&once(holder, grant)["token"]));
        assert_eq!((status, &made["token_type"]), (201, &json!("DPoP")), "{made:#}");
        assert_eq!(made["cnf"], json!({"jkt": self.thumbprint()}), "{made:#}");
        text(&made["token"])
    }
}

/// Opens payments; the gate takes proofs of later seconds than its first.
fn open() -> Payments {
    let payments = Payments::open();
    next_second();
    payments
}

fn next_second() {
    let second = || machine_time().as_second();
    let (begun, now) = (Instant::now(), second());
    while second() <= now {
        assert!(begun.elapsed() < Duration::from_secs(30), "the clock stands still");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where curl finds the refunds.
fn address(house: &House) -> String {
    format!("http://{HOST}:{}{PATH}", house.gate.port())
}

fn redeem_address(house: &House) -> String {
    format!("http://{}/v1/tokens/redeem", house.control)
}

fn redeem(url: &str, token: &str, proofs: &[&str]) -> (u16, Value) {
    handed_out(token);
    let body = json!({ "token": token }).to_string();
    let proofs: Vec<String> = proofs.iter().map(|proof| format!("DPoP: {proof}")).collect();
    let headers = proofs.iter().flat_map(|header| ["-H", header]);
    let sent = ["-H", "Content-Type: application/json", "-d", &body, url];
    let (status, answer) = curl(&headers.chain(sent).collect::<Vec<_>>());
    (status, serde_json::from_str(&answer).unwrap())
}

/// A refund by curl: `scheme` and token, and proofs.
fn refund(house: &House, scheme: &str, token: &str, proofs: &[&str]) -> (u16, String) {
    refund_at(house, "Authorization", scheme, token, proofs)
}

fn refund_at(
    house: &House,
    name: &str,
    scheme: &str,
    token: &str,
    proofs: &[&str],
) -> (u16, String) {
    handed_out(token);
    let port = house.gate.port();
    let (resolve, url) = (format!("{HOST}:{port}:127.0.0.1"), address(house));
    let mut headers = vec![format!("{name}: {scheme} {token}")];
    headers.extend(proofs.iter().map(|proof| format!("DPoP: {proof}")));
    let mut args = vec!["--resolve", &resolve, "-D", "/dev/stderr", &url];
    args.extend(headers.iter().flat_map(|header| ["-H", header]));
    args.extend(["-H", "Content-Type: application/json", "-d", REFUND]);
    curl(&args)
}

#[test]
fn m16_a_stolen_token_is_worth_nothing_without_its_key() {
    let payments = open();
    let (house, ana) = (&payments.house, payments.enter(&ana()));
    let (tool, thief) = (Tool::new(), Tool::new());
    let grant = held(&ana);
    let token = tool.bound(house, &ana, &grant);
    payments.upstream.take();
    // By either header, and by the address with and without TLS in front: the client knows it.
    assert_eq!(refund(house, "DPoP", &token, &[&tool.proof(house, &token)]).0, 200);
    let tls = address(house).replace("http:", "https:");
    let proof = tool.proof_of("POST", &tls, &token, &json!({}), &json!({}));
    assert_eq!(refund_at(house, "Portcullis-Authorization", "dpop", &token, &[&proof]).0, 200);
    let arrived = payments.upstream.take();
    assert_eq!(arrived.len(), 2);
    for sent in arrived {
        assert!(sent.headers("dpop").is_empty() && sent.headers("authorization").is_empty());
    }
    // The thief has the token, by whatever scheme, and a key of their own.
    let stolen = thief.proof(house, &token);
    for (scheme, proofs) in [
        ("Bearer", vec![]),
        ("Bearer", vec![stolen.as_str()]),
        ("DPoP", vec![]),
        ("DPoP", vec![stolen.as_str()]),
        ("DPoP", vec!["x"]),
        ("Basic", vec![]),
    ] {
        let (status, body) = refund(house, scheme, &token, &proofs);
        assert_eq!(status, 401, "{scheme} {proofs:?}: {body}");
    }
    let (own, other) = (tool.proof(house, &token), tool.proof(house, &token));
    assert_eq!(refund(house, "DPoP", &token, &[&own, &other]).0, 401, "two proofs");
    // The key in the header is the tool's, the signature the thief's.
    let jwk = json!({"jwk": tool_jwk(&tool, house, &token)});
    let forged = thief.proof_of("POST", &address(house), &token, &json!({}), &jwk);
    assert_eq!(refund(house, "DPoP", &token, &[&forged]).0, 401);
    assert!(payments.upstream.take().is_empty(), "something was forwarded");
    // Who is refused is told how tokens come here; what happened is on record.
    let answer = house.gate(HOST, "POST", PATH, Some(&token), Some(json!({"amount": 1})));
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("bound to a key"), "{}", answer.text());
    let redeemed = payments.event("token_redeemed", |event| event["grant"] == *grant);
    let detail = text(&redeemed["detail"]);
    assert!(detail.contains(&format!("bound to the key {}", tool.thumbprint())), "{detail}");
    // What is bound to no key comes as a bearer token, whoever signs what.
    let plain = redeem(&redeem_address(house), &text(&once(&ana, &grant)["token"]), &[]).1;
    assert_eq!((&plain["token_type"], plain.get("cnf")), (&json!("Bearer"), None), "{plain:#}");
    let plain = text(&plain["token"]);
    assert_eq!(refund(house, "DPoP", &plain, &[&tool.proof(house, &plain)]).0, 401);
    assert_eq!(refund(house, "Bearer", &plain, &[]).0, 200);
    let signed_in = tool.proof(house, &ana.gate);
    assert_eq!(refund(house, "DPoP", &ana.gate, &[&signed_in]).0, 401);
}

/// The public key in the tool's proofs.
fn tool_jwk(tool: &Tool, house: &House, token: &str) -> Value {
    let proof = tool.proof(house, token);
    let script =
        "import sys, jwt, json; print(json.dumps(jwt.get_unverified_header(sys.argv[1])['jwk']))";
    let python = python("dpop_tool.py").get_program().to_owned();
    let output = Command::new(python).args(["-c", script, &proof]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn e12_a_proof_is_for_one_request() {
    let payments = open();
    let (house, ana) = (&payments.house, payments.enter(&ana()));
    let tool = Tool::new();
    let grant = held(&ana);
    let (token, other) = (tool.bound(house, &ana, &grant), tool.bound(house, &ana, &grant));
    payments.upstream.take();
    let here = address(house);
    let now = machine_time().as_second();
    let of = |method: &str, url: &str, token: &str, claims: Value, headers: Value| {
        tool.proof_of(method, url, token, &claims, &headers)
    };
    let none = || json!({});
    let wrong = [
        ("another method", of("GET", &here, &token, none(), none())),
        ("another path", of("POST", &format!("{here}/1"), &token, none(), none())),
        ("another host", of("POST", &here.replace(HOST, "x.example"), &token, none(), none())),
        ("another port", of("POST", &format!("http://{HOST}{PATH}"), &token, none(), none())),
        ("another token", of("POST", &here, &other, none(), none())),
        ("no token", of("POST", &here, "", none(), none())),
        ("too old", of("POST", &here, &token, json!({"iat": now - 70}), none())),
        ("of the future", of("POST", &here, &token, json!({"iat": now + 600}), none())),
        ("no time", of("POST", &here, &token, json!({"iat": null}), none())),
        ("no id", of("POST", &here, &token, json!({"jti": null}), none())),
        ("another type", of("POST", &here, &token, none(), json!({"typ": "JWT"}))),
        ("no key", of("POST", &here, &token, none(), json!({"jwk": null}))),
    ];
    for (what, proof) in &wrong {
        let (status, body) = refund(house, "DPoP", &token, &[proof]);
        assert_eq!(status, 401, "{what}: {body}");
    }
    assert!(payments.upstream.take().is_empty(), "something was forwarded");
    // The query does not count.
    let proof = of("POST", &format!("{here}?limit=1"), &token, none(), none());
    assert_eq!(refund(house, "DPoP", &token, &[&proof]).0, 200);
    assert_eq!(refund(house, "DPoP", &token, &[&proof]).0, 401, "it was used");
}

#[test]
fn e16_a_proof_is_good_once_however_many_send_it_and_whatever_restarts() {
    let mut payments = open();
    let tool = Tool::new();
    let (token, before) = {
        let (house, ana) = (&payments.house, payments.enter(&ana()));
        let token = tool.bound(house, &ana, &held(&ana));
        payments.upstream.take();
        let proof = tool.proof(house, &token);
        let together = Barrier::new(RACING);
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let one = || {
                together.wait();
                refund(house, "DPoP", &token, &[&proof]).0
            };
            let racing: Vec<_> = (0..RACING).map(|_| scope.spawn(one)).collect();
            racing.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(payments.upstream.take().len(), 1);
        (token.clone(), tool.proof(house, &token))
    };
    payments.house.kill();
    payments.house.restart();
    next_second();
    // Nobody remembers whether it was used: it is not, and the token lives on, bound as it was.
    let house = &payments.house;
    assert_eq!(refund(house, "DPoP", &token, &[&before]).0, 401);
    assert_eq!(refund(house, "Bearer", &token, &[]).0, 401);
    assert_eq!(refund(house, "DPoP", &token, &[&tool.proof(house, &token)]).0, 200);
}

#[test]
fn a_redemption_whose_proof_does_not_hold_spends_nothing() {
    let payments = open();
    let (house, ana) = (&payments.house, payments.enter(&ana()));
    let tool = Tool::new();
    let grant = held(&ana);
    let token = text(&once(&ana, &grant)["token"]);
    let url = redeem_address(house);
    let proof = |url: &str| tool.proof_of("POST", url, "", &json!({}), &json!({}));
    let elsewhere = proof("https://evil.example/v1/tokens/redeem");
    let (first, second) = (proof(&url), proof(&url));
    for proofs in [vec![elsewhere.as_str()], vec!["x"], vec![&first, &second]] {
        let (status, problem) = redeem(&url, &token, &proofs);
        assert_eq!(status, 401, "{proofs:?}: {problem:#}");
    }
    let both = json!({"token": token, "certificate": tool.thumbprint()}).to_string();
    let header = format!("DPoP: {first}");
    let sent = ["-H", &header, "-H", "Content-Type: application/json", "-d", &both, &url];
    assert_eq!(curl(&sent).0, 400, "one key");
    let wrong = json!({"token": token, "certificate": "AAAA"}).to_string();
    assert_eq!(curl(&["-H", "Content-Type: application/json", "-d", &wrong, &url]).0, 400);
    assert_eq!(tool.redeem(house, &token).0, 201, "it was not spent");
}

#[test]
fn the_command_line_redeems_for_a_key_and_makes_proofs() {
    let payments = open();
    let (house, ana) = (&payments.house, payments.enter(&ana()));
    let grant = held(&ana);
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("tool.key");
    let key_text = key.to_str().unwrap();
    let url = format!("http://{}", house.control);
    let token = text(&once(&ana, &grant)["token"]);
    // What is wrong with a key is told before the token is spent, and how to make one.
    let missing = redeem_by_cli(house, &[&url, "--dpop-key", key_text], &token);
    assert_eq!(missing.status.code(), Some(2));
    fs::write(&key, "no key").unwrap();
    let wrong = redeem_by_cli(house, &[&url, "--dpop-key", key_text], &token);
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && told.contains("openssl genpkey"), "{told}");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"])
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success());
    let got = redeem_by_cli(house, &[&url, "--dpop-key", key_text], &token);
    let (token, told) = (line(&got.stdout), String::from_utf8_lossy(&got.stderr).into_owned());
    assert!(got.status.success() && told.contains("Authorization: DPoP"), "{told}");
    assert!(told.contains("portcullis proof"), "{told}");
    assert_eq!(refund(house, "Bearer", &token, &[]).0, 401);
    let proof = proof_by_cli(&["POST", &address(house), "--key", key_text], &token);
    assert_eq!(refund(house, "DPoP", &token, &[&proof]).0, 200);
    assert_eq!(refund(house, "DPoP", &token, &[&proof]).0, 401);
}

fn proof_by_cli(args: &[&str], token: &str) -> String {
    let mut child = Command::new(binary())
        .arg("proof")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Payments with a second listener, for TLS with client certificates of a trust domain.
struct Walled {
    payments: Payments,
    pki: Pki,
    authority: Pair,
    ca: PathBuf,
    tls: u16,
}

impl Walled {
    fn open() -> Self {
        let (pki, tls) = (Pki::new(), free_port());
        let (authority, ca) = (pki.authority("mesh"), pki.authority("web"));
        let names = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectAltName=DNS:{HOST}\n"
        );
        let server = pki.leaf("gate", &ca, &names);
        let listener = format!(
            "{{name: mesh, address: \"127.0.0.1:{tls}\", tls: {{certificate: gate.crt, key: gate.key, client_ca: mesh-ca.crt}}}}"
        );
        let payments = Payments::furnished(Upstream::start(), |plan| {
            plan.file("gate.crt", &server.pem())
                .file("gate.key", &server.key_pem())
                .file("mesh-ca.crt", &authority.pem())
                .workload("{name: mesh, mtls: {spiffe_trust_domain: prod.example.com}}")
                .listener(&listener)
        });
        next_second();
        Self { payments, pki, authority, ca: ca.certificate, tls }
    }

    /// A refund over TLS by curl, perhaps with a client certificate.
    fn refund(&self, client: Option<&Pair>, token: &str, more: &[&str]) -> u16 {
        handed_out(token);
        let (resolve, url) = (
            format!("{HOST}:{}:127.0.0.1", self.tls),
            format!("https://{HOST}:{}{PATH}", self.tls),
        );
        let scheme =
            if more.iter().any(|arg| arg.starts_with("DPoP: ")) { "DPoP" } else { "Bearer" };
        let header = format!("Authorization: {scheme} {token}");
        let mut args = vec!["--resolve", &resolve, "--cacert", self.ca.to_str().unwrap()];
        if let Some(pair) = client {
            args.extend(["--cert", pair.certificate.to_str().unwrap()]);
            args.extend(["--key", pair.key.to_str().unwrap()]);
        }
        args.extend(["-H", &header, "-H", "Content-Type: application/json", "-d", REFUND, &url]);
        args.extend(more);
        curl(&args).0
    }
}

#[test]
fn m16_a_token_bound_to_a_certificate_opens_on_connections_with_it_only() {
    let walled = Walled::open();
    let (payments, house) = (&walled.payments, &walled.payments.house);
    let ana = payments.enter(&ana());
    let grant = held(&ana);
    let svid = |name: &str| {
        let id = format!("spiffe://prod.example.com/tools/{name}");
        walled.pki.svid(name, &walled.authority, &id)
    };
    let (own, other) = (svid("psql"), svid("other"));
    let url = format!("http://{}", house.control);
    let certificate = own.certificate.to_str().unwrap();
    let made = redeem_by_cli(
        house,
        &[&url, "--certificate", certificate, "--output", "json"],
        &text(&once(&ana, &grant)["token"]),
    );
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["token_type"], "Bearer", "{made:#}");
    assert!(made["cnf"]["x5t#S256"].is_string(), "{made:#}");
    let token = text(&made["token"]);
    payments.upstream.take();
    for version in ["--http1.1", "--http2"] {
        assert_eq!(walled.refund(Some(&own), &token, &[version]), 200, "{version}");
        let arrived = payments.upstream.take().remove(0);
        assert_eq!(arrived.headers("portcullis-principal"), ["corp:ana"]);
    }
    assert_eq!(walled.refund(None, &token, &[]), 401, "without a certificate");
    assert_eq!(walled.refund(Some(&other), &token, &[]), 401, "with another");
    assert_eq!(refund(house, "Bearer", &token, &[]).0, 401, "without TLS");
    assert!(payments.upstream.take().is_empty(), "something was forwarded");
    // A token of nobody's key is good with any certificate; one that is bound to a key, over TLS, for
    // the address with TLS.
    let tool = Tool::new();
    let bound = tool.bound(house, &ana, &grant);
    let at = |scheme: &str| format!("{scheme}://{HOST}:{}{PATH}", walled.tls);
    let proof = |scheme: &str| {
        let proof = tool.proof_of("POST", &at(scheme), &bound, &json!({}), &json!({}));
        format!("DPoP: {proof}")
    };
    assert_eq!(walled.refund(Some(&own), &bound, &["-H", &proof("https"), "--http2"]), 200);
    assert_eq!(walled.refund(None, &bound, &["-H", &proof("http")]), 401);
    assert_eq!(walled.refund(Some(&own), &bound, &[]), 401, "a certificate is no proof");
}

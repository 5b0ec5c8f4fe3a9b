//! Direct ports: TLS with a client certificate, and then the service's own bytes.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use portcullis_testkit::net::free_port;

use super::database::{CONNECT, Database, HOST};
use crate::{
    house::Plan,
    mesh::eventually,
    pki::{Pair, Pki, python},
};

const POLICIES: &str = r#"
@id("db.mesh")
permit (principal is Workload in Group::"ledger", action == Action::"ledger-db.connect", resource in Service::"ledger-db")
when { context.auth.method == "mtls" };
"#;
const ENTRY: &str = r#"{name: mesh, mtls: {spiffe_trust_domain: prod.example.com}, groups: {"path=/ns/ledger/sa/api": [ledger]}}"#;

struct Ports {
    database: Database,
    pki: Pki,
    authority: Pair,
    ca: Pair,
    bound: u16,
    by_name: u16,
}

impl Ports {
    fn open() -> Self {
        let (pki, bound, by_name) = (Pki::new(), free_port(), free_port());
        let (authority, ca) = (pki.authority("mesh"), pki.authority("web"));
        let names = format!(
            "basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:{HOST},DNS:*.example.com\n"
        );
        let server = pki.leaf("gate", &ca, &names);
        let tls = "tls: {certificate: gate.crt, key: gate.key, client_ca: mesh-ca.crt}";
        let listener = |name: &str, port: u16, to: &str| {
            format!("{{name: {name}, address: \"127.0.0.1:{port}\", {tls}, tcp: {to}}}")
        };
        let furnish = |plan: Plan| {
            plan.file("gate.crt", &server.pem())
                .file("gate.key", &server.key_pem())
                .file("mesh-ca.crt", &authority.pem())
                .policy("mesh.cedar", POLICIES)
                .workload(ENTRY)
                .listener(&listener("db", bound, "ledger-db"))
                .listener(&listener("names", by_name, "sni"))
        };
        let database = Database::furnished(b"hello ", "", furnish);
        Self { database, pki, authority, ca, bound, by_name }
    }

    fn svid(&self, name: &str) -> Pair {
        let id = format!("spiffe://prod.example.com/ns/ledger/sa/{name}");
        self.pki.svid(name, &self.authority, &id)
    }

    fn dial(&self, port: u16, server_name: &str, client: Option<&Pair>) -> Client {
        Client::dial(port, server_name, &self.ca.certificate, client)
    }

    /// The refusal of the newest attempt at `host`.
    fn refused(&self, host: &str, refusal: &str) -> serde_json::Value {
        self.database.event("attempt", |event| event["host"] == host && event["refusal"] == refusal)
    }
}

/// Python's own TLS, one line of bytes at a time.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    fn dial(port: u16, server_name: &str, ca: &Path, client: Option<&Pair>) -> Self {
        let mut command = python("tls_peer.py");
        command.args([&port.to_string(), server_name]).arg(ca);
        if let Some(pair) = client {
            command.args([&pair.certificate, &pair.key]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    /// What comes next: bytes as text, `closed`, or `broken`.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    fn say(&mut self, text: &str) {
        writeln!(self.stdin, "{text}").unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_certificate_opens_the_service_that_the_port_is_bound_to() {
    let ports = Ports::open();
    let api = ports.svid("api");
    let mut client = ports.dial(ports.bound, "anything.example.com", Some(&api));
    assert_eq!(client.line(), "hello ");
    client.say("ping");
    assert_eq!(client.line(), "ping");
    let attempt = ports.database.event("attempt", |event| event["operation"] == CONNECT);
    assert!(attempt["principal"].to_string().contains("mesh:/ns/ledger/sa/api"), "{attempt:#}");
    assert_eq!((&attempt["method"], &attempt["auth_method"]), (&"CONNECT".into(), &"mtls".into()));
    let lead = ports.database.house.sign_in(&super::database::lea());
    let all = ports.database.connections(&lead);
    assert_eq!((all.len(), &all[0]["protocol"]), (1, &"tcp".into()));
    let path = format!("/v1/connections/{}/close", all[0]["id"].as_str().unwrap());
    assert!(ports.database.house.api("POST", &path, Some(&lead), None).status < 300);
    assert_eq!(client.line(), "broken", "a cut is no end");
    assert_eq!(ports.database.ended("closed")["detail"], "4 bytes up, 10 bytes down");
}

#[test]
fn nobody_else_gets_a_byte_and_every_refusal_is_on_record() {
    let ports = Ports::open();
    let other = ports.svid("other");
    for (client, refusal) in [(Some(&other), "not-found"), (None, "unauthenticated")] {
        let mut client = ports.dial(ports.bound, HOST, client);
        assert_eq!(client.line(), "closed", "{refusal}");
        let attempt = ports.refused(HOST, refusal);
        assert_eq!(attempt["service"].is_null(), refusal == "unauthenticated", "{attempt:#}");
    }
    let foreign = ports.pki.authority("foreign");
    let forged = ports.pki.svid("forged", &foreign, "spiffe://prod.example.com/ns/ledger/sa/api");
    assert_eq!(ports.dial(ports.bound, HOST, Some(&forged)).line(), "broken");
    assert!(ports.database.upstream.seen().is_empty());
}

#[test]
fn the_server_name_leads_to_the_service_that_has_it() {
    let ports = Ports::open();
    let api = ports.svid("api");
    let mut client = ports.dial(ports.by_name, HOST, Some(&api));
    assert_eq!(client.line(), "hello ");
    client.say("ping");
    assert_eq!(client.line(), "ping");
    // An instance by its own name, as with HTTP; whoever half-closes still gets the rest.
    let mut client = ports.dial(ports.by_name, "ledger-db--db-1.example.com", Some(&api));
    assert_eq!(client.line(), "hello ");
    let attempt = ports.database.event("attempt", |event| event["instance"] == "db-1");
    assert_eq!(attempt["host"], "ledger-db--db-1.example.com");
    for name in ["unknown.example.com", "web.example.com"] {
        assert_eq!(ports.dial(ports.by_name, name, Some(&api)).line(), "closed", "{name}");
        ports.refused(name, "not-found");
    }
    // Without a name there is nothing to go by.
    assert_eq!(ports.dial(ports.by_name, "", Some(&api)).line(), "closed");
    ports.refused("", "not-found");
    eventually("two connections", || ports.database.upstream.seen().len() == 2);
}

#[test]
fn j06_a_hostile_server_name_is_one_line_of_json() {
    let ports = Ports::open();
    let api = ports.svid("api");
    for name in [
        "raw:a\"b\r\n\u{1b}[2J",
        "raw:\u{202e}evil",
        "raw:a_b-.example.com",
        "raw:xn--.example.com",
    ] {
        let line = ports.dial(ports.by_name, name, Some(&api)).line();
        assert!(["closed", "broken"].contains(&line.as_str()), "{name}: {line}");
    }
    // Whatever became of them, the record is as sound as before, and in one piece.
    assert_eq!(ports.dial(ports.by_name, "last.example.com", Some(&api)).line(), "closed");
    let attempt = ports.refused("last.example.com", "not-found");
    assert!(!attempt.to_string().contains('\u{1b}'));
    assert!(!ports.database.house.log().contains('\u{1b}'));
    assert!(ports.database.upstream.seen().is_empty());
}

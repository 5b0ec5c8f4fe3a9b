//! What an Upgrade opens, and what it does not.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use portcullis_testkit::{
    net::{free_port, wait_for_port},
    upstream::{TcpEnd, TcpUpstream},
};
use serde_json::json;

use super::database::{CONNECT, Database, HOST, Said, Tunnel, ana, ben, data, frame, gil};
use crate::{
    mesh::eventually,
    people::Person,
    pki::Pki,
    streams::Peer,
    wire::{Response, Wire, exchange},
};

#[test]
fn a_permitted_connection_carries_bytes_both_ways_to_both_ends() {
    let database = Database::furnished(b"hello ", "", |plan| plan);
    let (_, gate) = database.enter(&ana());
    let mut tunnel = database.dial(&gate).unwrap();
    assert_eq!(tunnel.answer.header("upgrade"), Some("portcullis-tcp"));
    // The database speaks first, as some do.
    assert_eq!(tunnel.read(6), b"hello ");
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    // Our half is over; what comes back still comes.
    let sent = [data(&much), frame(1, b"")].concat();
    let mut sending = tunnel.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || sending.write_all(&sent).unwrap());
    assert!(tunnel.read(much.len()) == much, "the bytes differ");
    sender.join().unwrap();
    assert_eq!(tunnel.read(13), b"3000000 bytes");
    assert_eq!(tunnel.next().unwrap(), Said::End);
    let event = database.ended("finished");
    assert_eq!(event["detail"], "3000000 bytes up, 3000019 bytes down");
    let attempt = database.event("attempt", |event| event["operation"] == CONNECT);
    assert_eq!((&attempt["status"], &attempt["host"]), (&101.into(), &HOST.into()));
    assert_eq!(attempt["connection"], event["connection"]);
    assert_eq!(database.upstream.seen()[0].end, Some(TcpEnd::Finished));
}

#[test]
fn a_refusal_is_an_ordinary_answer_that_can_be_asked_about() {
    let database = Database::open();
    let (control, gate) = database.enter(&ben());
    let refused = database.dial(&gate).unwrap_err();
    assert_eq!(refused.status, 403);
    let problem = refused.json();
    assert!(problem["type"].as_str().unwrap().ends_with("/problems/requestable"), "{problem:#}");
    assert_eq!(problem["operation"], CONNECT);
    assert_eq!(problem["ways"][0]["rule"], "db.engineers");
    assert!(database.upstream.seen().is_empty());
    let grant = database.ask(&control, &refused);
    let mut tunnel = database.dial(&gate).unwrap();
    assert_eq!(tunnel.answer.header("portcullis-grant"), Some(grant.as_str()));
    tunnel.echo(b"ping");
}

#[test]
fn e16_one_use_opens_one_connection_and_none_is_spent_on_an_upstream_that_is_down() {
    let database = Database::open();
    let (control, gate) = database.enter(&gil());
    let refused = database.dial(&gate).unwrap_err();
    assert!(refused.json()["digest"].as_str().unwrap().starts_with("sha256:"));
    database.ask(&control, &refused);
    let mut tunnel = database.dial(&gate).unwrap();
    assert_eq!(database.dial(&gate).unwrap_err().status, 403, "it was for one connection");
    // That its grant is used up does not end what it opened.
    tunnel.echo(b"still here");
    assert_eq!(database.upstream.seen().len(), 1);

    let nowhere = format!("url: \"tcp://127.0.0.1:{}\"", free_port());
    let database = Database::before(TcpUpstream::start(b""), &nowhere, "", |plan| plan);
    let (control, gate) = database.enter(&gil());
    let grant = database.ask(&control, &database.dial(&gate).unwrap_err());
    let answer = database.dial(&gate).unwrap_err();
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.json()["type"].as_str().unwrap().ends_with("/problems/upstream"));
    let grant = database.house.api("GET", &format!("/v1/grants/{grant}"), Some(&control), None);
    assert_eq!(grant.json()["state"], "in_force", "{}", grant.text());
}

#[test]
fn http_and_connections_do_not_mix() {
    let database = Database::open();
    let (_, gate) = database.enter(&ana());
    let (_, stranger) = database.enter(&Person::new("zoe", &["visitors"]));
    let get = |host: &str, token: Option<&str>| database.house.gate(host, "GET", "/", token, None);
    let kind = |answer: &Response| answer.json()["type"].as_str().unwrap().to_owned();
    let told = get(HOST, Some(&gate));
    assert_eq!((told.status, told.header("upgrade")), (426, Some("portcullis-tcp")));
    assert!(kind(&told).ends_with("/problems/speaks-tcp"), "{}", told.text());
    assert!(told.text().contains("portcullis connect ledger-db"), "{}", told.text());
    assert_eq!(get(HOST, Some(&stranger)).status, 404, "nobody learns what it is");
    assert_eq!(get(HOST, None).status, 401);
    let dial = |host: &str, token: &str| Tunnel::dial(database.house.gate, host, token, "");
    let other = dial("web.example.com", &gate).unwrap_err();
    assert_eq!(other.status, 400, "{}", other.text());
    assert!(other.text().contains("this service speaks HTTP"), "{}", other.text());
    for (host, token) in
        [("web.example.com", &stranger), (HOST, &stranger), ("no.example.com", &gate)]
    {
        assert_eq!(dial(host, token).unwrap_err().status, 404, "{host}");
    }
    assert!(database.upstream.seen().is_empty());
}

#[test]
fn a12_only_a_whole_upgrade_is_one() {
    let database = Database::open();
    let (_, gate) = database.enter(&ana());
    let ask = |line: &str, more: &str| {
        let head = format!("{line}\r\nHost: {HOST}\r\nAuthorization: Bearer {gate}\r\n{more}\r\n");
        exchange(database.house.gate, head).status
    };
    let upgrade = "Upgrade: portcullis-tcp\r\n";
    let both = "Connection: upgrade\r\nUpgrade: portcullis-tcp\r\n";
    for (line, more, what) in [
        ("POST / HTTP/1.1", format!("{both}Content-Length: 0\r\n"), "another method"),
        ("GET /x HTTP/1.1", both.to_owned(), "a path"),
        ("GET /?q HTTP/1.1", both.to_owned(), "a query"),
        ("GET / HTTP/1.1", upgrade.to_owned(), "no `Connection: upgrade`"),
        ("GET / HTTP/1.0", both.to_owned(), "HTTP/1.0"),
        ("GET / HTTP/1.1", format!("{both}{upgrade}"), "twice"),
        ("GET / HTTP/1.1", both.replace("-tcp", "-tcp/2"), "another protocol"),
        ("GET / HTTP/1.1", format!("{both}Content-Length: 3\r\n\r\nabc"), "a body"),
    ] {
        assert_eq!(ask(line, &more), 400, "{what}");
    }
    assert_eq!(ask("CONNECT ledger-db.example.com:5432 HTTP/1.1", ""), 405);
    assert!(database.upstream.seen().is_empty());
}

#[test]
fn a12_what_comes_before_the_decision_reaches_nobody_and_is_no_request() {
    let database = Database::open();
    let (_, ben) = database.enter(&ben());
    let (_, ana) = database.enter(&ana());
    let head = |token: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: portcullis-tcp\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        )
    };
    // Refused: what stood behind it is not read as a request, however much it looks like one.
    let smuggled = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ana}\r\n\r\n");
    let mut wire = Wire::connect(database.house.gate);
    wire.send(format!("{}{smuggled}", head(&ben)));
    assert_eq!(wire.response().unwrap().status, 403);
    assert_eq!(wire.until_closed(), Some(Vec::new()), "something was answered");
    assert!(database.upstream.seen().is_empty());
    // Permitted: it waits for the decision, and is the first that passes.
    let mut wire = Wire::connect(database.house.gate);
    wire.send([head(&ana).into_bytes(), frame(0, b"early")].concat());
    assert_eq!(wire.response().unwrap().status, 101);
    assert_eq!(wire.read_until(b"early"), frame(0, b"early"));
}

#[test]
fn c01_headers_of_the_upgrade_make_nobody_somebody_else() {
    let database = Database::open();
    let (_, gate) = database.enter(&ana());
    let spoofed = "Portcullis-Principal: corp:lea\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-User: lea\r\n";
    let mut tunnel = Tunnel::dial(database.house.gate, HOST, &gate, spoofed).unwrap();
    tunnel.echo(b"ping");
    let attempt = database.event("attempt", |event| event["operation"] == CONNECT);
    assert_eq!(attempt["source"], "127.0.0.1");
    assert!(attempt["principal"].to_string().contains("ana"), "{attempt:#}");
    assert!(!attempt.to_string().contains("lea\""), "{attempt:#}");
}

#[test]
fn whoever_leaves_is_named_and_the_other_side_is_not_told_that_it_was_all() {
    let database = Database::open();
    let (_, gate) = database.enter(&ana());
    let mut tunnel = database.dial(&gate).unwrap();
    tunnel.echo(b"half of it");
    drop(tunnel);
    database.ended("client_gone");
    eventually("the database is reset", || database.upstream.seen()[0].end == Some(TcpEnd::Reset));

    let mut tunnel = database.dial(&gate).unwrap();
    tunnel.send(b"reset");
    assert_eq!(tunnel.next().unwrap(), Said::Closed("the upstream broke off".to_owned()));
    database.ended("upstream_gone");

    // What is no frame ends it too.
    let mut tunnel = database.dial(&gate).unwrap();
    tunnel.stream.write_all(&[0, 0xff, 0xff, 0xff, 0xff]).unwrap();
    assert_eq!(tunnel.next().unwrap(), Said::Closed("the client went away".to_owned()));
    assert!(database.upstream.seen().iter().skip(2).all(|seen| seen.bytes == 0));

    let mut tunnel = database.dial(&gate).unwrap();
    tunnel.send(b"quit");
    assert_eq!(tunnel.next().unwrap(), Said::End);
}

#[test]
fn a_lasting_sign_in_is_for_one_service_and_ends_with_its_parent() {
    let database = Database::open();
    let (control, _) = database.enter(&ana());
    let lasting = |service: serde_json::Value| {
        let body = json!({"audience": "gate", "service": service, "lasting": true});
        database.house.api("POST", "/v1/sign-ins", Some(&control), Some(body))
    };
    let own = database.house.api("GET", "/v1/sign-ins", Some(&control), None).json();
    let parent = &own["sign_ins"].as_array().unwrap().iter().find(|s| s["audience"] == "control");
    let made = lasting("ledger-db".into()).json();
    assert_eq!(made["sign_in"]["expires_at"], parent.unwrap()["expires_at"]);
    assert_eq!(lasting("web".into()).status, 201);
    assert_eq!(lasting(serde_json::Value::Null).status, 400);
    assert_eq!(lasting("nothing".into()).status, 404);
    let token = made["token"].as_str().unwrap();
    assert_eq!(
        Tunnel::dial(database.house.gate, "web.example.com", token, "").unwrap_err().status,
        401
    );
    database.dial(token).unwrap().echo(b"ping");
}

#[test]
fn f16_a_database_over_tls_is_verified_and_nothing_falls_back() {
    let (pki, port) = (Pki::new(), free_port());
    let (ca, other) = (pki.authority("db"), pki.authority("other"));
    let names = "basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost\n";
    let server = pki.leaf("server", &ca, names);
    // It sends each line back, reversed.
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-rev", "-accept", &port.to_string(), "-cert"]);
    command.arg(&server.certificate).arg("-key").arg(&server.key);
    let _server = Peer::of(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    assert!(wait_for_port(([127, 0, 0, 1], port).into(), Duration::from_secs(20)));
    for (authority, is_believed) in [(&ca, true), (&other, false)] {
        let yaml = format!("url: \"tls://localhost:{port}\", tls: {{ca: db-ca.crt}}");
        let database = Database::before(TcpUpstream::start(b""), &yaml, "", |plan| {
            plan.file("db-ca.crt", &authority.pem())
        });
        let (_, gate) = database.enter(&ana());
        match database.dial(&gate) {
            Ok(mut tunnel) => {
                tunnel.send(b"abc\n");
                assert_eq!((tunnel.read(4), is_believed), (b"cba\n".to_vec(), true));
            }
            Err(answer) => assert_eq!((answer.status, is_believed), (502, false)),
        }
    }
}

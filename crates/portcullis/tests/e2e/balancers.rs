//! Load balancers that say whose connections they pass on, and others that would like to.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
};

use portcullis_testkit::net::free_port;
use serde_json::Value;

use crate::{
    mesh::eventually,
    outsiders::{has, self_signed},
    people::Person,
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::Wire,
};

const CLIENT: &str = "203.0.113.7";
const LINE: &str = "PROXY TCP4 203.0.113.7 10.0.0.2 51000 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Not among the believed ones, unlike 127.0.0.1.
const STRANGER: &str = "127.0.0.2";

const POLICIES: &str = r#"
// For whom the address matters.
@id("by-address")
permit (principal is Workload in Group::"located", action == Action::"shop.PUT", resource == Service::"shop")
when { context.source.ip == ip("203.0.113.7") };

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
"#;

/// The shop with two further listeners that believe 127.0.0.1.
struct Balanced {
    shop: Shop,
    upstream: Upstream,
    clear: SocketAddr,
    tls: SocketAddr,
}

impl Balanced {
    fn open() -> Self {
        let upstream = Upstream::start();
        let [clear, tls] =
            [free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let (certificate, key) = self_signed();
        let believes = "proxy_protocol: {from: [127.0.0.1/32]}";
        let shop = Shop::furnished(&upstream.url(), |plan| {
            plan.policy("balanced.cedar", POLICIES)
                .file("cert.pem", &certificate)
                .file("key.pem", &key)
                .listener(&format!("{{name: balanced, address: \"{clear}\", {believes}}}"))
                .listener(&format!(
                    "{{name: secret, address: \"{tls}\", {believes}, tls: {{certificate: cert.pem, key: key.pem}}}}"
                ))
        });
        Self { shop, upstream, clear, tls }
    }

    /// Sends `start` and then a request on a connection to `address`; what the upstream was told of
    /// the client.
    #[track_caller]
    fn told(&self, address: SocketAddr, start: &[u8]) -> String {
        let mut wire = Wire::connect(address);
        wire.send([start, self.shop.head("GET", "/page").as_bytes(), b"\r\n"].concat());
        let answer = wire.response().expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.upstream_was_told()
    }

    #[track_caller]
    fn upstream_was_told(&self) -> String {
        let received = self.upstream.take();
        let [only] = received.as_slice() else { panic!("{received:?}") };
        let told = only.headers("x-forwarded-for").join(" and ");
        let forwarded = only.headers("forwarded").join(", ");
        assert!(forwarded.contains(&format!("for={told};")), "{forwarded}");
        told
    }

    /// What curl gets of `base` by way of `port`, and its exit code.
    fn curl(&self, base: &str, port: u16, more: &[&str]) -> (String, Option<i32>) {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(["--connect-to", &format!("::127.0.0.1:{port}"), "--cacert"])
            .arg(self.shop.house.dir().join("cert.pem"))
            .args(["-H", &format!("Authorization: Bearer {}", self.shop.token)])
            .args(more)
            .arg(format!("{base}://{HOST}/page"))
            .output()
            .unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }

    fn turned_away(&self) -> u64 {
        let metrics = self.shop.house.api("GET", "/metrics", None, None).text();
        let name = "portcullis_gate_connections_turned_away_total{reason=\"proxy_protocol\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

/// A version 2 header.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

fn binary_of(client: &str) -> Vec<u8> {
    let (family, octets) = match client.parse().unwrap() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [0xc7, 0x38, 0x01, 0xbb];
    // A TLV that says nothing, as some balancers fill up with.
    let further = [4, 0, 2, 0, 0];
    binary(1, family, &[&octets[..], &octets, &ports, &further].concat())
}

/// A balancer in front of `gate` that begins every connection with `header`; its port.
fn balancer(gate: SocketAddr, header: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let gate = TcpStream::connect(gate).unwrap();
            (&gate).write_all(&header).unwrap();
            let ways =
                [(client.try_clone(), gate.try_clone()), (gate.try_clone(), client.try_clone())];
            for (from, to) in ways {
                let (from, to) = (from.unwrap(), to.unwrap());
                thread::spawn(move || copy(from, to));
            }
        }
    });
    port
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn c15_a_trusted_balancer_says_whose_connection_it_is() {
    let balanced = Balanced::open();
    let six = "2001:db8::7";
    let line_of_six = format!("PROXY TCP6 {six} ::1 51000 443\r\n");
    for (header, client) in [
        (LINE.as_bytes().to_vec(), CLIENT),
        (binary_of(CLIENT), CLIENT),
        (binary_of("::ffff:203.0.113.7"), CLIENT),
        // Its own connections, health checks for example.
        (binary(0, 0, b""), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ] {
        assert_eq!(balanced.told(balanced.clear, &header), client, "{}", header.escape_ascii());
    }
    for header in [line_of_six.into_bytes(), binary_of(six)] {
        let mut wire = Wire::connect(balanced.clear);
        wire.send(
            [header, balanced.shop.head("GET", "/page").into_bytes(), b"\r\n".into()].concat(),
        );
        assert_eq!(wire.response().expect("an answer").status, 200);
        let received = balanced.upstream.take();
        assert_eq!(received[0].headers("x-forwarded-for"), [six]);
        assert!(received[0].headers("forwarded")[0].contains("for=\"[2001:db8::7]\";"));
    }
    // What the client claims by itself is worth what it was worth before.
    let mut wire = Wire::connect(balanced.clear);
    let head = balanced.shop.head("GET", "/page");
    wire.send(format!("{LINE}{head}X-Forwarded-For: 10.9.9.9\r\n\r\n"));
    assert_eq!(wire.response().expect("an answer").status, 200);
    assert_eq!(balanced.upstream_was_told(), CLIENT);
    // The connection goes on with the same client.
    wire.send(format!("{head}\r\n"));
    assert_eq!(wire.response().expect("an answer").status, 200);
    assert_eq!(balanced.upstream_was_told(), CLIENT);
    assert_eq!(balanced.turned_away(), 0);
}

#[test]
fn c15_policy_and_the_record_see_the_clients_address() {
    let balanced = Balanced::open();
    let token = balanced.shop.house.workload_token("here", &["located"]);
    for (client, expected) in [(CLIENT, 200), ("203.0.113.8", 403)] {
        let mut wire = Wire::connect(balanced.clear);
        let head = format!(
            "PUT /page HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        );
        wire.send([binary_of(client), head.into_bytes()].concat());
        let answer = wire.response().expect("an answer");
        assert_eq!(answer.status, expected, "{client}: {}", answer.text());
    }
    let sam = balanced.shop.house.sign_in(&Person::new("sam", &["auditors"]));
    let sources = |events: &[Value]| {
        let attempts = events.iter().filter(|event| event["operation"] == "shop.PUT");
        let mut sources: Vec<_> =
            attempts.filter_map(|event| event["source"].as_str().map(str::to_owned)).collect();
        sources.sort();
        sources
    };
    balanced.shop.house.record(&sam, |events| sources(events) == [CLIENT, "203.0.113.8"]);
}

#[test]
fn c15_a_trusted_balancer_that_does_not_say_it_is_cut_off() {
    let balanced = Balanced::open();
    let request = format!("{}\r\n", balanced.shop.head("GET", "/page"));
    let line = |text: &str| format!("{text}{request}").into_bytes();
    let cases = [
        request.clone().into_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        line("PROXY TCP4 203.0.113.7 10.0.0.2 51000\r\n"),
        line("PROXY TCP4 203.0.113.7 10.0.0.2 51000 443\n"),
        line(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(200))),
        [binary(1, 0x31, &[b'/'; 216]), request.clone().into_bytes()].concat(),
        [binary(1, 0x11, &[0; 4000]), request.clone().into_bytes()].concat(),
    ];
    for case in &cases {
        for address in [balanced.clear, balanced.tls] {
            let mut wire = Wire::connect(address);
            wire.send(case);
            let said = wire.until_closed();
            assert_eq!(said.as_deref(), Some(&b""[..]), "{}", case.escape_ascii());
        }
    }
    assert!(balanced.upstream.take().is_empty());
    // Counted just after it is closed.
    let all = u64::try_from(cases.len() * 2).unwrap();
    eventually("all are counted", || balanced.turned_away() == all);
    assert!(balanced.shop.house.log().contains("PROXY protocol header"));
    // One at a time: that the first were cut off is nothing to the next.
    assert_eq!(balanced.told(balanced.clear, LINE.as_bytes()), CLIENT);
}

#[test]
fn c15_from_others_such_bytes_are_no_http_and_no_handshake() {
    let balanced = Balanced::open();
    let request = format!("{}\r\n", balanced.shop.head("GET", "/page")).into_bytes();
    for header in [LINE.as_bytes().to_vec(), binary_of(CLIENT), binary(0, 0, b"")] {
        // A listener that believes nobody.
        let mut wire = Wire::connect(balanced.shop.house.gate);
        wire.send([&header[..], &request].concat());
        let answer = wire.response().expect("an answer");
        assert_eq!(answer.status, 400, "{}", header.escape_ascii());
        assert!(wire.until_closed().is_some_and(|rest| rest.is_empty()), "nothing comes after it");
    }
    assert!(balanced.upstream.take().is_empty());
    if !has("curl") || !has("openssl") {
        return;
    }
    // One that believes others: whoever is not among them connects as ever, and cannot claim anything.
    let stranger = ["--interface", STRANGER];
    let proxied = ["--interface", STRANGER, "--haproxy-protocol"];
    for (base, port) in [("http", balanced.clear.port()), ("https", balanced.tls.port())] {
        let (said, code) = balanced.curl(base, port, &stranger);
        assert_eq!((said.as_str(), code), ("200", Some(0)), "{base}");
        assert_eq!(balanced.upstream_was_told(), STRANGER);
        let (said, code) = balanced.curl(base, port, &proxied);
        let refused = if base == "http" { said == "400" } else { said == "000" };
        assert!(refused, "{base}: {said}, exit code {code:?}");
        assert!(balanced.upstream.take().is_empty());
    }
    assert_eq!(balanced.turned_away(), 0);
}

#[test]
fn c15_curl_is_believed_where_it_stands_and_every_protocol_begins_behind_the_header() {
    if !has("curl") || !has("openssl") {
        return;
    }
    let balanced = Balanced::open();
    for (base, gate, option) in [
        ("http", balanced.clear, "--http1.1"),
        ("http", balanced.clear, "--http2-prior-knowledge"),
        ("https", balanced.tls, "--http1.1"),
        ("https", balanced.tls, "--http2"),
    ] {
        // As a balancer itself: it passes its own connection on.
        let (said, code) = balanced.curl(base, gate.port(), &[option, "--haproxy-protocol"]);
        assert_eq!((said.as_str(), code), ("200", Some(0)), "{base} {option}");
        assert_eq!(balanced.upstream_was_told(), "127.0.0.1");
        let (said, _) = balanced.curl(base, gate.port(), &[option]);
        assert_eq!(said, "000", "{base} {option} without the header");
        // Behind one that speaks for somebody far away.
        for header in [LINE.as_bytes().to_vec(), binary_of(CLIENT)] {
            let port = balancer(gate, header);
            let (said, code) = balanced.curl(base, port, &[option]);
            assert_eq!((said.as_str(), code), ("200", Some(0)), "{base} {option}");
            assert_eq!(balanced.upstream_was_told(), CLIENT, "{base} {option}");
        }
    }
}

//! `portcullis connect`: a tool that knows nothing of us, at an address of its own machine.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use portcullis_testkit::{net::free_port, upstream::TcpUpstream};
use serde_json::{Value, json};

use super::database::{Database, ana, ben, lea};
use crate::{connect::Connect, mesh::eventually, pki::Pki};

/// Starts it in the CLI's `home`.
fn start(database: &Database, home: &str, more: &[&str], environment: &[(&str, &str)]) -> Connect {
    Connect::start(&database.house, home, &[&["ledger-db"], more].concat(), environment)
}

fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == bytes, "the bytes differ");
}

/// Whether the tool sees that its connection was cut short.
fn is_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    matches!(stream.read_to_end(&mut rest), Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn a_tool_speaks_to_the_database_at_an_address_of_its_own_machine() {
    let database = Database::furnished(b"ready ", "", |plan| plan);
    let control = database.house.sign_in(&ana());
    database.house.profile("ana", &control);
    let connect = start(&database, "ana", &[], &[]);
    assert!(connect.address.starts_with("127.0.0.1:"), "{}", connect.address);
    let mut first = connect.dial();
    let mut greeting = [0; 6];
    first.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"ready ");
    let much: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 253) as u8).collect();
    let (mut sending, sent) = (first.try_clone().unwrap(), much.clone());
    let sender = std::thread::spawn(move || {
        sending.write_all(&sent).unwrap();
        sending.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    // A second one beside it is a connection of its own.
    let mut second = connect.dial();
    second.read_exact(&mut greeting).unwrap();
    first.read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    assert_eq!(&back[much.len()..], b"2000000 bytes", "what follows the end of our half");
    assert!(back[..much.len()] == much, "the bytes differ");
    echo(&mut second, b"ping");
    assert_eq!(database.upstream.seen().len(), 2);
    let sign_ins = || {
        let own = database.house.api("GET", "/v1/sign-ins", Some(&control), None).json();
        own["sign_ins"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["service"] == "ledger-db")
            .count()
    };
    assert_eq!(sign_ins(), 1, "one sign-in for all connections");
    assert_eq!(connect.stop(), Some(0));
    assert_eq!(sign_ins(), 0, "what was made for it is gone with it");
    database.ended("client_gone");
}

#[test]
fn a_refusal_says_what_would_open_it_and_a_cut_says_why() {
    let database = Database::open();
    let control = database.house.sign_in(&ben());
    database.house.profile("ben", &control);
    let connect = start(&database, "ben", &[], &[]);
    let said = connect.until_said("portcullis ask ledger-db.connect");
    assert!(said.contains("ledger-db.connect needs a grant"), "{said}");
    assert!(is_reset(&mut connect.dial()), "a refusal is no end");
    let said = connect.until_said("portcullis ask ");
    assert!(said.contains("you can get this") && said.contains("automatic"), "{said}");
    let code = said.rsplit_once("portcullis ask ").unwrap().1.trim();
    let (status, said) =
        database.house.says("ben", &["ask", code, "--reason", "the ledger is stuck"]);
    assert_eq!(status, Some(0), "{said}");
    let mut stream = connect.dial();
    echo(&mut stream, b"ping");
    let said = connect.until_said("granted ledger-db.connect");
    let lead = database.house.sign_in(&lea());
    let grants = database.house.api("GET", "/v1/grants", Some(&control), None).json();
    let grant = grants["grants"][0]["id"].as_str().unwrap();
    assert!(said.contains(&grant[18..]), "{said}");
    let path = format!("/v1/grants/{grant}/revoke");
    database.house.api("POST", &path, Some(&lead), Some(json!({"reason": "enough"})));
    assert!(is_reset(&mut stream), "a cut is no end");
    connect.until_said("connection closed: the grant ended");
}

#[test]
fn e34_a_reason_asks_first_and_the_end_is_announced() {
    let brief = r#"@id("db.brief") @reviews("0") @max_duration("15s")
permit (principal is User in Group::"briefly", action == Action::"ledger-db.connect", resource in Service::"ledger-db")
when { context has grant };"#;
    let database = Database::furnished(b"", "", |plan| plan.policy("brief.cedar", brief));
    let control = database.house.sign_in(&crate::people::Person::new("bo", &["briefly"]));
    database.house.profile("bo", &control);
    let connect = start(&database, "bo", &["--reason", "the ledger is stuck"], &[]);
    let mut stream = connect.dial();
    echo(&mut stream, b"ping");
    let said = connect.until_said("extend");
    assert!(said.contains("ends soon") && said.contains("--for 30m"), "{said}");
    assert!(is_reset(&mut stream));
    connect.until_said("connection closed: the grant ended");
}

/// A service that says goodbye, and goes on listening: where it is.
fn half_closing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    address
}

#[test]
fn a_cut_behind_the_end_of_the_service_is_no_hang() {
    let yaml = format!("url: \"tcp://{}\"", half_closing());
    let database = Database::before(TcpUpstream::start(b""), &yaml, "", |plan| plan);
    let control = database.house.sign_in(&ben());
    database.house.profile("ben", &control);
    let connect = start(&database, "ben", &["--reason", "the ledger is stuck"], &[]);
    let mut stream = connect.dial();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    stream.write_all(b"more").unwrap();
    let lead = database.house.sign_in(&lea());
    let grants = database.house.api("GET", "/v1/grants", Some(&control), None).json();
    let path = format!("/v1/grants/{}/revoke", grants["grants"][0]["id"].as_str().unwrap());
    database.house.api("POST", &path, Some(&lead), Some(json!({"reason": "enough"})));
    connect.until_said("connection closed: the grant ended");
    // Whoever still writes learns that nobody reads it.
    eventually("the tool is cut off too", || stream.write_all(b"more").is_err());
}

/// Stands before control, and is there or not.
struct Relay {
    address: SocketAddr,
    open: Arc<AtomicBool>,
}

impl Relay {
    fn before(control: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicBool::new(true));
        let is_open = Arc::clone(&open);
        std::thread::spawn(move || {
            while let Ok((mut client, _)) = listener.accept() {
                let Ok(mut server) = TcpStream::connect(control) else { continue };
                let (mut asked, mut answered) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut answered, &mut client);
                    let _ = client.shutdown(Shutdown::Both);
                });
                let is_open = Arc::clone(&is_open);
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(read @ 1..) = asked.read(&mut bytes) {
                        if !is_open.load(Ordering::SeqCst)
                            || server.write_all(&bytes[..read]).is_err()
                        {
                            break;
                        }
                    }
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, open }
    }

    fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }
}

#[test]
fn control_that_does_not_answer_costs_one_connection_and_not_all() {
    let database = Database::open();
    let control = database.house.sign_in(&ana());
    database.house.profile("ana", &control);
    let relay = Relay::before(database.house.control);
    let url = format!("http://{}", relay.address);
    let environment = [("PORTCULLIS_URL", url.as_str()), ("PORTCULLIS_TOKEN", control.as_str())];
    let connect = start(&database, "ana", &[], &environment);
    relay.set_open(false);
    assert!(is_reset(&mut connect.dial()), "a connection that cannot be made is no empty one");
    connect.until_said("a connection was refused, as no sign-in could be made for it");
    relay.set_open(true);
    let mut stream = connect.dial();
    echo(&mut stream, b"ping");
    relay.set_open(false);
    echo(&mut stream, b"pong");
    // Another one needs nothing of control.
    echo(&mut connect.dial(), b"ping");
    relay.set_open(true);
    assert_eq!(connect.stop(), Some(0));
}

#[test]
fn wrong_use_and_no_way_have_their_exit_codes() {
    let database = Database::open();
    let control = database.house.sign_in(&ana());
    database.house.profile("ana", &control);
    for (arguments, code, words) in [
        (&["connect", "ledger-bd"][..], 2, "portcullis services"),
        (&["connect", "ledger-db", "web", "--listen", "127.0.0.1:0"], 2, "single service"),
        (&["connect", "ledger-db=0.0.0.0:0"], 2, "--expose"),
        (&["connect", "ledger-db", "--ask", "web.GET"], 2, "no operation of the services"),
        (&["connect", "ledger-db", "--listen", "0.0.0.0:0"], 2, "--expose"),
        (&["connect", "ledger-db", "--gate", "http://gate.example.com"], 2, "in clear"),
    ] {
        let (status, said) = database.house.says("ana", arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let nobody = database.house.sign_in(&lea());
    database.house.profile("lea", &nobody);
    let (status, said) = database.house.says("lea", &["connect", "ledger-db"]);
    assert_eq!(status, Some(2), "{said}");
}

#[test]
fn it_goes_through_tls_and_says_what_is_unreachable() {
    let (pki, port) = (Pki::new(), free_port());
    let ca = pki.authority("web");
    let names = "basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:ledger-db.example.com\n";
    let server = pki.leaf("gate", &ca, names);
    let listener = format!(
        "{{name: tls, address: \"127.0.0.1:{port}\", tls: {{certificate: gate.crt, key: gate.key}}}}"
    );
    let database = Database::furnished(b"", "", |plan| {
        plan.file("gate.crt", &server.pem()).file("gate.key", &server.key_pem()).listener(&listener)
    });
    database.house.profile("ana", &database.house.sign_in(&ana()));
    let roots = ca.certificate.to_str().unwrap();
    let gate = format!("https://127.0.0.1:{port}");
    let arguments = ["--gate", &gate, "--instance", "db-1"];
    let connect = start(&database, "ana", &arguments, &[("SSL_CERT_FILE", roots)]);
    echo(&mut connect.dial(), &vec![1; 300_000]);
    let attempt = database.event("attempt", |event| event["operation"] == "ledger-db.connect");
    assert_eq!(attempt["instance"], Value::from("db-1"), "{attempt:#}");

    let closed = format!("https://127.0.0.1:{}", free_port());
    let connect = start(&database, "ana", &["--gate", &closed], &[("SSL_CERT_FILE", roots)]);
    assert!(is_reset(&mut connect.dial()));
    connect.until_said("cannot reach");
    eventually("both ends are on record", || database.upstream.seen()[0].end.is_some());
}

//! Streams of every kind, with outsiders as clients and servers: they pass, and they end with what opened them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use portcullis_testkit::net::{free_port, wait_for_port};
use serde_json::{Value, json};

use crate::{
    house::{House, Plan},
    mesh::eventually,
    people::Person,
    wire::Wire,
};

/// Within a second, where nothing else keeps the machine busy.
const AT_ONCE: Duration = Duration::from_secs(10);

const POLICIES: &str = r#"
@id("echo.unary")
permit (principal is Workload in Group::"callers", action in [
    Action::"grpc.Unary", Action::"grpc.ServerStream", Action::"grpc.ClientStream", Action::"grpc.Bidi",
    Action::"ws.GET", Action::"sse.GET"
], resource);

@id("streams.granted")
@reviews("0") @max_duration("10m")
permit (principal is User in Group::"engineering", action in [
    Action::"grpc.ServerStream", Action::"ws.GET", Action::"sse.GET"
], resource)
when { context has grant };

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);

@id("leads.revoke")
permit (principal is User in Group::"leads", action in [Action::"revoke", Action::"viewConnections"], resource);
"#;

/// What the grpcio peer offers, and one that nobody may call.
const METHODS: &str = "operations:\n  inline:\n    Unary: POST /echo.Echo/Unary\n    ServerStream: POST /echo.Echo/ServerStream\n    \
                       ClientStream: POST /echo.Echo/ClientStream\n    Bidi: POST /echo.Echo/Bidi\n    Forbidden: POST /echo.Echo/Forbidden";

struct Streams {
    house: House,
    _servers: Vec<Peer>,
}

/// A child process that ends with the test.
pub(crate) struct Peer(Child);

impl Peer {
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// What it prints.
    pub(crate) fn output(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Streams {
    fn open() -> Self {
        let (grpc, ws) = (free_port(), free_port());
        let servers = vec![
            python("grpc_peer.py", &["serve", &grpc.to_string()], Stdio::null()),
            python("websocket_peer.py", &["serve", &ws.to_string()], Stdio::null()),
        ];
        for port in [grpc, ws] {
            assert!(wait_for_port(
                SocketAddr::from(([127, 0, 0, 1], port)),
                Duration::from_secs(20)
            ));
        }
        let service = |name: &str, url: String, more: &str| {
            format!(
                "name: {name}\nhosts: [{name}.example.com]\nupstream: {{instances: {{i-1: \"{url}\"}}}}\n{more}"
            )
        };
        let house = Plan::empty()
            .service(&service("grpc", format!("h2c://127.0.0.1:{grpc}"), METHODS))
            .service(&service("ws", format!("http://127.0.0.1:{ws}"), ""))
            .service(&service("sse", format!("http://{}", ticking_upstream()), ""))
            .policy("streams.cedar", POLICIES)
            .start();
        Self { house, _servers: servers }
    }

    /// Somebody with a grant for `operation`: the control token, the gate token and the grant.
    fn granted(&self, operation: &str) -> (String, String, String) {
        let control = self.house.sign_in(&Person::new("eng", &["engineering"]));
        let gate = self.house.gate_token(&control);
        let ask = json!({"queries": [{"operation": operation}], "reason": "watching"});
        let asked = self.house.api("POST", "/v1/access-requests", Some(&control), Some(ask));
        assert!(asked.status < 300, "{}", asked.text());
        (control, gate, crate::payments::grant(&asked.json()))
    }

    fn client(
        &self,
        script: &str,
        action: &str,
        host: &str,
        token: &str,
    ) -> (Peer, BufReader<ChildStdout>) {
        let mut peer =
            python(script, &[action, &self.house.gate.to_string(), host, token], Stdio::piped());
        let output = BufReader::new(peer.0.stdout.take().unwrap());
        (peer, output)
    }

    /// Revokes and returns when that was asked for.
    fn revoke(&self, grant: &str) -> Instant {
        let lead = self.house.sign_in(&Person::new("lea", &["leads"]));
        let started = Instant::now();
        let answer =
            self.house.api("POST", &format!("/v1/grants/{grant}/revoke"), Some(&lead), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        started
    }
}

/// Python with what the tests need, and the outsider `name`.
pub(crate) fn script(name: &str) -> (PathBuf, PathBuf) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let own = root.join(".cache/python/bin/python");
    let python = std::env::var_os("PORTCULLIS_PYTHON").map_or(own, PathBuf::from);
    (python, root.join("tests/outsiders").join(name))
}

pub(crate) fn python(name: &str, args: &[&str], stdout: Stdio) -> Peer {
    let (python, path) = script(name);
    let child =
        Command::new(&python).arg(path).args(args).stdin(Stdio::null()).stdout(stdout).spawn();
    Peer(child.unwrap_or_else(|error| {
        panic!("{}: {error}; ./scripts/test installs it", python.display())
    }))
}

/// An upstream that sends an event every 20 ms for as long as somebody reads.
pub(crate) fn ticking_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 8192]);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
                while stream.write_all(b"c\r\ndata: tick\n\n\r\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    address
}

#[test]
fn grpcio_passes_in_all_four_kinds_with_trailers_deadlines_and_cancellation() {
    let streams = Streams::open();
    let token = streams.house.workload_token("caller", &["callers"]);
    let (mut peer, mut output) =
        streams.client("grpc_peer.py", "check", "grpc.example.com", &token);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(peer.0.wait().unwrap().success(), "{said}\n{}", streams.house.log());
    assert_eq!(said.trim(), "ok");
}

#[test]
fn websockets_pass_with_every_size_of_message() {
    let streams = Streams::open();
    let token = streams.house.workload_token("caller", &["callers"]);
    let (mut peer, mut output) =
        streams.client("websocket_peer.py", "check", "ws.example.com", &token);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(peer.0.wait().unwrap().success(), "{said}\n{}", streams.house.log());
    assert_eq!(said.trim(), "ok");
}

#[test]
fn e21_a_grpc_stream_ends_with_its_grant_and_says_why() {
    let streams = Streams::open();
    let (_, gate, grant) = streams.granted("grpc.ServerStream");
    let (_peer, mut output) = streams.client("grpc_peer.py", "stream", "grpc.example.com", &gate);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "0");
    let revoked = streams.revoke(&grant);
    let last = output.lines().map_while(Result::ok).last().unwrap();
    assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
    assert!(last.starts_with("ended: PERMISSION_DENIED"), "{last}");
}

#[test]
fn e21_websockets_idle_and_busy_end_with_their_grant_by_1008() {
    let streams = Streams::open();
    let (control, gate, grant) = streams.granted("ws.GET");
    let mut open = ["stream", "ticks"].map(|action| {
        let (peer, mut output) =
            streams.client("websocket_peer.py", action, "ws.example.com", &gate);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "open");
        (peer, output)
    });
    let listed = || {
        let listed = streams.house.api("GET", "/v1/connections", Some(&control), None).json();
        listed["connections"].as_array().map(Vec::len)
    };
    eventually("both are listed", || listed() == Some(2));
    let revoked = streams.revoke(&grant);
    for (_, output) in &mut open {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
        assert!(line.starts_with("closed: 1008: "), "{line}");
        assert!(line.contains("revoked") || line.contains("grant"), "{line}");
    }
    eventually("nothing is listed", || listed() == Some(0));
}

#[test]
fn m10_a_revocation_that_waits_says_what_became_of_each_connection() {
    let streams = Streams::open();
    let house = &streams.house;
    let (_, gate, grant) = streams.granted("sse.GET");
    house.profile("lea", &house.sign_in(&Person::new("lea", &["leads"])));
    let mut wires = [sse(house, &gate), sse(house, &gate)];
    let revoke = || {
        let output = house.cli("lea", &["revoke", &grant, "--wait"]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    };
    let said = revoke();
    assert!(said.contains("is revoked: corp:eng no longer has sse.GET"), "{said}");
    let gone: Vec<_> = said.lines().filter(|line| line.starts_with("connection ")).collect();
    assert_eq!(gone.len(), 2, "{said}");
    for line in gone {
        assert!(line.contains("sse.GET by sse on i-1: gone, grant ended, "), "{line}");
    }
    for wire in &mut wires {
        assert!(wire.until_closed().is_some(), "what is said to be gone is gone");
    }
    // Asking again is no conflict, and claims nothing that is not so.
    assert!(revoke().ends_with("no connection of it was open\n"));
    let lead = house.sign_in(&Person::new("lea", &["leads"]));
    let path = format!("/v1/grants/{grant}/revoke");
    assert_eq!(house.api("POST", &path, Some(&lead), None).status, 409);
    let long = house.api("POST", &format!("{path}?wait=2m"), Some(&lead), None);
    assert!(long.status == 400 && long.text().contains("1s to 50s"), "{}", long.text());
}

#[test]
fn e21_server_sent_events_end_with_their_grant_without_a_final_chunk() {
    let streams = Streams::open();
    let (_, gate, grant) = streams.granted("sse.GET");
    let mut wire = sse(&streams.house, &gate);
    let revoked = streams.revoke(&grant);
    let rest = wire.until_closed().expect("the gate closes it");
    assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a client must see that the stream was cut");
}

#[test]
fn e21_what_a_grant_token_opened_ends_with_the_grant() {
    let streams = Streams::open();
    let house = &streams.house;
    let (control, _, grant) = streams.granted("sse.GET");
    let made = house.api("POST", &format!("/v1/grants/{grant}/tokens"), Some(&control), None);
    let body = json!({"token": made.json()["token"]});
    let redeemed = house.api("POST", "/v1/tokens/redeem", None, Some(body)).json();
    // The person may leave; what stands for the grant goes on as long as it.
    assert!(house.api("POST", "/v1/sign-out", Some(&control), None).status < 300);
    let mut wire = sse(house, redeemed["token"].as_str().unwrap());
    let revoked = streams.revoke(&grant);
    assert!(wire.until_closed().is_some(), "the gate closes it");
    assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
}

#[test]
fn m15_what_is_open_is_decided_again_when_policies_change() {
    let streams = Streams::open();
    let token = streams.house.workload_token("caller", &["callers"]);
    let (_peer, mut socket) =
        streams.client("websocket_peer.py", "stream", "ws.example.com", &token);
    let mut line = String::new();
    socket.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "open");
    let mut wire = sse(&streams.house, &token);
    streams.house.write_policy("streams.cedar", "");
    streams.house.signal("HUP");
    let changed = Instant::now();
    assert!(wire.until_closed().is_some());
    line.clear();
    socket.read_line(&mut line).unwrap();
    assert!(line.starts_with("closed: 1008: "), "{line}");
    assert!(changed.elapsed() < AT_ONCE, "{:?}", changed.elapsed());
}

/// Connections that are closed at the same time: more than there are cores.
const MANY: usize = 8;

#[test]
fn m10_m14_closing_a_connection_succeeds_when_it_is_closed_on_whatever_core() {
    let streams = Streams::open();
    let house = &streams.house;
    let token = house.workload_token("caller", &["callers"]);
    let lead = house.sign_in(&Person::new("lea", &["leads"]));
    let mut open: Vec<Wire> = (0..MANY).map(|_| sse(house, &token)).collect();
    let listed = || {
        let listed = house.api("GET", "/v1/connections", Some(&lead), None).json();
        let listed = listed["connections"].as_array().unwrap().iter();
        listed.map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("all are listed", || listed().len() == MANY);
    let ids = listed();
    let close = |id: &str| {
        house.api("POST", &format!("/v1/connections/{id}/close"), Some(&lead), None).status
    };
    let closed = Instant::now();
    assert!(ids.iter().all(|id| close(id) < 300));
    for wire in &mut open {
        assert!(wire.until_closed().is_some(), "success was reported and it lives on");
    }
    assert!(closed.elapsed() < AT_ONCE * 2, "{:?}", closed.elapsed());
    eventually("nothing is listed", || listed().is_empty());
    // What is closed already, or never was, is no success.
    for id in ids.iter().map(String::as_str).chain(["01M80HCTWDDVXCE0XJ6CN35225", "x"]) {
        assert_eq!(close(id), 404, "{id}");
    }
    // Who closed them, and that they ended by that.
    let auditor = house.sign_in(&Person::new("sam", &["auditors"]));
    let count = |events: &[Value], which: fn(&Value) -> bool| {
        events.iter().filter(|event| which(event)).count()
    };
    house.record(&auditor, |events| {
        let asked = count(events, |event| {
            event["type"] == "connection_closed" && event["principal"]["id"] == "corp:lea"
        });
        let ended = count(events, |event| {
            event["type"] == "connection_ended" && event["decision"] == "closed"
        });
        (asked, ended) == (MANY, MANY)
    });
}

#[test]
fn signing_out_ends_live_connections() {
    let streams = Streams::open();
    let (control, gate, _) = streams.granted("sse.GET");
    let mut wire = sse(&streams.house, &gate);
    assert!(streams.house.api("POST", "/v1/sign-out", Some(&control), None).status < 300);
    let signed_out = Instant::now();
    assert!(wire.until_closed().is_some());
    assert!(signed_out.elapsed() < AT_ONCE);
}

#[test]
fn a_client_that_leaves_takes_its_upstream_stream_along() {
    let streams = Streams::open();
    let control = streams.house.sign_in(&Person::new("eng", &["engineering"]));
    let (_, gate, _) = streams.granted("sse.GET");
    drop(sse(&streams.house, &gate));
    eventually("nothing is listed", || {
        let listed = streams.house.api("GET", "/v1/connections", Some(&control), None).json();
        listed["connections"].as_array().is_some_and(Vec::is_empty)
    });
}

/// An open event stream that has carried an event already.
fn sse(house: &House, token: &str) -> Wire {
    let mut wire = Wire::connect(house.gate);
    wire.send(format!(
        "GET /tail HTTP/1.1\r\nHost: sse.example.com\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
    ));
    let begun = String::from_utf8_lossy(&wire.read_until(b"data: tick")).into_owned();
    assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
    assert!(TcpStream::connect(house.gate).is_ok());
    wire
}

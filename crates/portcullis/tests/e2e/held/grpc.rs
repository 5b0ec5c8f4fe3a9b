//! gRPC: a unary call waits like any other request, with grpcio as the client and the server.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use portcullis_testkit::net::{free_port, wait_for_port};

use super::{held, open_with, over};
use crate::{
    payments::{Payments, Visitor, ben, lea},
    streams::{Peer, python, script},
};

const POLICIES: &str = r#"
@id("grpc.held")
@reviews("1") @max_duration("5m") @hold("1m")
permit (principal is User in Group::"engineering", action == Action::"grpc.Unary", resource in Service::"grpc")
when { context has grant };

@id("grpc.reviewers")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"grpc" };
"#;

struct Grpc {
    payments: Payments,
    _server: Peer,
}

/// A client that has made a call.
struct Call {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Grpc {
    fn open() -> Self {
        let port = free_port();
        let server = python("grpc_peer.py", &["serve", &port.to_string()], Stdio::null());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(wait_for_port(address, Duration::from_secs(20)));
        let service = format!(
            "name: grpc\nhosts: [grpc.example.com]\n\
             upstream: {{instances: {{g-1: \"h2c://127.0.0.1:{port}\"}}}}\n\
             operations: {{inline: {{Unary: POST /echo.Echo/Unary}}}}"
        );
        let payments = open_with(|plan| plan.service(&service).policy("grpc.cedar", POLICIES));
        Self { payments, _server: server }
    }

    fn call(&self, who: &Visitor<'_>, seconds: u32) -> Call {
        let (python, path) = script("grpc_peer.py");
        let gate = self.payments.house.gate.to_string();
        let mut child = Command::new(python)
            .arg(path)
            .args(["unary", &gate, "grpc.example.com", &who.gate, &seconds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Call { child, input, output: BufReader::new(output) }
    }
}

impl Call {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_unary_call_waits_and_is_answered_or_denied() {
    let grpc = Grpc::open();
    let (ben, lea) = (grpc.payments.enter(&ben()), grpc.payments.enter(&lea()));
    let mut call = grpc.call(&ben, 50);
    let request = held(&lea);
    assert_eq!(request["held"]["summary"], "POST /echo.Echo/Unary");
    assert!(lea.approve(&request).status < 300);
    assert_eq!(call.line(), "OK: echo:hello");

    let mut call = grpc.call(&ben, 50);
    assert!(lea.decline(&held(&lea), "not now").status < 300);
    let said = call.line();
    assert!(said.starts_with("PERMISSION_DENIED: ") && said.contains("not now"), "{said}");
}

#[test]
fn the_callers_own_deadline_bounds_the_wait() {
    let grpc = Grpc::open();
    let (ben, lea) = (grpc.payments.enter(&ben()), grpc.payments.enter(&lea()));
    let mut call = grpc.call(&ben, 3);
    let request = held(&lea);
    let said = call.line();
    assert!(said.starts_with("DEADLINE_EXCEEDED"), "{said}");
    assert_eq!(over(&lea, &request)["state"], "withdrawn");
    assert_eq!(lea.approve(&request).status, 409);
}

#[test]
fn e38_a_stream_that_is_reset_takes_its_request_along_and_leaves_the_connection() {
    let grpc = Grpc::open();
    let (ben, lea) = (grpc.payments.enter(&ben()), grpc.payments.enter(&lea()));
    let mut call = grpc.call(&ben, 50);
    let request = held(&lea);
    call.input.write_all(b"cancel\n").unwrap();
    assert_eq!(call.line(), "CANCELLED");
    let withdrawn = over(&lea, &request);
    assert_eq!(withdrawn["why"], "the client went away", "{withdrawn:#}");
    // The connection lives, and carries another call.
    call.input.write_all(b"again\n").unwrap();
    assert!(lea.approve(&held(&lea)).status < 300);
    assert_eq!(call.line(), "OK: echo:hello");
}

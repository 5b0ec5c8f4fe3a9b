//! gRPC: a client and a server of another make, and a gate that masks what the server says.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use portcullis_testkit::net::{free_port, wait_for_port};

use super::matrix::described;
use crate::{
    house::Plan,
    streams::{python, script},
};

const HOST: &str = "masked-calls.example.com";

const POLICIES: &str = r#"
@id("calls")
permit (principal is Workload in Group::"callers", action in [Action::"calls.read", Action::"calls.write"], resource in Service::"calls");
"#;

#[test]
fn g10_messages_are_masked_and_packed_ones_asked_for_by_nobody() {
    masked_by(&[]);
}

#[test]
fn g10_messages_of_servers_that_pack_whatever_is_asked_are_masked() {
    masked_by(&["gzip"]);
    masked_by(&["deflate"]);
}

/// What a client gets of a server that is told `more`.
fn masked_by(more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = described(folder.path());
    let path = path.to_str().unwrap();
    let port = free_port();
    let listens = port.to_string();
    let mut serve = vec!["serve", &listens, path];
    serve.extend(more);
    let _server = python("protobuf_peer.py", &serve, Stdio::null());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(wait_for_port(address, Duration::from_mins(1)));
    let service = format!(
        "name: calls\nhosts: [{HOST}]\nupstream: {{instances: {{r-1: \"h2c://{address}\"}}}}\n\
         operations: {{protobuf: \"{path}\", services: [shop.v1.Refunds]}}\n\
         sensitive: {{pii: [\"$..email\", \"$.labels.pin\"], sums: [\"$.amount\"]}}"
    );
    let house = Plan::empty().service(&service).policy("calls.cedar", POLICIES).start();
    let token = house.workload_token("caller", &["callers"]);
    let refund = r#"{"id": "r-1", "amount": 4111, "customer": {"email": "4111@y.z", "parent": {"email": "4111@y.z"}}, "labels": {"pin": "4111", "a": "b"}}"#;
    let calls = [
        format!("Create {refund}"),
        format!("Create:gzip {refund}"),
        format!("Upload [{refund}]"),
        r#"Watch {"id": "r-1"}"#.to_owned(),
    ];
    let (python, peer) = script("protobuf_peer.py");
    let output = Command::new(python)
        .arg(peer)
        .args(["call", &house.gate.to_string(), HOST, &token, path])
        .args(&calls)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), calls.len(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("4111"), "{said}");
    for line in &lines {
        assert!(line.starts_with("OK:") && line.contains("\"id\": \"r-1\""), "{line}");
    }
    assert!(lines[0].contains("***") && lines[0].contains("\"a\": \"b\""), "{}", lines[0]);
}

#[test]
fn g10_calls_that_nobody_described_are_not_passed() {
    let house = super::House::open();
    let mut message = vec![0, 0, 0, 0, 18, 0x0a, 16];
    message.extend(super::CANARY.bytes());
    for flag in [0, 1] {
        message[0] = flag;
        let answer = super::sized("application/grpc", "", &message);
        let wire = house.wire("GET", "", &answer);
        assert!(!String::from_utf8_lossy(&wire).contains(super::CANARY));
    }
}

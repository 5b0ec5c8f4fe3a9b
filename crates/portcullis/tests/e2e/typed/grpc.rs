//! gRPC by descriptors: a client and a server of another make, and policies about fields of messages.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use portcullis_testkit::net::{free_port, wait_for_port};
use tempfile::TempDir;

use crate::{
    house::{House, Plan},
    streams::{Peer, python, script},
};

const HOST: &str = "refunds.example.com";

const POLICIES: &str = r#"
@id("refunds.read")
permit (principal is Workload in Group::"callers", action in Action::"refunds.read", resource in Service::"refunds");

@id("refunds.small")
permit (principal is Workload in Group::"callers", action == Action::"refunds.Create", resource in Service::"refunds")
when { context has body && context.body.amount <= 50 && context.body.currency == "EUR" };

@id("refunds.watch")
permit (principal is Workload in Group::"callers", action == Action::"refunds.Watch", resource in Service::"refunds")
when { context has body && context.body.id == "r-1" };

@id("refunds.upload")
permit (principal is Workload in Group::"uploaders", action == Action::"refunds.Upload", resource in Service::"refunds");
"#;

/// The house with refunds in it, and what describes them.
struct Refunds {
    house: House,
    set: PathBuf,
    _folder: TempDir,
    _server: Peer,
}

impl Refunds {
    fn open() -> Self {
        Self::furnished(POLICIES)
    }

    fn furnished(policies: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let set = descriptors(folder.path());
        let port = free_port();
        let server = python(
            "protobuf_peer.py",
            &["serve", &port.to_string(), set.to_str().unwrap()],
            Stdio::null(),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(wait_for_port(address, Duration::from_secs(60)));
        let house = plan(&set, &format!("h2c://{address}"), policies).start();
        Self { house, set, _folder: folder, _server: server }
    }

    /// How each of `calls` ends.
    fn call(&self, group: &str, calls: &[&str]) -> Vec<String> {
        let token = self.house.workload_token("caller", &[group]);
        let (python, path) = script("protobuf_peer.py");
        let output = Command::new(python)
            .arg(path)
            .args(["call", &self.house.gate.to_string(), HOST, &token])
            .arg(&self.set)
            .args(calls)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), calls.len(), "{}", String::from_utf8_lossy(&output.stderr));
        lines
    }
}

/// The descriptors of `tests/outsiders/refunds.proto`, made in `folder`.
fn descriptors(folder: &Path) -> PathBuf {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outsiders");
    let set = protox::compile(["refunds.proto"], [protos]).unwrap();
    let path = folder.join("refunds.binpb");
    fs::write(&path, prost::Message::encode_to_vec(&set)).unwrap();
    path
}

fn plan(set: &Path, upstream: &str, policies: &str) -> Plan {
    let service = format!(
        "name: refunds\nhosts: [{HOST}]\nupstream: {{instances: {{r-1: \"{upstream}\"}}}}\nmax_body: 64KiB\n\
         operations: {{protobuf: \"{}\", services: [shop.v1.Refunds]}}",
        set.display()
    );
    Plan::empty().service(&service).policy("refunds.cedar", policies)
}

#[test]
fn a_policy_decides_on_a_field_of_a_message_of_grpcio() {
    let refunds = Refunds::open();
    let calls = [
        r#"Create {"amount": 50, "currency": "EUR", "tags": ["a"], "customer": {"email": "x@y.z"}, "rate": 0.5, "labels": {"a": "b"}}"#,
        r#"Create:gzip {"amount": 50, "currency": "EUR", "note": "compressed, compressed, compressed, compressed"}"#,
        r#"Create {"amount": 51, "currency": "EUR"}"#,
        r#"Create {"amount": 50, "currency": "USD"}"#,
        r#"Create {"currency": "EUR"}"#,
        r#"Create {}"#,
        r#"Find {"id": "r-1"}"#,
        r#"Watch {"id": "r-1"}"#,
        r#"Watch {"id": "r-2"}"#,
        r#"Upload [{"amount": 1}, {"amount": 2}]"#,
    ];
    let ended = refunds.call("callers", &calls);
    let begins = [
        "OK",
        "OK",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "OK",
        "PERMISSION_DENIED",
        "OK",
        "OK",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
    ];
    for ((call, ended), begin) in calls.iter().zip(&ended).zip(begins) {
        assert!(ended.starts_with(&format!("{begin}:")), "{call}: {ended}");
    }
    assert!(ended[0].contains("x@y.z"), "what was sent arrived whole: {}", ended[0]);
    assert!(ended[1].contains("compressed"), "{}", ended[1]);
    // No policy reads what is uploaded: it streams.
    let uploaded = refunds.call("uploaders", &[r#"Upload [{"amount": 1}, {"amount": 2}]"#]);
    assert!(uploaded[0].starts_with("OK:"), "{uploaded:?}");
}

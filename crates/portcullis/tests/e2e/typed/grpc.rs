//! gRPC by descriptors: a client and a server of another make, and policies about fields of messages.

use std::{
    fs,
    io::BufRead,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_testkit::net::{free_port, wait_for_port};
use tempfile::TempDir;

use crate::{
    house::{House, Plan, binary},
    mesh::eventually,
    streams::{Peer, python, script},
};

pub(super) const HOST: &str = "refunds.example.com";

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
pub(super) struct Refunds {
    pub(super) house: House,
    pub(super) set: PathBuf,
    _folder: TempDir,
    _server: Peer,
    /// The ids of messages of streams, as they came to the server.
    came: Arc<Mutex<Vec<String>>>,
}

impl Refunds {
    fn open() -> Self {
        Self::furnished(POLICIES)
    }

    pub(super) fn furnished(policies: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let set = descriptors(folder.path());
        let port = free_port();
        let mut server = python(
            "protobuf_peer.py",
            &["serve", &port.to_string(), set.to_str().unwrap()],
            Stdio::piped(),
        );
        let (came, said) = (Arc::<Mutex<Vec<String>>>::default(), server.output());
        let seen = Arc::clone(&came);
        std::thread::spawn(move || {
            said.lines().map_while(Result::ok).for_each(|id| seen.lock().unwrap().push(id));
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(wait_for_port(address, Duration::from_mins(1)));
        let house = plan(&set, &format!("h2c://{address}"), policies).start();
        Self { house, set, _folder: folder, _server: server, came }
    }

    /// The ids of the messages of streams that came to the server until one was `last`.
    pub(super) fn came(&self, last: &str) -> Vec<String> {
        eventually("the message came", || self.came.lock().unwrap().iter().any(|id| id == last));
        self.came.lock().unwrap().clone()
    }

    /// How each of `calls` ends.
    pub(super) fn call(&self, group: &str, calls: &[&str]) -> Vec<String> {
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
pub(super) fn descriptors(folder: &Path) -> PathBuf {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outsiders");
    let set = protox::compile(["refunds.proto"], [protos]).unwrap();
    let path = folder.join("refunds.binpb");
    fs::write(&path, prost::Message::encode_to_vec(&set)).unwrap();
    path
}

pub(super) fn plan(set: &Path, upstream: &str, policies: &str) -> Plan {
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
        r"Create {}",
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

#[test]
fn n04_of_messages_duplicates_are_malformed_the_unknown_stays_out_and_no_over_is_a_long() {
    let refunds = Refunds::open();
    // amount = 1, currency = EUR; then what is wrong.
    let fine = "10011801";
    let raw = |more: &str| format!("Create:raw {fine}{more}");
    let whole = raw("");
    let again = raw("1063");
    let merged = raw("2a030a01612a030a0162");
    let unknown = raw("f80663f80662");
    let over = raw("30ffffffffffffffffff01");
    let no_enum = "Create:raw 10011809".to_owned();
    let cut = raw("0aff");
    let calls = [&whole, &again, &merged, &unknown, &over, &no_enum, &cut];
    let ended = refunds.call("callers", &calls.map(String::as_str));
    let begins = [
        "OK",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "OK",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
    ];
    for ((call, ended), begin) in calls.iter().zip(&ended).zip(begins) {
        assert!(ended.starts_with(&format!("{begin}:")), "{call}: {ended}");
    }
    let large = format!(
        "Create {{\"amount\": 1, \"currency\": \"EUR\", \"note\": \"{}\"}}",
        "x".repeat(70_000)
    );
    let zipped = large.replace("Create", "Create:gzip");
    for ended in refunds.call("callers", &[&large, &zipped]) {
        assert!(
            ended.starts_with("RESOURCE_EXHAUSTED:"),
            "over max_body, sent or decoded: {ended}"
        );
    }
}

#[test]
fn what_needs_a_stream_of_messages_as_a_whole_does_not_load() {
    let folder = tempfile::tempdir().unwrap();
    let set = descriptors(folder.path());
    let check = |policies: &str, services: &str| {
        let file = folder.path().join("portcullis.yaml");
        fs::create_dir_all(folder.path().join("policies")).unwrap();
        fs::write(folder.path().join("policies/refunds.cedar"), policies).unwrap();
        let house = plan(&set, "h2c://127.0.0.1:1", policies).start_unready();
        let written = fs::read_to_string(house.dir().join("portcullis.yaml")).unwrap();
        fs::write(&file, written.replace("shop.v1.Refunds", services)).unwrap();
        let output = Command::new(binary())
            .args(["check", "--config"])
            .arg(&file)
            .env("NO_COLOR", "1")
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let reading = |action: &str| {
        format!(
            "@id(\"up\")\npermit (principal is User, action in Action::\"{action}\", resource in Service::\"refunds\")\n\
             when {{ context has body && context.body.amount <= 50 }};\n"
        )
    };
    for action in ["refunds.Create", "refunds.Upload"] {
        let (loads, said) = check(&reading(action), "shop.v1.Refunds");
        assert!(loads, "{said}");
    }
    // What is bound to a grant, or waits, is read as a whole before it is decided.
    for term in ["@max_uses(\"1\")", "@hold(\"1m\")"] {
        let rule = |action: &str| {
            format!(
                "@id(\"up\") @reviews(\"1\") @max_duration(\"15m\") {term}\n\
                 permit (principal is User, action == Action::\"{action}\", resource in Service::\"refunds\")\n\
                 when {{ context has grant }};\n"
            )
        };
        let (loads, said) = check(&rule("refunds.Create"), "shop.v1.Refunds");
        assert!(loads, "{said}");
        let (loads, said) = check(&rule("refunds.Upload"), "shop.v1.Refunds");
        assert!(
            !loads && said.contains("refunds.Upload") && said.contains("stream of messages"),
            "{said}"
        );
    }
    let (loads, said) = check("", "shop.v1.Nothing");
    assert!(
        !loads && said.contains("no service `shop.v1.Nothing`") && said.contains("shop.v1.Refunds"),
        "{said}"
    );
}

#[test]
fn the_deadline_of_a_call_covers_the_reading_of_its_message() {
    let folder = tempfile::tempdir().unwrap();
    let set = descriptors(folder.path());
    let house = plan(&set, "h2c://127.0.0.1:1", POLICIES).start();
    let token = house.workload_token("caller", &["callers"]);
    let (python, path) = script("protobuf_peer.py");
    let output = Command::new(python)
        .arg(path)
        .args(["silent", &house.gate.to_string(), HOST, &token, "Create"])
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    // DEADLINE_EXCEEDED, before a body is too slow for everybody.
    assert_eq!(status.trim(), "4", "{}", String::from_utf8_lossy(&output.stderr));
}

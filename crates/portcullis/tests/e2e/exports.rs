//! The record, passed on: everything, at least once, in order, and nobody waits for whom it is passed on to.

use std::{collections::BTreeSet, fs};

use portcullis_testkit::ocsf;
use serde_json::Value;

use crate::{
    mesh::eventually,
    payments::{Payments, ana},
    pki::Pki,
    sink_peer::{SECRET, SinkPeer},
    upstream::Upstream,
};

fn sink(port: u16, more: &str) -> String {
    format!(
        "export: [{{name: siem, http: {{url: \"http://127.0.0.1:{port}/in\", sign: {{file: key}}}}{more}}}]"
    )
}

fn exporting(setting: &str) -> Payments {
    Payments::furnished(Upstream::start(), |plan| plan.setting(setting).file("key", SECRET))
}

fn sequence(event: &Value) -> u64 {
    event["metadata"]["sequence"].as_u64().unwrap()
}

/// Every entry of the record up to `last` came, and what came first came in order.
fn is_complete(taken: &[Value], last: u64) {
    let all: BTreeSet<u64> = taken.iter().map(sequence).collect();
    let missing: Vec<u64> = (0..=last).filter(|position| !all.contains(position)).collect();
    assert!(missing.is_empty(), "missing {missing:?} of {last}");
}

#[test]
fn events_are_posted_signed_in_order_and_as_the_schema_says() {
    let mut peer = SinkPeer::http();
    let payments = exporting(&sink(peer.port, ""));
    let ana = payments.enter(&ana());
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
    assert_eq!(ana.refund(100).status, 403);
    let refused = |event: &Value| event["unmapped"]["operation"] == "payments.createRefund";
    let event = peer.event(refused);
    assert_eq!((&event["action_id"], &event["class_uid"]), (&2.into(), &4002.into()));
    assert_eq!(event["actor"]["user"]["uid"], "corp:ana");
    assert_eq!(event["http_request"]["http_method"], "POST");
    let taken = peer.taken();
    is_complete(&taken, sequence(&event));
    assert!(taken.windows(2).all(|two| sequence(&two[0]) < sequence(&two[1])));
    for event in &taken {
        assert_eq!(ocsf::mistakes(event), Vec::<String>::new(), "{event:#}");
    }
    for post in &peer.got {
        assert_eq!(post["verified"], true, "{post:#}");
    }
    assert!(!fs::read_to_string(payments.house.dir().join("serve.log")).unwrap().contains(SECRET));
}

#[test]
fn a_sink_that_was_down_misses_nothing_through_kill_9() {
    let mut peer = SinkPeer::http();
    let mut payments = exporting(&sink(peer.port, ""));
    let visitor = payments.enter(&ana());
    assert_eq!(visitor.send("GET", "/v1/refunds", None).status, 200);
    peer.event(|event| event["unmapped"]["operation"] == "payments.listRefunds");
    // Nobody waits for it: first it says that it takes nothing, then it is gone.
    peer.now("answer 503");
    for _ in 0..300 {
        assert_eq!(visitor.send("GET", "/v1/refunds", None).status, 200);
    }
    peer.until(|post| post["answer"] == 503);
    peer.kill();
    payments.house.kill();
    payments.house.restart();
    peer.again();
    let started = payments.event("started", |event| event["seq"].as_u64() > Some(300));
    peer.event(|event| event["metadata"]["uid"] == started["id"]);
    let taken = peer.taken();
    is_complete(&taken, started["seq"].as_u64().unwrap());
    // What came twice is known by its id.
    let ids: BTreeSet<(u64, &str)> =
        taken.iter().map(|e| (sequence(e), e["metadata"]["uid"].as_str().unwrap())).collect();
    let positions: BTreeSet<u64> = taken.iter().map(sequence).collect();
    assert_eq!(ids.len(), positions.len());
}

#[test]
fn syslog_over_tls_counts_octets_and_waits_until_all_is_read() {
    let pki = Pki::new();
    let authority = pki.authority("ca");
    let pair = pki.leaf("logs", &authority, "subjectAltName=DNS:localhost\n");
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let mut peer = SinkPeer::syslog(&["tls", "0", &text(&pair.certificate), &text(&pair.key)]);
    let stranger = pki.authority("stranger");
    let setting = format!(
        "export:\n  - {{name: collector, syslog: {{address: \"localhost:{0}\", ca: ca.pem}}}}\n  - {{name: elsewhere, syslog: {{address: \"localhost:{0}\", ca: stranger.pem}}, failing_after: 1s}}",
        peer.port
    );
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.setting(&setting)
            .file("ca.pem", &authority.pem())
            .file("stranger.pem", &stranger.pem())
    });
    let ana = payments.enter(&ana());
    assert_eq!(ana.refund(100).status, 403);
    let refused = |event: &Value| event["unmapped"]["operation"] == "payments.createRefund";
    let event = peer.collected(refused);
    is_complete(&peer.taken(), sequence(&event));
    let message = peer.got.iter().find(|got| refused(&got["body"])).unwrap();
    assert_eq!((&message["priority"], &message["ascii"]), (&108.into(), &true.into()));
    assert_eq!((&message["app"], &message["kind"]), (&"portcullis".into(), &"attempt".into()));
    let data = message["data"].as_str().unwrap();
    assert!(data.contains("principal=\"corp:ana\""), "{data}");
    // Whom an unknown authority vouches for is told nothing.
    payments.event("export_failing", |event| {
        event["detail"].as_str().unwrap().contains("export elsewhere")
    });
    // A collector that does not say that it has read everything gets it again.
    peer.now("keep");
    assert_eq!(ana.refund(101).status, 403);
    peer.until(|got| got["answer"] == 0 && refused(&got["body"]));
    // Nor has one that closes without reading.
    peer.now("drop");
    assert_eq!(ana.refund(102).status, 403);
    peer.until(|got| got["dropped"] == true);
    peer.now("close");
    let last = payments.event("attempt", refused_attempt);
    peer.collected(|event| sequence(event) == last["seq"].as_u64().unwrap());
    is_complete(&peer.taken(), last["seq"].as_u64().unwrap());
}

fn refused_attempt(event: &Value) -> bool {
    event["operation"] == "payments.createRefund"
}

#[test]
fn a_file_has_whole_lines_through_kill_9_and_only_what_it_was_to_have() {
    let setting = "export:\n  - {name: disk, file: {path: out/all.jsonl}}\n  - {name: some, file: {path: out/some.jsonl}, only: {types: [attempt], services: [payments], decisions: [deny, requestable]}}";
    let mut payments = Payments::furnished(Upstream::start(), |plan| plan.setting(setting));
    let file = |payments: &Payments, name: &str| payments.house.dir().join("out").join(name);
    let visitor = payments.enter(&ana());
    assert_eq!(visitor.refund(100).status, 403);
    assert_eq!(visitor.send("GET", "/v1/refunds", None).status, 200);
    let last = payments.event("attempt", |event| event["operation"] == "payments.listRefunds");
    eventually("it is written", || lines(&file(&payments, "all.jsonl")).len() as u64 > seq(&last));
    payments.house.kill();
    // What a crash left of a line.
    let path = file(&payments, "all.jsonl");
    let torn = fs::read_to_string(&path).unwrap() + "{\"class_uid\":40";
    fs::write(&path, torn).unwrap();
    payments.house.restart();
    let started = payments.event("started", |event| seq(event) > seq(&last));
    eventually("it goes on", || lines(&path).iter().any(|event| sequence(event) == seq(&started)));
    is_complete(&lines(&path), seq(&started));
    let some = lines(&file(&payments, "some.jsonl"));
    assert!(some.iter().any(|event| event["unmapped"]["operation"] == "payments.createRefund"));
    assert!(
        some.iter().all(|event| event["unmapped"]["type"] == "attempt" && event["action_id"] == 2)
    );
}

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap()
}

/// All lines of a file that are whole; each of them is JSON.
fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

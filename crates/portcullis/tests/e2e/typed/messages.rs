//! Streams of messages: each is decided before its service gets it.

use std::{io::BufRead, process::Stdio};

use serde_json::Value;

use super::grpc::{HOST, Refunds};
use crate::{house::House, people::Person, streams::python};

pub(super) const POLICIES: &str = r#"
@id("trade.small")
permit (principal is Workload in Group::"callers", action in [Action::"refunds.Upload", Action::"refunds.Trade"], resource in Service::"refunds")
when { context has body && context.body.amount <= 50 };

@id("trade.not_in_dollars")
forbid (principal, action == Action::"refunds.Trade", resource in Service::"refunds")
when { context has body && context.body.currency == "USD" };

@id("trade.open")
permit (principal is Workload in Group::"traders", action == Action::"refunds.Trade", resource in Service::"refunds");

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
"#;

/// Nobody reads what is sent.
pub(super) const UNREAD: &str = r#"
@id("trade.open")
permit (principal is Workload in Group::"traders", action == Action::"refunds.Trade", resource in Service::"refunds");
"#;

/// The events of connections that ended because of `why`.
fn ended(refunds: &Refunds, why: &str) -> Vec<Value> {
    ended_in(&refunds.house, why)
}

/// The same of any house.
pub(super) fn ended_in(house: &House, why: &str) -> Vec<Value> {
    let auditor = house.sign_in(&Person::new("ada", &["auditors"]));
    let is = |event: &Value| event["type"] == "connection_ended" && event["decision"] == why;
    let events = house.record(&auditor, |events| events.iter().any(is));
    events.into_iter().filter(is).collect()
}

#[test]
fn each_message_of_a_stream_is_decided_before_its_service_gets_it() {
    let refunds = Refunds::furnished(POLICIES);
    let calls = [
        r#"Upload [{"id": "a1", "amount": 1}, {"id": "a2", "amount": 50}]"#,
        r#"Upload [{"id": "b1", "amount": 1}, {"id": "b2", "amount": 51}, {"id": "b3", "amount": 1}]"#,
        r#"Upload [{"id": "c1", "amount": 51}]"#,
        "Upload []",
        r#"Upload:gzip [{"id": "d1", "amount": 1, "note": "compressed, compressed, compressed"}, {"id": "d2", "amount": 51, "note": "compressed, compressed, compressed"}]"#,
        r#"Trade [{"id": "e1", "amount": 1}, {"id": "e2", "amount": 2}, {"id": "e3", "amount": 3}]"#,
        r#"Trade:paced [{"id": "f1", "amount": 1}, {"id": "f2", "amount": 2}, {"id": "f3", "amount": 51}]"#,
        r#"Upload [{"id": "z", "amount": 1}]"#,
    ];
    let ended = refunds.call("callers", &calls);
    let begins = [
        "OK",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "OK",
        "PERMISSION_DENIED",
        "OK",
    ];
    for ((call, ended), begin) in calls.iter().zip(&ended).zip(begins) {
        assert!(ended.starts_with(&format!("{begin}:")), "{call}: {ended}");
    }
    assert!(ended[0].contains("\"a2\""), "what was sent arrived: {}", ended[0]);
    assert_eq!(ended[5].matches("\"id\"").count(), 3, "{}", ended[5]);
    let paced = &ended[6];
    assert!(paced.contains("not permitted") && paced.contains("\"f2\""), "{paced}");
    let came = refunds.came("z");
    let kept = ["b2", "b3", "c1", "d2", "f3"];
    assert!(kept.iter().all(|kept| !came.iter().any(|id| id == kept)), "{came:?}");
    assert!(["a1", "a2", "e3", "f2"].iter().all(|id| came.iter().any(|came| came == id)));
}

#[test]
fn the_end_of_a_stream_by_one_of_its_messages_is_on_record_with_what_denied_it() {
    let refunds = Refunds::furnished(POLICIES);
    let dollars =
        r#"Trade:paced [{"id": "a1", "currency": "EUR"}, {"id": "a2", "currency": "USD"}]"#;
    let said = refunds.call("traders", &[dollars]);
    assert!(said[0].starts_with("PERMISSION_DENIED:") && said[0].contains("\"a1\""), "{said:?}");
    let events = ended(&refunds, "message_denied");
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert_eq!(event["operation"], "refunds.Trade");
    assert_eq!(event["policies"], serde_json::json!(["trade.not_in_dollars"]));
    assert!(event["principal"].to_string().contains("caller"), "{event}");
}

#[test]
fn n04_a_message_of_a_stream_that_reads_two_ways_ends_it() {
    let refunds = Refunds::furnished(POLICIES);
    // id = "1", amount = 1; then amounts twice, an enum that nobody knows, and a message that breaks off.
    let raw = |id: &str, more: &str| format!("Upload:raw [\"0a01311001\", \"0a01{id}1001{more}\"]");
    let (whole, again) = (raw("32", ""), raw("33", "1063"));
    let (no_enum, cut) = (raw("34", "1809"), raw("35", "2aff"));
    let note = "x".repeat(70_000);
    let large = format!(r#"Upload [{{"id": "1"}}, {{"id": "6", "note": "{note}"}}]"#);
    let zipped = large.replace("Upload", "Upload:gzip");
    let after = r#"Upload [{"id": "z", "amount": 1}]"#.to_owned();
    let calls = [&whole, &again, &no_enum, &cut, &large, &zipped, &after];
    let ended = refunds.call("callers", &calls.map(String::as_str));
    let begins = [
        "OK",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "RESOURCE_EXHAUSTED",
        "RESOURCE_EXHAUSTED",
        "OK",
    ];
    for ((call, ended), begin) in calls.iter().zip(&ended).zip(begins) {
        let call = call.get(..80).unwrap_or(call);
        assert!(ended.starts_with(&format!("{begin}:")), "{call}: {ended}");
    }
    let came = refunds.came("z");
    assert!(["3", "4", "5", "6"].iter().all(|kept| !came.iter().any(|id| id == kept)), "{came:?}");
    assert!(came.iter().any(|id| id == "2"), "{came:?}");
    assert_eq!(super::messages::ended(&refunds, "message_unreadable").len(), 3);
}

#[test]
fn a_stream_that_nobody_reads_ends_when_a_policy_begins_to_read_its_messages() {
    let refunds = Refunds::furnished(UNREAD);
    let token = refunds.house.workload_token("caller", &["traders"]);
    let (gate, set) = (refunds.house.gate.to_string(), refunds.set.to_str().unwrap());
    let call = r#"Trade {"id": "a1", "currency": "EUR"}"#;
    let open = ["open", &gate, HOST, &token, set, call];
    let mut client = python("protobuf_peer.py", &open, Stdio::piped());
    let mut said = client.output().lines();
    assert_eq!(said.next().unwrap().unwrap(), "answered");
    refunds.house.write_policy("refunds.cedar", POLICIES);
    refunds.house.signal("HUP");
    assert_eq!(said.next().unwrap().unwrap(), "PERMISSION_DENIED");
    assert_eq!(ended(&refunds, "policy_changed").len(), 1);
}

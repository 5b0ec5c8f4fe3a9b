//! Evidence packs: what is on record of one thing, for somebody without access to the server.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::payments::{Payments, Visitor, ana, ben, grant, id, lea, sam};

/// Ben asks, lea approves with a note, ben uses the grant once; an auditor who is signed in.
fn story(payments: &Payments) -> (Value, String) {
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let reason = "ticket 7 <script>alert(1)</script> & \"more\"";
    let request = ben.ask(&ben.refund(300), json!({"reason": reason})).json();
    let path = format!("/v1/access-requests/{}/reviews", id(&request));
    let review = json!({"decision": "approve", "note": "looked at it"});
    assert!(lea.call("POST", &path, Some(review)).status < 300);
    let path = format!("/v1/access-requests/{}", id(&request));
    let request = ben.call("GET", &path, None).json();
    let granted = grant(&request);
    assert!(ben.refund(300).status < 300);
    payments.event("grant_ended", |event| event["grant"] == granted.as_str());
    (request, granted)
}

fn auditor(payments: &Payments) -> Visitor<'_> {
    let sam = payments.enter(&sam());
    payments.house.profile("sam", &sam.control);
    sam
}

fn unpacked(payments: &Payments, archive: &str) -> std::path::PathBuf {
    let folder = payments.house.dir().join("unpacked");
    let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    let done = Command::new("python3").args(["-c", script, archive]).arg(&folder).status().unwrap();
    assert!(done.success());
    folder
}

#[test]
fn a_pack_tells_the_whole_story_and_verifies_without_the_server() {
    let mut payments = Payments::open();
    let (request, granted) = story(&payments);
    auditor(&payments);
    let archive = payments.house.dir().join("pack.zip").to_str().unwrap().to_owned();
    let key = payments.house.dir().join("audit/log.pub").to_str().unwrap().to_owned();
    let (code, said) = payments.house.says("sam", &["evidence", &granted, "--to", &archive]);
    assert_eq!(code, Some(0), "{said}");
    payments.event("evidence_given", |event| event["grant"] == granted.as_str());
    payments.house.kill();

    let verify = ["audit", "verify", &archive, "--key", &key];
    let (code, said) = payments.house.says("nobody", &verify);
    assert!(code == Some(0) && said.contains("proved: ") && said.contains(&granted), "{said}");
    let (code, said) = payments.house.says("nobody", &verify[..3]);
    assert!(code == Some(2) && said.contains("--key"), "{said}");
    let folder = unpacked(&payments, &archive);
    let body: Value =
        serde_json::from_slice(&fs::read(folder.join("evidence.json")).unwrap()).unwrap();
    let records = |name: &str| {
        let sections = body["sections"].as_array().unwrap();
        let section = sections.iter().find(|section| section["name"] == name).unwrap();
        section["records"].as_array().unwrap().clone()
    };
    assert_eq!(records("asked")[0]["record"]["principal"]["id"], "corp:ben");
    assert_eq!(records("asked")[0]["record"]["access_request"], id(&request));
    assert_eq!(records("reviewed")[0]["record"]["detail"], "looked at it");
    let done = records("done");
    assert!(done.iter().any(|record| record["record"]["status"].is_number()), "{done:?}");
    assert!(records("granted").iter().any(|record| record["record"]["type"] == "grant_ended"));
    assert_eq!(records("policy").len(), 1);
    let policies = body["policies"].as_array().unwrap();
    let text = policies.iter().find(|policy| policy["id"] == "payments.refund.reviewed").unwrap();
    assert!(text["text"].as_str().unwrap().contains("context.body.amount <= 50000"), "{text}");
    let html = fs::read_to_string(folder.join("evidence.html")).unwrap();
    assert!(html.contains("looked at it") && html.contains("&lt;script&gt;"));
    assert!(!html.contains("<script"));

    let mut bytes = fs::read(&archive).unwrap();
    let at = bytes.windows(12).position(|part| part == b"looked at it").unwrap();
    bytes[at] = b'L';
    fs::write(&archive, bytes).unwrap();
    let (code, said) = payments.house.says("nobody", &verify);
    assert!(code == Some(1) && said.contains("proves nothing"), "{said}");
}

#[test]
fn packs_are_for_auditors_and_about_what_is_there() {
    let payments = Payments::open();
    let (request, granted) = story(&payments);
    let ana = payments.enter(&ana());
    for name in [granted.as_str(), id(&request), "PD-1"] {
        let answer = ana.call("GET", &format!("/v1/evidence/{name}"), None);
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    let sam = auditor(&payments);
    assert_eq!(sam.call("GET", "/v1/evidence/PD-1", None).status, 404);
    assert_eq!(sam.call("GET", "/v1/evidence/01KB000000AAAAAAAAAAABCDEF", None).status, 404);
    let archive = payments.house.dir().join("request.zip").to_str().unwrap().to_owned();
    let key = payments.house.dir().join("audit/log.pub").to_str().unwrap().to_owned();
    let short = &id(&request)[18..];
    let (code, said) = payments.house.says("sam", &["evidence", short, "--to", &archive]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = payments.house.says("nobody", &["audit", "verify", &archive, "--key", &key]);
    assert!(code == Some(0) && said.contains("access request"), "{said}");
}

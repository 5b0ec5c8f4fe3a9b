//! Reading changes nothing: who unfurls a link, scans a mail or crawls a page does nothing by it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    payments::{Payments, Visitor, ana, ben, grant, id, lea, sam},
    pki::python,
    upstream::Upstream,
    wire::Wire,
};

const ADMINS: &str = r#"
@id("admins")
permit (principal is User in Group::"oncall", action == Action::"administer", resource);
@id("managers")
permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);
"#;

/// Pages for people, which the document does not list.
const PAGES: [&str; 11] = [
    "/",
    "/ask",
    "/ask/AAAA",
    "/emergencies",
    "/me",
    "/requests",
    "/review",
    "/problems/requestable",
    "/sign-in",
    "/sign-in/callback?code=x&state=y",
    "/sign-out",
];

/// What is written down of readers, and nothing else is.
const NOTED: [&str; 4] = ["record_read", "evidence_given", "control_refused", "attempt"];

/// What has to be asked with what.
const ASKED: [(&str, &str); 5] = [
    ("/v1/audit/export", "format=json"),
    ("/v1/audit/proof/record", "seq=0"),
    ("/v1/audit/proof/inclusion", "seq=0"),
    ("/v1/audit/proof/consistency", "from=1"),
    ("/v1/reports/access", "since=2026-01-01T00:00:00Z"),
];

/// Everything that the store holds, but its events, which the record tells better.
fn state(payments: &Payments) -> Value {
    let store = payments.house.dir().join("portcullis.db");
    let output = python("store_state.py").arg("hashes").arg(store).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut tables: Value = serde_json::from_slice(&output.stdout).unwrap();
    tables.as_object_mut().unwrap().remove("events").expect("a store with events");
    assert!(tables.as_object().unwrap().len() > 15, "{tables:#}");
    tables
}

/// Every path of the document, and whether it can be read.
fn paths(payments: &Payments) -> Vec<(String, bool)> {
    let document = payments.house.api("GET", "/v1/openapi.json", None, None).json();
    let paths = document["paths"].as_object().unwrap().iter();
    paths.map(|(path, item)| (path.clone(), item["get"].is_object())).collect()
}

#[test]
fn e10_a_get_changes_nothing_whoever_sends_it_and_wherever() {
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.control_host("localhost").policy("admins.cedar", ADMINS)
    });
    let (ana, ben, lea) = (payments.enter(&ana()), payments.enter(&ben()), payments.enter(&lea()));
    let sam = payments.enter(&sam());
    let refused = ben.refund(2);
    let pending = ben.ask(&refused, json!({})).json();
    let known = everything(&ana, &lea, &refused.json()["refusal"], &pending);
    let events =
        payments.record(|events| events.iter().any(|one| one["type"] == "incident_opened")).len();
    let before = state(&payments);
    let mut read = 0;
    for (path, readable) in paths(&payments) {
        // A stream that says nothing never ends; opened, and left.
        if path == "/v1/events" {
            follow(&payments, &ana);
            continue;
        }
        let named = path.replace("{*path}", "checkpoint").replace("{path}", "checkpoint");
        let mut named = named.replace("{name}", "payments");
        if let Some((_, asked)) = ASKED.iter().find(|(path, _)| *path == named) {
            named = format!("{named}?{asked}");
        }
        let targets: BTreeSet<String> = known.iter().map(|id| named.replace("{id}", id)).collect();
        for target in &targets {
            for who in [None, Some(&ana), Some(&ben), Some(&lea), Some(&sam)] {
                read += look(&payments, target, readable, who);
            }
        }
    }
    assert!(read > 40, "{read} were read");
    for page in PAGES {
        for token in [None, Some(ana.control.as_str())] {
            let answer = payments.house.api("GET", page, token, None);
            assert!(answer.status < 500, "{page}: {}", answer.text());
        }
    }
    let after = state(&payments);
    for (table, hash) in before.as_object().unwrap() {
        assert_eq!(&after[table], hash, "reading changed {table}");
    }
    // And nothing happened but that somebody read.
    for event in payments.record(|_| true).iter().skip(events) {
        let kind = event["type"].as_str().unwrap();
        assert!(NOTED.contains(&kind), "{event:#}");
    }
    assert_eq!(lea.approve(&pending).json()["state"], "approved", "it still waited");
    assert_eq!(ana.refund(1).status, 200);
}

/// One of everything that a link could lead to: what is in force, what waits, what is open.
fn everything(
    ana: &Visitor<'_>,
    lea: &Visitor<'_>,
    refusal: &Value,
    pending: &Value,
) -> [String; 5] {
    let granted = grant(&ana.ask(&ana.refund(1), json!({})).json());
    let incident =
        json!({"id": "PD-1", "title": "stuck", "severity": "sev2", "services": ["payments"]});
    assert!(lea.call("POST", "/v1/incidents", Some(incident)).status < 300);
    let sign_ins = ana.call("GET", "/v1/sign-ins", None).json();
    let sign_in = sign_ins["sign_ins"][0]["id"].as_str().unwrap();
    let refusal = refusal.as_str().unwrap();
    [granted, id(pending).to_owned(), refusal.to_owned(), "PD-1".to_owned(), sign_in.to_owned()]
}

/// Reads `target`, with a body and without; how often there was something to read.
fn look(payments: &Payments, target: &str, readable: bool, who: Option<&Visitor<'_>>) -> usize {
    let token = who.map(|who| who.control.as_str());
    let statuses = ["GET", "HEAD"].map(|method| {
        let answer = payments.house.api(method, target, token, None);
        let fine = [200, 401, 403, 404, 405].contains(&answer.status);
        assert!(fine, "{method} {target}: {} {}", answer.status, answer.text());
        answer.status
    });
    // What only changes something has nothing for who reads.
    let only_changes = !readable && who.is_some();
    assert!(!only_changes || statuses.iter().all(|status| [404, 405].contains(status)), "{target}");
    statuses.iter().filter(|status| **status == 200).count()
}

fn follow(payments: &Payments, who: &Visitor<'_>) {
    let mut wire = Wire::connect(payments.house.control);
    wire.send(format!(
        "GET /v1/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        payments.house.control, who.control
    ));
    let begun = wire.read_until(b"\r\n\r\n");
    assert!(begun.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&begun));
}

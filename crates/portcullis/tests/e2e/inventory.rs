//! What is on record, and what is not: every endpoint is in one of two lists, and the list of exceptions
//! is the one that operators read.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    clocks::with_a_clock_that_can_be_set,
    payments::{Payments, ana, ben, lea},
    upstream::Upstream,
    wire::exchange,
};

/// Reading these is on record, as `record_read`.
const READ: [(&str, &str); 4] = [
    ("GET /v1/audit/events", "/v1/audit/events?limit=1"),
    ("GET /v1/audit/export", "/v1/audit/export?format=json"),
    ("GET /v1/audit/log/{path}", "/v1/audit/log/checkpoint"),
    (
        "GET /v1/reports/access",
        "/v1/reports/access?since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z",
    ),
];

/// So is reading these, which `proofs` and `evidence` do.
/// And `erasure`.
const READ_ELSEWHERE: [&str; 5] = [
    "GET /v1/audit/contents/{seq}",
    "GET /v1/audit/proof/consistency",
    "GET /v1/audit/proof/inclusion",
    "GET /v1/audit/proof/record",
    "GET /v1/evidence/{id}",
];

/// What the documentation lists as not on record: each entry of the first column.
fn exceptions() -> BTreeSet<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let text = fs::read_to_string(file).unwrap();
    let section = text.split("\n## What is not on record\n").nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.flat_map(|row| row.split(" | ").next().unwrap().split("`, `"));
    names.map(|name| name.trim_end_matches('`').to_owned()).collect()
}

/// Every operation that the binary serves, as `METHOD /path`.
fn operations(payments: &Payments) -> BTreeSet<String> {
    let document = payments.house.api("GET", "/v1/openapi.json", None, None).json();
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        let path = path.replace("{*", "{");
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    methods.collect()
}

#[test]
fn k11_every_endpoint_has_a_record_or_is_a_listed_exception() {
    let payments = Payments::open();
    let listed = exceptions();
    let read: BTreeSet<String> =
        READ.iter().map(|(name, _)| *name).chain(READ_ELSEWHERE).map(str::to_owned).collect();
    for operation in operations(&payments) {
        // Whatever changes something is on record: `doors` walks through all of it.
        let safe = operation.starts_with("GET ") || crate::doors::changes_nothing(&operation);
        let known = [&listed, &read].map(|list| list.contains(&operation));
        let expected = usize::from(safe);
        let found = known.into_iter().filter(|known| *known).count();
        assert_eq!(
            found, expected,
            "{operation}: list it in docs/operations.md, or put it on record"
        );
    }
    let all = operations(&payments);
    let gone = listed.iter().filter(|name| name.contains(" /v1/") || name.contains(" /scim/"));
    let gone: Vec<_> = gone.filter(|name| !all.contains(*name)).collect();
    assert!(gone.is_empty(), "listed, and not served: {gone:?}");
}

#[test]
fn k11_what_is_listed_leaves_nothing_and_all_else_leaves_something() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let asked = ana.ask(&ana.refund(1), json!({})).json();
    let request = asked["id"].as_str().unwrap().to_owned();
    payments.event("grant_started", |_| true);
    // From here on, what these readings themselves cause is all there is.
    let own = |event: &Value| event["type"] != "record_read" && event["type"] != "attempt";
    let before = payments.record(|_| true).iter().filter(|event| own(event)).count();
    for operation in exceptions() {
        let (method, path) = operation.split_once(' ').unwrap();
        if ["/v1/events", "/v1/device", "/v1/passkeys/options"].contains(&path) {
            continue;
        }
        let path = path.replace("{id}", &request).replace("{name}", "payments");
        payments.house.api(method, &path, Some(&ana.control), None);
    }
    // A call with a credential that is none, and one with none.
    for token in [Some("pc_sign_none"), None] {
        assert_eq!(payments.house.api("GET", "/v1/grants", token, None).status, 401);
    }
    for (_, path) in READ {
        let count = |events: &[Value]| events.iter().filter(|e| e["type"] == "record_read").count();
        let before = count(&payments.record(|_| true));
        payments.house.api("GET", path, Some(&payments.auditor()), None);
        // One is this reading's own.
        payments.record(|events| count(events) >= before + 2);
    }
    let after = payments.record(|_| true);
    let after: Vec<_> = after.iter().filter(|event| own(event)).collect();
    assert_eq!(after.len(), before, "{:#?}", after.last());
    // At the gate everything is on record, strangers and bad credentials too.
    let attempt = |refusal: &str| payments.event("attempt", |event| event["refusal"] == refusal);
    payments.house.gate("payments.example.com", "GET", "/v1/refunds", Some("pc_sign_none"), None);
    attempt("bad-credentials");
    payments.house.gate("payments.example.com", "GET", "/v1/refunds", None, None);
    attempt("unauthenticated");
    payments.house.gate("nowhere.example.com", "GET", "/healthz", Some(&ana.gate), None);
    attempt("not-found");
    exchange(payments.house.gate, "GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    attempt("malformed");
    // Signing in that fails is on record as well.
    let begun = payments.house.api("POST", "/v1/device", None, Some(json!({}))).json();
    assert!(begun["device_token"].is_string());
}

#[test]
fn k12_a_clock_that_is_set_back_changes_no_order() {
    let payments = with_a_clock_that_can_be_set();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let ask =
        |amount| ben.ask(&ben.refund(amount), json!({})).json()["id"].as_str().unwrap().to_owned();
    let first = ask(1);
    let asked =
        |id: &str| payments.event("access_requested", |event| event["access_request"] == id);
    let first = asked(&first);
    payments.house.set_clock("-20m");
    let second = ask(2);
    let second_event = asked(&second);
    let at = |event: &Value| event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at(&second_event) < at(&first), "the clock is not back: {second_event:#}");
    assert!(second_event["seq"].as_u64() > first["seq"].as_u64());
    let decline = json!({"decision": "decline", "note": "no"});
    let path = format!("/v1/access-requests/{second}/reviews");
    assert_eq!(lea.call("POST", &path, Some(decline)).status, 201);
    payments.event("access_request_ended", |event| event["access_request"] == second.as_str());
    let events = payments.record(|_| true);
    let order: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
    // What came first stands first, whatever the clock said of it.
    let place = |kind: &str| events.iter().rposition(|event| event["type"] == kind).unwrap();
    assert!(place("access_requested") < place("reviewed"));
    assert!(place("reviewed") < place("access_request_ended"));
    let audit = payments.house.dir().join("audit");
    let (code, said) = payments.house.says("nobody", &["audit", "verify", audit.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn j08_answers_that_say_no_tell_an_id_and_nothing_of_the_inside() {
    let broken = Upstream::answering("this is no answer to anything\r\n\r\n");
    let payments = Payments::furnished(broken, |plan| plan);
    let ana = payments.enter(&ana());
    let upstream = payments.upstream.address.port().to_string();
    let folder = payments.house.dir().to_str().unwrap().to_owned();
    let raw = |target: &str, host: &str, accept: &str| {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nAccept: {accept}\r\n\
             Connection: close\r\n\r\n",
            ana.gate
        );
        exchange(payments.house.gate, head)
    };
    let host = "payments.example.com";
    let mut answers = Vec::new();
    for accept in ["application/json", "text/html"] {
        answers.push((502, raw("/v1/refunds", host, accept)));
        answers.push((404, raw("/v1/refunds", "nowhere.example.com", accept)));
        answers.push((400, raw("/v1/%2e%2e/x", host, accept)));
        answers.push((403, raw("/v1/none", host, accept)));
    }
    let (api, token) = (&payments.house, Some(ana.control.as_str()));
    answers.push((404, api.api("GET", "/v1/none", token, None)));
    answers.push((401, api.api("GET", "/v1/grants", Some("pc_sign_';DROP--"), None)));
    answers.push((404, api.api("GET", "/v1/grants/01M80HCTWDDVXCE0XJ6CN35225", token, None)));
    answers.push((405, api.api("DELETE", "/v1/whoami", token, None)));
    answers.push((400, api.api("POST", "/v1/access-requests", token, Some(json!(["'"])))));
    let inside = [
        folder.as_str(),
        &upstream,
        "panicked",
        ".rs:",
        "sqlx",
        "SELECT",
        "sqlite",
        "os error",
        "hyper",
        "serde",
    ];
    for (status, answer) in answers {
        let text = answer.text();
        let near = [status, 422].contains(&answer.status);
        assert!(near, "{status}: {} {text}", answer.status);
        let id = answer.header("portcullis-request-id").expect("an id").to_owned();
        assert!(text.contains(&id), "{id} is not in {text}");
        for word in inside {
            assert!(!text.contains(word), "`{word}` is in {text}");
        }
    }
}

#[test]
fn j07_no_core_file_can_be_written() {
    let payments = Payments::open();
    let limits = fs::read_to_string(format!("/proc/{}/limits", payments.house.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let values: Vec<_> =
        core.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(values, ["0", "0"], "{core}");
}

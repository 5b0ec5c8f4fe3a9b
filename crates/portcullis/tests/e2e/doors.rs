//! The control API's doors, all of them: which are open, to whom, and what is on record of who went
//! through. The list comes from the running binary, so that a new door cannot be forgotten.

use std::collections::BTreeSet;

use portcullis_testkit::SoftPasskey;
use serde_json::{Value, json};

use crate::{
    payments::{Payments, Visitor, ana, ben, grant, id, lea, sam},
    people::Person,
    upstream::Upstream,
};

/// Open to everybody, and nothing else is.
const PUBLIC: [&str; 12] = [
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /.well-known/jwks.json",
    // Nothing secret: what auditors verify the record with.
    "GET /v1/audit/key",
    // Each message proves by its signature whose it is.
    "POST /v1/connectors/{name}/events",
    // So does each of these; `slack` deals with them.
    "POST /connectors/slack/interactions",
    "POST /connectors/slack/commands",
    "POST /v1/device",
    "POST /v1/device/token",
    // The one-time token in its body is the credential.
    "POST /v1/tokens/redeem",
    // The signature over its body is the credential; `decisions` deals with it.
    "POST /v1/decisions/{system}",
];

/// Not safe by method, and yet no change of anything that lasts.
const CHANGES_NOTHING: [&str; 7] = [
    "POST /v1/device",
    "POST /v1/passkeys/options",
    "POST /v1/policy/explain",
    "POST /v1/runs/{id}/heartbeat",
    "POST /scim/v2/.search",
    "POST /scim/v2/Users/.search",
    "POST /scim/v2/Groups/.search",
];

/// Whether this call changes nothing that lasts.
pub(crate) fn changes_nothing(operation: &str) -> bool {
    CHANGES_NOTHING.contains(&operation)
}

const ASK: &str = "POST /v1/access-requests";

const ADMINS: &str = r#"
@id("admins")
permit (principal is User in Group::"oncall", action == Action::"administer", resource);
@id("managers")
permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);
"#;

/// Every operation that the binary serves, as `METHOD /path`.
fn operations(payments: &Payments) -> BTreeSet<String> {
    let document = payments.house.api("GET", "/v1/openapi.json", None, None).json();
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    methods.collect()
}

fn open() -> Payments {
    Payments::furnished(Upstream::start(), |plan| {
        plan.control_host("localhost").policy("admins.cedar", ADMINS)
    })
}

#[test]
fn every_door_but_the_listed_ones_asks_who_is_there() {
    let payments = open();
    let all = operations(&payments);
    assert!(all.len() > 25, "{all:?}");
    for public in PUBLIC {
        assert!(all.contains(public), "{public} is not served any more");
    }
    let gate = payments.enter(&ana()).gate;
    let forged =
        payments.house.people.issuer().token(portcullis_testkit::ambient::machine_time()).mint();
    let tokens =
        [None, Some("pc_sign_none"), Some("x"), Some(gate.as_str()), Some(forged.as_str())];
    for operation in all.iter().filter(|operation| !PUBLIC.contains(&operation.as_str())) {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path.replace("{*path}", "checkpoint").replace("{path}", "checkpoint");
        let path = path.replace("{id}", "01M80HCTWDDVXCE0XJ6CN35225").replace("{name}", "payments");
        for token in tokens {
            let answer = payments.house.api(method, &path, token, None);
            assert_eq!(answer.status, 401, "{operation} with {token:?}: {}", answer.text());
            assert!(!answer.text().contains("payments.createRefund"), "{operation}");
        }
    }
}

#[test]
fn a_stranger_finds_nothing_of_others_behind_any_door() {
    let payments = open();
    let ana = payments.enter(&ana());
    let refused = ana.refund(1);
    let request = ana.ask(&refused, json!({})).json();
    let granted = grant(&request);
    let mine = ana.call("GET", "/v1/sign-ins", None).json();
    let sign_in = mine["sign_ins"][0]["id"].as_str().unwrap().to_owned();
    let code = refused.json()["refusal"].as_str().unwrap().to_owned();
    let opened = payments.enter(&lea()).call("POST", "/v1/incidents", Some(incident()));
    assert!(opened.status < 300, "{}", opened.text());
    let zoe = payments.enter(&Person::new("zoe", &["nobodies"]));
    let others =
        ["corp:ana", "payments.", id(&request), &granted, &sign_in, "\"payments\"", "PD-1"];
    let all = operations(&payments);
    let last = "POST /v1/sign-out".to_owned();
    assert!(all.contains(&last));
    let open = |operation: &String| PUBLIC.contains(&operation.as_str()) || *operation == last;
    for operation in all.iter().filter(|operation| !open(operation)) {
        let (method, path) = operation.split_once(' ').unwrap();
        // A stream that says nothing never ends; `streams` has its own tests.
        if path == "/v1/events" {
            continue;
        }
        let target = if path.contains("/grants/") {
            granted.as_str()
        } else if path.contains("/sign-ins/") {
            &sign_in
        } else if path.contains("/refusals/") {
            &code
        } else if path.contains("/incidents/") {
            "PD-1"
        } else {
            id(&request)
        };
        let path = path.replace("{*path}", "checkpoint").replace("{path}", "checkpoint");
        let path = path.replace("{id}", target).replace("{name}", "payments");
        for body in bodies(&path) {
            let answer = zoe.call(method, &path, body);
            // Doors with credentials of their own: a person's are worth nothing there.
            let own = path.starts_with("/scim/") || path == "/v1/runs";
            let fine = answer.status < 300
                || [400, 403, 404, 409, 422].contains(&answer.status)
                || own && answer.status == 401;
            assert!(fine, "{operation}: {} {}", answer.status, answer.text());
            for other in others {
                let shown = answer.status < 300 && answer.text().contains(other);
                assert!(!shown, "{operation} shows {other}: {}", answer.text());
            }
        }
    }
    assert!(zoe.call("POST", "/v1/sign-out", None).status < 300);
    // Nothing of it touched what is not hers.
    assert_eq!(ana.refund(1).status, 200);
    assert_eq!(ana.call("GET", "/v1/whoami", None).status, 200);
}

fn incident() -> Value {
    json!({"id": "PD-1", "title": "refunds are stuck", "severity": "sev2", "services": ["payments"]})
}

/// What a stranger might send there.
fn bodies(path: &str) -> Vec<Option<Value>> {
    let operation = "payments.createRefund";
    match path {
        "/v1/sign-ins" => vec![None, Some(json!({"audience": "control"}))],
        "/v1/access-requests" => vec![
            None,
            Some(json!({"reason": "x", "queries": [{"operation": operation}]})),
            Some(json!({"reason": "x", "refusal": "AAAA"})),
        ],
        "/v1/incidents" => vec![None, Some(incident())],
        "/v1/incidents/PD-1" => vec![Some(json!({"severity": "sev1"}))],
        "/v1/schedules/payments" => vec![Some(json!({"people": ["corp:zoe"]}))],
        "/v1/policy/explain" => vec![
            Some(json!({"operation": operation})),
            Some(json!({"operation": operation, "principal": {"type": "User", "id": "corp:ana"}})),
        ],
        _ if path.ends_with("/reviews") => {
            vec![
                Some(json!({"decision": "approve"})),
                Some(json!({"decision": "decline", "note": "x"})),
            ]
        }
        _ if path.ends_with("/extend") => vec![Some(json!({"reason": "x", "duration": "10m"}))],
        _ => vec![None],
    }
}

#[test]
fn m13_m14_every_change_through_a_door_is_on_record() {
    let payments = open();
    let (ana, ben, lea) = (payments.enter(&ana()), payments.enter(&ben()), payments.enter(&lea()));
    let mut walked = BTreeSet::new();
    let mut walk =
        |who: &Visitor<'_>, operation: &str, target: &str, body: Option<Value>, event: &str| {
            let (method, path) = operation.split_once(' ').unwrap();
            let before = count(&payments, event);
            let path = path.replace("{id}", target).replace("{name}", target);
            let answer = who.call(method, &path, body);
            assert!(answer.status < 300, "{operation}: {} {}", answer.status, answer.text());
            payments.record(|events| count_in(events, event) > before);
            walked.insert(operation.to_owned());
            if answer.body.is_empty() { Value::Null } else { answer.json() }
        };
    let ask = |visitor: &Visitor<'_>, amount| json!({"reason": "stuck", "refusal": visitor.refund(amount).json()["refusal"]});
    let asked = walk(&ana, ASK, "", Some(ask(&ana, 1)), "access_requested");
    walk(&ana, "POST /v1/grants/{id}/give-back", &grant(&asked), None, "grant_ended");
    let mut brief = ask(&ana, 1);
    brief["duration"] = json!("5m");
    let asked = walk(&ana, ASK, "", Some(brief), "grant_started");
    let more = Some(json!({"reason": "stuck", "duration": "10m"}));
    walk(&ana, "POST /v1/grants/{id}/extend", &grant(&asked), more, "grant_extended");
    let made = walk(&ana, "POST /v1/grants/{id}/tokens", &grant(&asked), None, "token_issued");
    let made = Some(json!({"token": made["token"]}));
    walk(&ana, "POST /v1/tokens/redeem", "", made, "token_redeemed");
    walk(&lea, "POST /v1/grants/{id}/revoke", &grant(&asked), None, "grant_ended");
    let asked = walk(&ben, ASK, "", Some(ask(&ben, 2)), "access_requested");
    let approve = Some(json!({"decision": "approve"}));
    walk(&lea, "POST /v1/access-requests/{id}/reviews", id(&asked), approve, "reviewed");
    let asked = walk(&ben, ASK, "", Some(ask(&ben, 3)), "access_requested");
    walk(&ben, "POST /v1/access-requests/{id}/withdraw", id(&asked), None, "access_request_ended");
    let gate = Some(json!({"audience": "gate"}));
    let made = walk(&ben, "POST /v1/sign-ins", "", gate, "signed_in");
    let sign_in = made["sign_in"]["id"].as_str().or(made["id"].as_str()).unwrap();
    walk(&ben, "DELETE /v1/sign-ins/{id}", sign_in, None, "sign_in_ended");
    let made = passkey(&payments, &lea);
    let made = walk(&lea, "POST /v1/passkeys", "", Some(made), "passkey_registered");
    walk(&lea, "DELETE /v1/passkeys/{id}", id(&made), None, "passkey_removed");
    walk(&lea, "POST /v1/incidents", "", Some(incident()), "incident_opened");
    walk(&lea, "PATCH /v1/incidents/{id}", "PD-1", Some(json!({})), "incident_changed");
    walk(&lea, "POST /v1/incidents/{id}/close", "PD-1", None, "incident_closed");
    walk(&lea, "POST /v1/incidents/{id}/reopen", "PD-1", None, "incident_opened");
    let on_call = Some(json!({"people": ["corp:ana"]}));
    walk(&lea, "PUT /v1/schedules/{name}", "primary", on_call, "schedule_changed");
    let made = walk(&ana, "POST /v1/audit/holds", "", Some(legal_hold()), "legal_hold_placed");
    let closed = Some(json!({"reason": "closed"}));
    walk(&ana, "POST /v1/audit/holds/{id}/release", id(&made), closed, "legal_hold_released");
    payments.house.write_policy("extra.cedar", "// another bundle\n");
    let before = count(&payments, "bundle_activated");
    payments.house.signal("HUP");
    payments.record(|events| count_in(events, "bundle_activated") > before);
    walk(&ana, "POST /v1/bundle/rollback", "", None, "bundle_activated");
    walk(&ben, "POST /v1/sign-out", "", None, "sign_in_ended");
    // Signing in is how everybody got here; closing a connection is in `streams`, with a connection.
    assert!(count(&payments, "signed_in") > 3);
    all_doors_are_known(&payments, walked);
    reading_is_on_record(&payments, &ana);
}

/// What was refused is on record too, where somebody tried to go beyond their rights.
fn reading_is_on_record(payments: &Payments, ana: &Visitor<'_>) {
    let before = count(payments, "control_refused");
    assert_eq!(ana.call("GET", "/v1/audit/events", None).status, 403);
    payments.record(|events| count_in(events, "control_refused") > before);
    let sam = payments.enter(&sam());
    assert_eq!(sam.call("GET", "/v1/audit/events", None).status, 200);
    payments.event("record_read", |event| event["principal"]["id"] == "corp:sam");
}

fn legal_hold() -> Value {
    json!({"scope": {"principal": "corp:ben"}, "reason": "case 7"})
}

fn all_doors_are_known(payments: &Payments, mut walked: BTreeSet<String>) {
    walked.extend(["POST /v1/device/token", "POST /v1/connections/{id}/close"].map(str::to_owned));
    walked.extend(CHANGES_NOTHING.map(str::to_owned));
    walked.extend(ELSEWHERE.map(str::to_owned));
    let changing =
        operations(payments).into_iter().filter(|operation| !operation.starts_with("GET "));
    assert_eq!(changing.collect::<BTreeSet<_>>(), walked, "a door that this test does not know");
}

/// Doors with credentials of their own, whose events `jobs` and `directory` look for; and those to what
/// is not configured here, with which `sealed`, `exports`, `outgoing`, `redelivery`, `slack`, `decisions`, `alerts` and
/// `connectors` deal, `reports` and `erasure`.
const ELSEWHERE: [&str; 24] = [
    "POST /v1/connectors/{name}/events",
    "POST /connectors/slack/interactions",
    "POST /connectors/slack/commands",
    "POST /v1/deliveries/redeliver",
    "POST /v1/audit/contents/{seq}/erase",
    "POST /v1/exports/{name}/test",
    "POST /v1/alerts/{webhook}/test",
    "POST /v1/deliveries/{id}/redeliver",
    "POST /v1/deliveries/{id}/drop",
    "POST /v1/decisions/{system}",
    "POST /v1/reports/access/sign-offs",
    "POST /v1/sealed-credentials",
    "POST /v1/sealed-credentials/{id}/agree",
    "POST /v1/sealed-credentials/{id}/revoke",
    "POST /v1/runs",
    "DELETE /v1/runs/{id}",
    "POST /scim/v2/Users",
    "PUT /scim/v2/Users/{id}",
    "PATCH /scim/v2/Users/{id}",
    "DELETE /scim/v2/Users/{id}",
    "POST /scim/v2/Groups",
    "PUT /scim/v2/Groups/{id}",
    "PATCH /scim/v2/Groups/{id}",
    "DELETE /scim/v2/Groups/{id}",
];

/// A passkey that a browser made.
fn passkey(payments: &Payments, who: &Visitor<'_>) -> Value {
    let origin = format!("http://localhost:{}", payments.house.control.port());
    let options = who.call("POST", "/v1/passkeys/options", None).json();
    let challenge = options["publicKey"]["challenge"].as_str().unwrap();
    let made = SoftPasskey::new(&origin, "localhost", 1).register(challenge);
    json!({"name": "laptop", "credential": made})
}

fn count(payments: &Payments, kind: &str) -> usize {
    count_in(&payments.record(|_| true), kind)
}

fn count_in(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

//! Decisions of other systems: signed, once, and only as far as policy lets them.

use std::{io::Write as _, process::Stdio};

use serde_json::{Value, json};

use crate::{
    payments::{Payments, ben, grant, id},
    pki::python,
    sink_peer::SECRET,
    upstream::Upstream,
    wire::{Response, exchange},
};

const OTHER: &str = "whsec_YW5vdGhlciBzaXggYW5kIHRoaXJ0eSBieXRlcyBvZiBub3RoaW5n";
const SYSTEMS: &str = "connectors: {decisions: {desk: {secret: {file: desk}}, \
                       quality: {secret: {file: quality}, groups: [checks]}}}";
/// The desk may approve refunds; the other one may approve nothing.
const SYSTEM_REVIEWS: &str = r#"
@id("payments.desk")
permit (principal == Workload::"decisions:desk", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"payments" && resource.actions.contains("payments.createRefund") && context.auth.method == "signed" };
"#;

fn open() -> Payments {
    Payments::furnished(Upstream::start(), |plan| {
        plan.setting(SYSTEMS)
            .file("desk", SECRET)
            .file("quality", OTHER)
            .policy("systems.cedar", SYSTEM_REVIEWS)
    })
}

/// What another system sends, signed by the library of the specification.
struct Sent {
    system: &'static str,
    secret: &'static str,
    message: String,
    /// Seconds from now.
    shift: i64,
    body: String,
}

impl Sent {
    fn of(request: &Value, decision: &str) -> Self {
        let data = json!({"access_request": id(request), "decision": decision, "note": "CHG-4711"});
        let body = json!({"type": "access_request.decision", "data": data}).to_string();
        Self { system: "desk", secret: SECRET, message: "msg_1".into(), shift: 0, body }
    }

    fn signed(&self) -> (String, String) {
        let mut command = python("webhook_signer.py");
        command.args([self.secret, &self.message, &self.shift.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.body.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (time, signature) = said.trim().split_once(' ').unwrap();
        (time.to_owned(), signature.to_owned())
    }

    fn post(&self, payments: &Payments) -> Response {
        let (time, signature) = self.signed();
        self.post_with(payments, &time, &signature, &self.body)
    }

    fn post_with(&self, payments: &Payments, time: &str, signature: &str, body: &str) -> Response {
        let head = format!(
            "POST /v1/decisions/{} HTTP/1.1\r\nHost: control.example.com\r\nContent-Type: application/json\r\n\
             webhook-id: {}\r\nwebhook-timestamp: {time}\r\nwebhook-signature: {signature}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.system,
            self.message,
            body.len()
        );
        exchange(payments.house.control, head)
    }
}

fn asked(payments: &Payments) -> Value {
    let ben = payments.enter(&ben());
    let refused = ben.refund(100);
    let asked = ben.ask(&refused, json!({}));
    assert_eq!(asked.status, 201, "{}", asked.text());
    asked.json()
}

fn state(payments: &Payments, request: &Value) -> String {
    let path = format!("/v1/access-requests/{}", id(request));
    let answer = payments.house.api("GET", &path, Some(&payments.auditor()), None);
    answer.json()["state"].as_str().unwrap().to_owned()
}

fn refused_with(payments: &Payments, why: &str) {
    payments.event("decision_refused", |event| event["detail"].as_str().unwrap().contains(why));
}

#[test]
fn a_system_decides_what_policy_lets_it_decide_and_its_decision_is_a_review() {
    let payments = open();
    let request = asked(&payments);
    let mut approval = Sent::of(&request, "approve");
    let taken = approval.post(&payments);
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(
        (&taken.json()["state"], &taken.json()["repeated"]),
        (&json!("approved"), &json!(false))
    );
    let reviewed = payments.event("reviewed", |event| event["decision"] == "approve");
    assert_eq!(reviewed["principal"], json!({"type": "Workload", "id": "decisions:desk"}));
    assert_eq!(reviewed["detail"], "CHG-4711");
    let shown = payments
        .house
        .api(
            "GET",
            &format!("/v1/access-requests/{}", id(&request)),
            Some(&payments.auditor()),
            None,
        )
        .json();
    let _in_force = grant(&shown);
    let ben = payments.enter(&ben());
    assert_eq!(ben.refund(100).status, 200, "the grant opens the gate");
    // E06: the same again is the same decision.
    let again = approval.post(&payments);
    assert_eq!((again.status, &again.json()["repeated"]), (200, &json!(true)), "{}", again.text());
    refused_with(&payments, "came before");
    // Operators see that it was heard, and what came twice.
    let seen = payments.house.api("GET", "/v1/connectors", Some(&payments.auditor()), None).json();
    let systems = seen["connectors"].as_array().unwrap();
    let desk = systems.iter().find(|one| one["name"] == "decisions:desk").unwrap();
    assert_eq!(desk["state"], "working", "{desk:#}");
    assert!(desk["heard_at"].is_string(), "{desk:#}");
    assert!(desk["refused"]["why"].as_str().unwrap().contains("came before"), "{desk:#}");
    let other = systems.iter().find(|one| one["name"] == "decisions:quality").unwrap();
    assert_eq!((&other["state"], &other["heard_at"]), (&json!("unknown"), &Value::Null));
    let reviews = payments.record(|_| true);
    assert_eq!(reviews.iter().filter(|event| event["type"] == "reviewed").count(), 1);
    // Another service's operation is none of its business, and it is told nothing of it.
    let payout = ben.send("POST", "/v1/payouts", Some(json!({})));
    let payout = ben.ask(&payout, json!({})).json();
    approval = Sent { message: "msg_2".into(), ..Sent::of(&payout, "approve") };
    assert_eq!(approval.post(&payments).status, 404);
    refused_with(&payments, "was not found");
    assert_eq!(state(&payments, &payout), "pending");
}

#[test]
fn e05_e06_e07_forged_late_replayed_and_foreign_decisions_do_nothing_and_are_on_record() {
    let payments = open();
    let request = asked(&payments);
    let sound = || Sent::of(&request, "approve");
    let late = "more than five minutes";
    let forged = "no signature of the message is of this system";
    for (sent, why) in [
        (Sent { shift: -360, ..sound() }, late),
        (Sent { shift: 360, ..sound() }, late),
        (Sent { secret: OTHER, ..sound() }, forged),
        // Another system's name under its own secret.
        (Sent { system: "quality", ..sound() }, forged),
    ] {
        let answer = sent.post(&payments);
        assert_eq!(answer.status, 401, "{}", answer.text());
        refused_with(&payments, why);
    }
    let one = sound();
    let (time, signature) = one.signed();
    // The same meaning in other bytes; another id or time under the same signature; none at all.
    let spaced = one.body.replace(':', ": ");
    assert_eq!(one.post_with(&payments, &time, &signature, &spaced).status, 401);
    let other = Sent { message: "msg_9".into(), ..sound() };
    assert_eq!(other.post_with(&payments, &time, &signature, &one.body).status, 401);
    let later = (time.parse::<i64>().unwrap() + 1).to_string();
    assert_eq!(one.post_with(&payments, &later, &signature, &one.body).status, 401);
    assert_eq!(one.post_with(&payments, &time, "", &one.body).status, 401);
    // A system that policy lets decide nothing.
    let quality = Sent { system: "quality", secret: OTHER, ..sound() };
    assert_eq!(quality.post(&payments).status, 404);
    let nobody = Sent { system: "nobody", ..sound() };
    assert_eq!(nobody.post(&payments).status, 404);
    for body in ["", "{}", "[]", r#"{"type": "x", "data": {}}"#] {
        let sent = Sent { body: body.into(), message: "msg_3".into(), ..sound() };
        assert_eq!(sent.post(&payments).status, 400, "{body}");
    }
    let more = one.body.replace("\"note\"", "\"scope\":{},\"note\"");
    assert_eq!(Sent { body: more, message: "msg_4".into(), ..sound() }.post(&payments).status, 400);
    let longer = one.body.replace("\"note\"", "\"duration\":\"10d\",\"note\"");
    assert_eq!(
        Sent { body: longer, message: "msg_5".into(), ..sound() }.post(&payments).status,
        400
    );
    assert_eq!(state(&payments, &request), "pending");
    let events = payments.record(|_| true);
    assert!(events.iter().all(|event| event["type"] != "reviewed"));
    assert!(events.iter().filter(|event| event["type"] == "decision_refused").count() >= 14);
    // And a sound one still counts.
    let declined =
        Sent { message: "msg_6".into(), ..Sent::of(&request, "decline") }.post(&payments);
    assert_eq!((declined.status, &declined.json()["state"]), (200, &json!("declined")));
}

#[test]
fn a_decision_outlives_the_process_and_counts_once() {
    let mut payments = open();
    let request = asked(&payments);
    let sent = Sent::of(&request, "approve");
    let (time, signature) = sent.signed();
    assert_eq!(sent.post_with(&payments, &time, &signature, &sent.body).status, 200);
    payments.house.kill();
    payments.house.restart();
    let again = sent.post_with(&payments, &time, &signature, &sent.body);
    assert_eq!((again.status, &again.json()["repeated"]), (200, &json!(true)), "{}", again.text());
}

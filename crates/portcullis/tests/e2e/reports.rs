//! Reports of access: who had what, who reviewed it, what was an emergency, what stands; and that somebody
//! went through it.

use serde_json::{Value, json};

use crate::{
    payments::{Payments, Visitor, ana, ben, grant, id, lea, sam},
    upstream::Upstream,
};

const EMERGENCY: &str = r#"
@id("payments.emergency") @emergency("true") @max_duration("5m")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant && context.grant.kind == "emergency" };
"#;
const PERIOD: &str = "since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00Z";

fn furnished() -> Payments {
    Payments::furnished(Upstream::start(), |plan| plan.policy("emergency.cedar", EMERGENCY))
}

/// A reviewed grant of Ben's, and an emergency of his.
fn history(payments: &Payments) -> (String, Value) {
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    payments.enter(&ana());
    let asked = ben.ask(&ben.refund(100), json!({"reason": "=1+1"})).json();
    let granted = grant(&lea.approve(&asked).json());
    assert!(ben.refund(100).status < 300);
    let body = json!({"queries": [{"operation": "payments.*"}], "reason": "payouts are stuck"});
    let emergency = ben.call("POST", "/v1/access-requests", Some(body));
    assert_eq!(emergency.status, 201, "{}", emergency.text());
    (granted, emergency.json())
}

fn report(auditor: &Visitor<'_>) -> Value {
    let answer = auditor.call("GET", &format!("/v1/reports/access?{PERIOD}"), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn of<'a>(report: &'a Value, grant: &str) -> &'a Value {
    let grants = report["grants"].as_array().unwrap();
    grants.iter().find(|one| one["grant"]["id"] == grant).unwrap()
}

#[test]
fn a_report_says_who_had_what_who_reviewed_it_and_what_stands() {
    let payments = furnished();
    let (granted, emergency) = history(&payments);
    let sam = payments.enter(&sam());
    let said = report(&sam);
    let one = of(&said, &granted);
    assert_eq!((&one["reason"], &one["emergency"]), (&json!("=1+1"), &json!(false)), "{one:#}");
    assert_eq!(one["reviews"][0]["reviewer"]["id"], "corp:lea", "{one:#}");
    assert_eq!((&one["grant"]["state"], &one["grant"]["uses"]), (&json!("ended"), &json!(1)));
    let opened = grant(&emergency);
    let one = of(&said, &opened);
    assert_eq!((&one["emergency"], &one["open"]), (&json!(true), &json!(true)), "{one:#}");
    // Ana reads by policy alone, and Ben by nothing but his grants.
    let standing = said["standing"].as_array().unwrap();
    let who: Vec<_> = standing.iter().map(|one| &one["principal"]["id"]).collect();
    assert_eq!(who, ["corp:ana"], "{standing:#?}");
    let operations = standing[0]["operations"].as_array().unwrap();
    let read = ["payments.events", "payments.getRefund", "payments.listRefunds"];
    assert!(operations.iter().all(|name| read.contains(&name.as_str().unwrap())), "{operations:?}");
    assert!(operations.contains(&json!("payments.getRefund")), "{operations:?}");

    // Looked at, it is no open item any more.
    let lea = payments.enter(&lea());
    assert!(lea.approve(&emergency).status < 300);
    let one = report(&sam);
    let one = of(&one, &opened);
    assert_eq!((&one["open"], &one["reviews"][0]["decision"]), (&json!(false), &json!("approve")));
    // Before that time there was nothing.
    let path = "/v1/reports/access?since=2020-01-01T00:00:00Z&until=2021-01-01T00:00:00Z";
    assert_eq!(sam.call("GET", path, None).json()["grants"], json!([]));
    let path = "/v1/reports/access?since=2021-01-01T00:00:00Z&until=2020-01-01T00:00:00Z";
    assert_eq!(sam.call("GET", path, None).status, 400);
    payments.event("record_read", |event| {
        event["detail"].as_str().is_some_and(|detail| detail.starts_with("access from 2020-"))
    });
}

#[test]
fn a_review_of_access_is_signed_off_as_it_was_seen_and_by_whom_policy_lets() {
    let payments = furnished();
    let (_, emergency) = history(&payments);
    let (sam, ana, lea) = (payments.enter(&sam()), payments.enter(&ana()), payments.enter(&lea()));
    let future = report(&sam);
    let until = future["made_at"].as_str().unwrap().to_owned();
    let sign_until = |by: &Visitor<'_>, until: &str, digest: &Value| {
        let body = json!({"since": "2020-01-01T00:00:00Z", "until": until,
            "digest": digest, "note": "ana's reading is still needed"});
        by.call("POST", "/v1/reports/access/sign-offs", Some(body))
    };
    let sign = |by: &Visitor<'_>, digest: &Value| sign_until(by, &until, digest);
    let report = |by: &Visitor<'_>| {
        let path = format!("/v1/reports/access?since=2020-01-01T00:00:00Z&until={until}");
        by.call("GET", &path, None).json()
    };
    let seen = report(&sam)["digest"].clone();
    // What is not over cannot have been gone through.
    let early = sign_until(&sam, "2100-01-01T00:00:00Z", &future["digest"]);
    assert!(early.status == 400 && early.text().contains("not over"), "{}", early.text());
    assert_eq!(ana.call("GET", &format!("/v1/reports/access?{PERIOD}"), None).status, 403);
    assert_eq!(sign(&ana, &seen).status, 403);
    assert_eq!(sign(&sam, &json!("sha256:00")).status, 409);
    // Something else is true by now: it has to be looked at again.
    assert!(lea.approve(&emergency).status < 300);
    assert_eq!(sign(&sam, &seen).status, 409);
    let now = report(&sam)["digest"].clone();
    assert_ne!(now, seen);
    let signed = sign(&sam, &now);
    assert_eq!(signed.status, 204, "{}", signed.text());
    let event = payments.event("access_reviewed", |event| event["principal"]["id"] == "corp:sam");
    let expected = format!(
        "access from 2020-01-01T00:00:00Z to {until}, {}: ana's reading is still needed",
        now.as_str().unwrap()
    );
    assert_eq!(event["detail"], expected.as_str(), "{event:#}");
    let all = payments.record(|_| true);
    assert_eq!(all.iter().filter(|event| event["type"] == "access_reviewed").count(), 1);
}

#[test]
fn the_command_line_reports_and_signs_off() {
    let payments = furnished();
    let (granted, emergency) = history(&payments);
    payments.house.profile("sam", &payments.enter(&sam()).control);
    payments.house.profile("ana", &payments.enter(&ana()).control);
    let say = |arguments: &[&str]| payments.house.says("sam", &[&["access"], arguments].concat());
    let (code, said) = say(&["report", "--from", "2h"]);
    assert!(code == Some(0) && said.contains("not looked at since: 1"), "{said}");
    for part in ["corp:ben", "approved by corp:lea", "NOT YET", "payments.getRefund"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let (_, csv) = say(&["report", "--from", "2h", "--csv"]);
    assert!(
        csv.starts_with("section,principal,service,what,") && csv.contains("\"'=1+1\""),
        "{csv}"
    );
    let (_, text) = say(&["report", "--from", "2h", "--output", "json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(of(&report, &granted)["open"], false);
    assert_eq!(of(&report, &grant(&emergency))["reason"], "payouts are stuck");

    let (code, said) = say(&["review", "--from", "2020-01-01T00:00:00Z"]);
    assert!(code == Some(0) && said.contains("standing") && said.contains("corp:ana"), "{said}");
    let command = said.rsplit_once("access review ").unwrap().1.replace("\"…\"", "fine");
    let words: Vec<_> = command.split_whitespace().collect();
    let (code, said) = say(&[&["review"], &words[..]].concat());
    assert!(code == Some(0) && said.contains("on record"), "{said}");
    payments.event("access_reviewed", |event| {
        event["detail"].as_str().is_some_and(|detail| detail.ends_with(": fine"))
    });
    let (code, said) = payments.house.says("ana", &["access", "report", "--from", "today"]);
    assert!(code == Some(1) && said.contains("viewAudit"), "{said}");
    assert_eq!(say(&["report", "--from", "soon"]).0, Some(2));
    assert_eq!(say(&["review", "--from", "2h", "--sign-off", id(&emergency)]).0, Some(2));
}

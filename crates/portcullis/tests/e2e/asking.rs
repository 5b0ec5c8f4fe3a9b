//! What may be asked for, and what policy approves by itself.

use std::process::Command;

use serde_json::json;

use crate::{
    house::binary,
    payments::{Payments, Visitor, ana, lea},
    upstream::Upstream,
};

const TICKETS: &str = r#"
openapi: 3.1.0
info: {title: Tickets, version: "1"}
paths:
  /fix:
    post:
      operationId: fix
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [amount]
              properties: {amount: {type: integer}, ticket: {type: string}}
      responses: {"200": {description: ok}}
"#;

/// By itself for who names a ticket; by a review for the others.
const POLICIES: &str = r#"
@id("tickets.auto")
@reviews("0") @max_duration("10m")
permit (principal is User in Group::"oncall", action == Action::"tickets.fix", resource in Service::"tickets")
when { context has grant && context has body && context.body has ticket && context.body.ticket like "OPS-*" };

@id("tickets.auto.overflowing")
@reviews("0") @max_duration("9m")
permit (principal is User in Group::"oncall", action == Action::"tickets.fix", resource in Service::"tickets")
when { context has grant && context has body && context.body.amount + 9223372036854775807 > 0 };

@id("tickets.reviewed")
@reviews("1") @max_duration("10m")
permit (principal is User in Group::"oncall", action == Action::"tickets.fix", resource in Service::"tickets")
when { context has grant };

@id("tickets.reviewers")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"tickets" };
"#;

/// What names an attribute that may be missing does not load.
const CARELESS: &str = r#"
@id("careless")
@reviews("0")
permit (principal is User, action == Action::"tickets.fix", resource in Service::"tickets")
when { context has grant && context has body && context.body.ticket like "OPS-*" };
"#;

fn open() -> Payments {
    let upstream = Upstream::start();
    let service = format!(
        "name: tickets\nhosts: [tickets.example.com]\nupstream: {{instances: {{t-1: \"{}\"}}}}\n\
         operations: {{openapi: apis/tickets.yaml}}",
        upstream.url()
    );
    Payments::furnished(upstream, |plan| {
        plan.service(&service).file("apis/tickets.yaml", TICKETS).policy("tickets.cedar", POLICIES)
    })
}

fn fix(payments: &Payments, who: &Visitor<'_>, body: serde_json::Value) -> crate::wire::Response {
    payments.house.gate("tickets.example.com", "POST", "/fix", Some(&who.gate), Some(body))
}

#[test]
fn e40_what_policy_approves_by_itself_needs_everything_that_it_reads() {
    let payments = open();
    let (ana, lea) = (payments.enter(&ana()), payments.enter(&lea()));
    let rules = |body: serde_json::Value| {
        let refused = fix(&payments, &ana, body);
        assert_eq!(refused.status, 403, "{}", refused.text());
        let rules = refused.json()["ways"].as_array().unwrap().clone();
        let names = rules.iter().map(|way| way["rule"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), refused)
    };
    // Missing, empty, of another kind, or what errs: a person decides.
    for ticket in [None, Some(json!(null)), Some(json!("")), Some(json!("x"))] {
        let mut body = json!({"amount": 1});
        if let Some(ticket) = ticket {
            body["ticket"] = ticket;
        }
        let (ways, refused) = rules(body.clone());
        assert_eq!(ways, ["tickets.reviewed"], "{body}");
        let forced = ana.ask(&refused, json!({"rule": "tickets.auto"}));
        assert!(forced.status >= 400, "{body}: {}", forced.text());
        let forced = ana.ask(&refused, json!({"rule": "tickets.auto.overflowing"}));
        assert!(forced.status >= 400, "{body}: {}", forced.text());
    }
    assert_eq!(fix(&payments, &ana, json!({"amount": 1, "ticket": 7})).status, 422, "no text");
    let (_, refused) = rules(json!({"amount": 1}));
    let asked = ana.ask(&refused, json!({})).json();
    assert_eq!(asked["state"], "pending", "{asked:#}");
    assert!(ana.call("GET", "/v1/grants", None).json()["grants"].as_array().unwrap().is_empty());
    // Everything is there: it is approved at once, and opens what it read and nothing else.
    let (ways, refused) = rules(json!({"amount": 1, "ticket": "OPS-7"}));
    assert_eq!(ways.first().map(String::as_str), Some("tickets.auto"));
    let asked = ana.ask(&refused, json!({"rule": "tickets.auto"})).json();
    assert_eq!(asked["state"], "approved", "{asked:#}");
    assert_eq!(fix(&payments, &ana, json!({"amount": 1, "ticket": "OPS-7"})).status, 200);
    assert_eq!(fix(&payments, &ana, json!({"amount": 1})).status, 403, "the grant is judged again");
    drop(lea);
    // A policy that forgets to ask whether it is there does not load.
    payments.house.write_policy("tickets.cedar", CARELESS);
    payments.house.signal("HUP");
    let refused = payments.event("bundle_refused", |_| true);
    assert!(refused.to_string().contains("tickets.cedar"), "{refused:#}");
    assert_eq!(fix(&payments, &ana, json!({"amount": 1, "ticket": "OPS-7"})).status, 200);
}

#[test]
fn e29_nothing_is_asked_for_a_later_start() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let refused = ana.refund(1);
    // A window begins when it is approved, and who asks cannot say otherwise.
    for later in ["starts_at", "not_before", "start", "from", "valid_from", "until", "expires_at"] {
        let answer = ana.ask(&refused, json!({later: "2099-01-01T00:00:00Z"}));
        assert_eq!(answer.status, 400, "{later}: {}", answer.text());
        let ahead = json!({
            "queries": [{"operation": "payments.createRefund"}], "reason": "later", later: "2099-01-01T00:00:00Z"
        });
        let answer = ana.call("POST", "/v1/access-requests", Some(ahead));
        assert_eq!(answer.status, 400, "{later}: {}", answer.text());
    }
    for flag in ["--at", "--from", "--not-before", "--start"] {
        let output =
            Command::new(binary()).args(["ask", "7K2M", flag, "2099-01-01"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag}");
    }
    let listed =
        |path: &str, name: &str| ana.call("GET", path, None).json()[name].as_array().map(Vec::len);
    assert_eq!(listed("/v1/access-requests?filter=mine", "access_requests"), Some(0));
    assert_eq!(listed("/v1/grants", "grants"), Some(0));
}

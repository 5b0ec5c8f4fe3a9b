//! The house of most lifecycle tests: a payments service, its people, and the policies between them.

use serde_json::{Value, json};

use crate::{
    house::{House, Plan},
    people::Person,
    upstream::Upstream,
    wire::Response,
};

pub(crate) const OPENAPI: &str = r#"
openapi: 3.1.0
info: {title: Payments, version: "1"}
paths:
  /v1/refunds:
    get:
      operationId: listRefunds
      parameters: [{name: limit, in: query, schema: {type: integer}}]
      responses: {"200": {description: ok}}
    post:
      operationId: createRefund
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [amount, currency]
              properties: {amount: {type: integer}, currency: {type: string}}
      responses: {"201": {description: created}}
  /v1/refunds/{id}:
    get:
      operationId: getRefund
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {"200": {description: ok}}
    delete:
      operationId: cancelRefund
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {"204": {description: gone}}
  /v1/payouts:
    post: {operationId: createPayout, responses: {"201": {description: created}}}
  /v1/events:
    get: {operationId: events, responses: {"200": {description: a stream}}}
"#;

pub(crate) const POLICIES: &str = r#"
@id("payments.read")
permit (principal is User in Group::"oncall", action in Action::"payments.read", resource in Service::"payments");

@id("payments.refund.oncall")
@reviews("0") @max_duration("30m")
permit (principal is User in Group::"oncall", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant };

@id("payments.refund.reviewed")
@reviews("1") @max_duration("15m") @max_uses("1")
permit (principal is User in Group::"engineering", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant && context has body && context.body.amount <= 50000 };

@id("payments.events.reviewed")
@reviews("1") @max_duration("15m")
permit (principal is User in Group::"engineering", action == Action::"payments.events", resource in Service::"payments")
when { context has grant };

@id("payments.payout")
@reviews("2") @max_duration("10m")
permit (principal is User in Group::"engineering", action == Action::"payments.createPayout", resource in Service::"payments")
when { context has grant };

@id("payments.cancel.brief")
@reviews("0") @max_duration("6s")
permit (principal is User in Group::"oncall", action == Action::"payments.cancelRefund", resource in Service::"payments")
when { context has grant };

@id("payments.reviewers")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"payments" };

@id("payments.revokers")
permit (principal is User in Group::"leads", action in [Action::"revoke", Action::"viewConnections"], resource == Service::"payments");
"#;

/// Apart, so that tests can replace the others and still read the record.
const AUDITORS: &str = r#"
@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
"#;

/// A running house with payments in it.
#[derive(Debug)]
pub(crate) struct Payments {
    pub(crate) house: House,
    pub(crate) upstream: Upstream,
    auditor: String,
}

pub(crate) fn ana() -> Person {
    Person::new("ana", &["oncall", "engineering"])
}

pub(crate) fn ben() -> Person {
    Person::new("ben", &["engineering"])
}

pub(crate) fn lea() -> Person {
    Person::new("lea", &["leads", "engineering"])
}

pub(crate) fn leo() -> Person {
    Person::new("leo", &["leads"])
}

pub(crate) fn sam() -> Person {
    Person::new("sam", &["auditors"])
}

impl Payments {
    pub(crate) fn open() -> Self {
        Self::furnished(Upstream::start(), |plan| plan)
    }

    /// With another upstream, and whatever `furnish` adds to the plan.
    pub(crate) fn furnished(upstream: Upstream, furnish: impl FnOnce(Plan) -> Plan) -> Self {
        let service = format!(
            "name: payments\nhosts: [payments.example.com]\nlabels: {{env: prod}}\n\
             upstream: {{instances: {{p-1: \"{}\"}}}}\noperations: {{openapi: apis/payments.yaml}}",
            upstream.url()
        );
        let plan = Plan::empty().service(&service).file("apis/payments.yaml", OPENAPI);
        let house =
            furnish(plan.policy("payments.cedar", POLICIES).policy("auditors.cedar", AUDITORS))
                .start();
        let auditor = house.sign_in(&sam());
        Self { house, upstream, auditor }
    }

    /// A control token and a gate token of `person`.
    pub(crate) fn enter(&self, person: &Person) -> Visitor<'_> {
        let control = self.house.sign_in(person);
        let gate = self.house.gate_token(&control);
        Visitor { payments: self, control, gate }
    }

    /// The control token of somebody who may read the record.
    pub(crate) fn auditor(&self) -> String {
        self.auditor.clone()
    }

    /// The record, once `enough` is in it.
    pub(crate) fn record(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        self.house.record(&self.auditor, enough)
    }

    /// A page of the record from entry `from` on.
    pub(crate) fn page(&self, from: usize) -> Vec<Value> {
        let path = format!("/v1/audit/events?from={from}&limit=500");
        let answer = self.house.api("GET", &path, Some(&self.auditor), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["events"].as_array().unwrap().clone()
    }

    /// Waits until the record has an event of `kind` for which `which` holds, and returns it.
    pub(crate) fn event(&self, kind: &str, which: impl Fn(&Value) -> bool) -> Value {
        let matching = |event: &&Value| event["type"] == kind && which(event);
        let events = self.record(|events| events.iter().any(|event| matching(&event)));
        events.iter().rfind(matching).unwrap().clone()
    }
}

/// Somebody signed in.
#[derive(Debug)]
pub(crate) struct Visitor<'a> {
    payments: &'a Payments,
    pub(crate) control: String,
    pub(crate) gate: String,
}

impl Visitor<'_> {
    /// A request at the gate.
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        self.payments.house.gate("payments.example.com", method, path, Some(&self.gate), body)
    }

    pub(crate) fn refund(&self, amount: i64) -> Response {
        self.send("POST", "/v1/refunds", Some(json!({"amount": amount, "currency": "EUR"})))
    }

    /// A call of the control API.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        self.payments.house.api(method, path, Some(&self.control), body)
    }

    /// Asks for what a refused response offers.
    pub(crate) fn ask(&self, refused: &Response, more: Value) -> Response {
        let mut body = json!({"refusal": refused.json()["refusal"], "reason": "refunds stuck"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("POST", "/v1/access-requests", Some(body))
    }

    pub(crate) fn approve(&self, request: &Value) -> Response {
        let path = format!("/v1/access-requests/{}/reviews", id(request));
        self.call("POST", &path, Some(json!({"decision": "approve"})))
    }

    pub(crate) fn decline(&self, request: &Value, note: &str) -> Response {
        let path = format!("/v1/access-requests/{}/reviews", id(request));
        self.call("POST", &path, Some(json!({"decision": "decline", "note": note})))
    }
}

/// The id of an access request as the API shows it.
pub(crate) fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value:#}"))
}

/// The only grant of an approved access request.
pub(crate) fn grant(request: &Value) -> String {
    assert_eq!(request["state"], "approved", "{request:#}");
    request["grants"][0].as_str().unwrap_or_else(|| panic!("no grant in {request:#}")).to_owned()
}

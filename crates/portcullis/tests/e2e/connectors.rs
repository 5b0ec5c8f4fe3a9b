//! Other systems tell which incidents are open and who is on call: what that opens, and how it ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    house::Plan,
    payments::{Payments, Visitor, sam},
    streams::ticking_upstream,
    upstream::Upstream,
    vendor::Vendor,
    wire::{Response, Wire},
};

mod grafana;
mod grafana_incidents;
mod incident_io;
mod jira;
mod lasting;
mod pagerduty;
mod woken;

pub(crate) const POLICIES: &str = r#"
@id("refund.incident") @reviews("0") @max_duration("20m")
permit (principal is User in Group::"engineering", action in [Action::"payments.createRefund", Action::"sse.GET"], resource)
when {
  context has grant && context.grant has incident && context.grant.incident.open &&
  context.grant.incident.source != "api:corp:lea" &&
  context.grant.incident.services.containsAny([Service::"payments", Service::"sse"]) &&
  principal has onCall && principal.onCall.contains(Schedule::"payments-primary")
};

@id("cancel.responders") @reviews("0") @max_duration("20m")
permit (principal is User in Group::"engineering", action == Action::"payments.cancelRefund", resource)
when {
  context has grant && context.grant has incident && context.grant.incident.open &&
  context.grant.incident.responders.contains(principal)
};

@id("managers")
permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);
"#;

/// A house that a system tells of incidents.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) payments: Payments,
    pub(crate) vendor: Vendor,
}

impl Told {
    pub(crate) fn by(vendor: Vendor, connectors: &str, furnish: impl FnOnce(Plan) -> Plan) -> Self {
        let payments = Payments::furnished(Upstream::start(), |plan| {
            let service = format!(
                "name: sse\nhosts: [sse.example.com]\nupstream: {{instances: {{i-1: \"http://{}\"}}}}",
                ticking_upstream()
            );
            let connectors = format!("connectors: {connectors}");
            furnish(plan.service(&service).policy("told.cedar", POLICIES).setting(&connectors))
        });
        Self { payments, vendor }
    }

    /// Where messages of the system called `name` go.
    pub(crate) fn aim(&self, name: &str) {
        let control = self.payments.house.control;
        self.vendor.aim(&format!("http://{control}/v1/connectors/{name}/events"));
    }

    pub(crate) fn order(&self, what: &Value) -> Value {
        self.vendor.order(what)
    }

    /// The incident, once `which` holds of it.
    pub(crate) fn incident(
        &self,
        seen_by: &Visitor<'_>,
        id: &str,
        which: impl Fn(&Value) -> bool,
    ) -> Value {
        let path = format!("/v1/incidents/{id}");
        self.until(|| seen_by.call("GET", &path, None), |it| it.status == 200 && which(&it.json()))
            .json()
    }

    /// The schedule, once `which` holds of it.
    pub(crate) fn schedule(&self, seen_by: &Visitor<'_>, which: impl Fn(&Value) -> bool) -> Value {
        let one = |answer: &Response| {
            let all = answer.json();
            let all = all["schedules"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|one| one["name"] == "payments-primary")
        };
        let answer = self.until(
            || seen_by.call("GET", "/v1/schedules", None),
            |answer| one(answer).is_some_and(|it| which(&it)),
        );
        one(&answer).unwrap()
    }

    pub(crate) fn until(
        &self,
        ask: impl Fn() -> Response,
        enough: impl Fn(&Response) -> bool,
    ) -> Response {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = ask();
            if enough(&answer) {
                return answer;
            }
            let log = || self.payments.house.log();
            assert!(Instant::now() < deadline, "{}\n{}", answer.text(), log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the double has written down, once `enough` holds of it.
    pub(crate) fn written(&self, enough: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let written = self.order(&json!({"do": "written"}));
            if enough(&written) {
                return written;
            }
            let log = || self.payments.house.log();
            assert!(Instant::now() < deadline, "{written:#}\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns when no note on incidents of `system` waits any more, and nothing is wrong with them.
    pub(crate) fn no_note_waits(&self, system: &str) {
        let sam = self.payments.enter(&sam());
        self.until(
            || sam.call("GET", "/v1/exports", None),
            |answer| {
                let sinks = answer.json()["sinks"].clone();
                let notes = sinks.as_array().unwrap().iter().find(|one| one["name"] == system);
                notes.is_some_and(|notes| notes["trouble"].is_null() && notes["behind"] == 0)
            },
        );
    }

    /// How many entries of this kind are on record, of those for which `which` holds.
    pub(crate) fn count(&self, kind: &str, which: impl Fn(&Value) -> bool) -> usize {
        let all = self.payments.record(|_| true);
        all.iter().filter(|one| one["type"] == kind && which(one)).count()
    }
}

/// The ways of a refusal that `rule` offers.
pub(crate) fn ways(answer: &Response, rule: &str) -> Vec<Value> {
    let ways = answer.json()["ways"].as_array().cloned().unwrap_or_default();
    ways.into_iter().filter(|way| way["rule"] == rule).collect()
}

/// A stream at the gate that goes on for as long as it may.
pub(crate) fn stream(told: &Told, who: &Visitor<'_>) -> Wire {
    let mut wire = Wire::connect(told.payments.house.gate);
    wire.send(format!(
        "GET /tail HTTP/1.1\r\nHost: sse.example.com\r\nAuthorization: Bearer {}\r\n\
         Accept: text/event-stream\r\n\r\n",
        who.gate
    ));
    let begun = String::from_utf8_lossy(&wire.read_until(b"data: tick")).into_owned();
    assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
    wire
}

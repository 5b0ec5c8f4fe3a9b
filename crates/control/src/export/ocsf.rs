//! Events as the Open Cybersecurity Schema Framework has them.
//!
//! Each type of event has one class ([`portcullis_model::EventType::ocsf_class`]) and, here, its activity in
//! it. What the schema has a place for stands there; the whole entry of the record is in `unmapped`, so that
//! nothing is lost in translation. The tests hold every type against the definitions of the release.

use portcullis_model::EventType;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::form;

/// The release that events are written in.
pub const VERSION: &str = "1.8.0";

const INFORMATIONAL: u8 = 1;
const LOW: u8 = 2;
const MEDIUM: u8 = 3;
const HIGH: u8 = 4;
const CRITICAL: u8 = 5;

/// An entry of the record at `position`.
pub fn event(leaf: &Value, position: u64) -> Value {
    let kind = kind(leaf);
    let class = kind.map_or(6002, EventType::ocsf_class);
    let activity = kind.map_or(99, |kind| activity(kind, leaf));
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| event.insert(name.to_owned(), value);
    put("class_uid", json!(class));
    put("category_uid", json!(class / 1000));
    put("activity_id", json!(activity));
    put("type_uid", json!(u64::from(class) * 100 + u64::from(activity)));
    put("severity_id", json!(severity(kind, leaf)));
    put("status_id", json!(if failed(kind, leaf) { 2 } else { 1 }));
    put("time", json!(form::time(leaf).as_millisecond()));
    put("metadata", metadata(leaf, position));
    put("unmapped", leaf.clone());
    for (from, to) in [("detail", "message"), ("refusal", "status_detail")] {
        if let Some(text) = text(leaf, from) {
            put(to, json!(text));
        }
    }
    if let Some(status) = leaf.get("status").and_then(Value::as_u64) {
        put("status_code", json!(status.to_string()));
    }
    put("actor", actor(leaf));
    decided(kind, leaf, &mut event);
    of_class(class, leaf, &mut event);
    Value::Object(event)
}

/// Whether somebody was kept from something, or worse.
pub(crate) fn is_notable(leaf: &Value) -> bool {
    severity(kind(leaf), leaf) > INFORMATIONAL
}

fn kind(leaf: &Value) -> Option<EventType> {
    EventType::deserialize(leaf.get("type")?).ok()
}

fn text<'l>(leaf: &'l Value, name: &str) -> Option<&'l str> {
    leaf.get(name).and_then(Value::as_str)
}

fn metadata(leaf: &Value, position: u64) -> Value {
    let mut metadata = json!({
        "version": VERSION,
        "product": {
            "name": "Portcullis",
            "vendor_name": "Portcullis",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "profiles": ["host", "security_control"],
        "uid": form::id(leaf, position),
        "sequence": position,
        "event_code": text(leaf, "type").unwrap_or_default(),
        "log_name": "audit",
    });
    if let (Some(about), Some(members)) = (correlation(leaf), metadata.as_object_mut()) {
        members.insert("correlation_uid".to_owned(), json!(about));
    }
    metadata
}

/// What ties entries about one thing together.
fn correlation(leaf: &Value) -> Option<&str> {
    ["access_request", "grant", "connection", "request"].iter().find_map(|name| text(leaf, name))
}

fn user(leaf: &Value) -> Value {
    match form::who(leaf) {
        Some(principal) => json!({"uid": principal, "name": principal}),
        // Nobody: a stranger, or the house itself.
        None => json!({"name": "unidentified"}),
    }
}

fn actor(leaf: &Value) -> Value {
    let mut actor = match form::who(leaf) {
        Some(_) => json!({"user": user(leaf)}),
        None => json!({"app_name": "Portcullis"}),
    };
    let session = ["sign_in", "grant"].iter().find_map(|name| text(leaf, name));
    if let (Some(uid), Some(members)) = (session, actor.as_object_mut()) {
        members.insert("session".to_owned(), json!({"uid": uid}));
    }
    actor
}

/// What a policy said, as the profile `security_control` has it.
fn decided(kind: Option<EventType>, leaf: &Value, event: &mut Map<String, Value>) {
    // Many refusals in one entry have no decision of their own.
    let counted = kind == Some(EventType::RefusalsCounted);
    let Some(decision) = text(leaf, "decision").or(counted.then_some("refuse")) else { return };
    let (action, disposition) = match decision {
        "permit" | "approve" => (1, 1),
        "deny" | "refuse" | "requestable" | "decline" => (2, 2),
        _ => (99, 99),
    };
    event.insert("action_id".to_owned(), json!(action));
    event.insert("action".to_owned(), json!(decision));
    event.insert("disposition_id".to_owned(), json!(disposition));
    let policies = leaf.get("policies").and_then(Value::as_array);
    let policies = policies.into_iter().flatten().filter_map(Value::as_str);
    let named: Vec<Value> = policies
        .map(|name| json!({"decision": decision, "policy": {"name": name, "uid": name}}))
        .collect();
    if !named.is_empty() {
        event.insert("authorizations".to_owned(), json!(named));
    }
}

fn source(leaf: &Value) -> Value {
    let mut source = match text(leaf, "source") {
        Some(ip) => json!({"ip": ip}),
        None => json!({"name": "portcullis"}),
    };
    if let (Some(country), Some(members)) = (text(leaf, "country"), source.as_object_mut()) {
        members.insert("location".to_owned(), json!({"country": country}));
    }
    source
}

fn destination(leaf: &Value) -> Option<Value> {
    let service = text(leaf, "service")?;
    let mut destination = json!({"svc_name": service});
    let members = destination.as_object_mut()?;
    if let Some(instance) = text(leaf, "answered_by").or_else(|| text(leaf, "instance")) {
        members.insert("instance_uid".to_owned(), json!(instance));
    }
    if let Some(host) = text(leaf, "host") {
        members.insert("hostname".to_owned(), json!(host));
    }
    Some(destination)
}

fn of_class(class: u32, leaf: &Value, event: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Value| event.insert(name.to_owned(), value);
    match class {
        4001 | 4002 => {
            put("src_endpoint", source(leaf));
            if let Some(destination) = destination(leaf) {
                put("dst_endpoint", destination);
            }
            if class == 4002 {
                put("http_request", http_request(leaf));
                http_response(leaf).map(|response| put("http_response", response));
                leaf.get("count").map(|count| put("count", count.clone()));
            }
        }
        2004 => {
            put("finding_info", finding(leaf));
        }
        3001 => {
            put("user", user(leaf));
        }
        3002 => {
            put("user", user(leaf));
            put("service", json!({"name": "portcullis"}));
            put("src_endpoint", source(leaf));
            text(leaf, "sign_in").map(|id| put("session", json!({"uid": id})));
        }
        3003 => {
            put("user", user(leaf));
            put("privileges", json!(privileges(leaf)));
            text(leaf, "grant").map(|id| put("session", json!({"uid": id})));
        }
        3004 => {
            put("entity", entity(leaf));
        }
        6003 => {
            put("api", api(leaf));
            put("src_endpoint", source(leaf));
        }
        _ => {
            put("app", json!({"name": "Portcullis", "version": env!("CARGO_PKG_VERSION")}));
        }
    }
}

fn http_request(leaf: &Value) -> Value {
    let uid = correlation(leaf).or_else(|| text(leaf, "id"));
    let mut request = json!({"uid": uid.unwrap_or("unknown")});
    let Some(members) = request.as_object_mut() else { return request };
    if let Some(uid) = text(leaf, "request") {
        members.insert("uid".to_owned(), json!(uid));
    }
    if let Some(method) = text(leaf, "method") {
        members.insert("http_method".to_owned(), json!(method));
    }
    if let Some(path) = text(leaf, "path") {
        let mut url = json!({"path": path});
        if let (Some(host), Some(members)) = (text(leaf, "host"), url.as_object_mut()) {
            members.insert("hostname".to_owned(), json!(host));
        }
        members.insert("url".to_owned(), url);
    }
    request
}

fn http_response(leaf: &Value) -> Option<Value> {
    let code = leaf.get("status").and_then(Value::as_u64)?;
    let latency = leaf.get("latency_us").and_then(Value::as_u64).unwrap_or_default();
    Some(json!({"code": code, "latency": latency / 1000}))
}

fn privileges(leaf: &Value) -> Vec<String> {
    let what = text(leaf, "operation").or_else(|| text(leaf, "service"));
    vec![what.unwrap_or("unnamed").to_owned()]
}

fn entity(leaf: &Value) -> Value {
    for (member, what) in
        [("access_request", "access request"), ("incident", "incident"), ("grant", "grant")]
    {
        if let Some(uid) = text(leaf, member) {
            return json!({"type": what, "uid": uid});
        }
    }
    let what = text(leaf, "type").unwrap_or_default();
    json!({"type": what, "name": text(leaf, "detail").unwrap_or(what)})
}

fn api(leaf: &Value) -> Value {
    let kind = text(leaf, "type").unwrap_or_default();
    let operation = text(leaf, "operation").or_else(|| text(leaf, "detail")).unwrap_or(kind);
    json!({"operation": operation, "service": {"name": "portcullis"}})
}

fn finding(leaf: &Value) -> Value {
    let of = |name: &str| leaf.pointer(&format!("/alert/{name}")).and_then(Value::as_str);
    json!({
        "uid": text(leaf, "id").unwrap_or_default(),
        "title": of("title").unwrap_or("alert"),
        "desc": of("text").unwrap_or_default(),
        "types": [of("kind").unwrap_or_default()],
        "src_url": of("link").unwrap_or_default(),
    })
}

fn failed(kind: Option<EventType>, leaf: &Value) -> bool {
    let status = leaf.get("status").and_then(Value::as_u64);
    let refused = matches!(text(leaf, "decision"), Some("deny" | "refuse" | "requestable"));
    let by_kind = matches!(
        kind,
        Some(
            EventType::ReviewRefused
                | EventType::TokenRefused
                | EventType::NoticeFailed
                | EventType::DeliverySetAside
                | EventType::DecisionRefused
                | EventType::BundleRefused
                | EventType::RefusalsCounted
                | EventType::SignInRefused
                | EventType::ControlRefused
                | EventType::ExportFailing
                | EventType::ConnectorFailing
                | EventType::HookRefused
                | EventType::SealedLogBroken
        )
    );
    refused || by_kind || status.is_some_and(|status| status >= 400)
}

fn severity(kind: Option<EventType>, leaf: &Value) -> u8 {
    match kind {
        Some(EventType::SealedLogBroken) => CRITICAL,
        Some(EventType::EmergencyOpened | EventType::SealedUsed) => HIGH,
        Some(EventType::AlertFired) => {
            let urgency = leaf.pointer("/alert/urgency").and_then(Value::as_str);
            if urgency == Some("critical") { CRITICAL } else { MEDIUM }
        }
        Some(
            EventType::ExportFailing
            | EventType::ConnectorFailing
            | EventType::BundleRefused
            | EventType::NoticeFailed
            | EventType::DeliverySetAside
            | EventType::ContentErased,
        ) => MEDIUM,
        _ if failed(kind, leaf) => LOW,
        _ => INFORMATIONAL,
    }
}

/// The activity within the class; 99 is one that the class has no number for.
fn activity(kind: EventType, leaf: &Value) -> u8 {
    match kind {
        EventType::Attempt | EventType::SealedUsed | EventType::RefusalsCounted => method(leaf),
        // What begins: a request, an incident, an account, a finding, privileges, a sign-in, a call.
        EventType::AccessRequested
        | EventType::IncidentOpened
        | EventType::WorkloadSeen
        | EventType::AlertFired
        | EventType::EmergencyOpened
        | EventType::GrantStarted
        | EventType::TokenRedeemed
        | EventType::SignedIn
        | EventType::SignInRefused
        | EventType::NoticeDelivered
        | EventType::NoticeFailed
        | EventType::DeliveryRedelivered
        | EventType::LegalHoldPlaced
        | EventType::ExportTested => 1,
        EventType::ConnectionEnded
        | EventType::ConnectionClosed
        | EventType::SignInEnded
        | EventType::RecordRead => 2,
        EventType::Reviewed
        | EventType::EmergencyReviewed
        | EventType::IncidentChanged
        | EventType::ScheduleChanged
        | EventType::Started => 3,
        EventType::Stopped
        | EventType::ContentErased
        | EventType::LegalHoldReleased
        | EventType::DeliveryDropped => 4,
        EventType::BundleActivated => 8,
        EventType::PasskeyRegistered => 10,
        EventType::AccessRequestEnded | EventType::IncidentClosed | EventType::PasskeyRemoved => 11,
        _ => 99,
    }
}

fn method(leaf: &Value) -> u8 {
    match text(leaf, "method") {
        Some("CONNECT") => 1,
        Some("DELETE") => 2,
        Some("GET") => 3,
        Some("HEAD") => 4,
        Some("OPTIONS") => 5,
        Some("POST") => 6,
        Some("PUT") => 7,
        Some("TRACE") => 8,
        Some("PATCH") => 9,
        Some(_) => 99,
        None => 0,
    }
}

#[cfg(test)]
mod tests;

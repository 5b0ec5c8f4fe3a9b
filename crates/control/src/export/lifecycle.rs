//! What happens to access requests and grants, for webhooks: as Standard Webhooks 1.0.0 or as CloudEvents 1.0.2.
//!
//! Both are signed alike, over the bytes of the body. So CloudEvents come in structured mode: in binary mode
//! their attributes would be headers, which nothing signs.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Form, form};

/// CloudEvents wants a name of the producer's kind in front of a type.
const PREFIX: &str = "portcullis.";
/// What an event says of itself here, beside the ids of what it is about.
const MEMBERS: [&str; 13] = [
    "id",
    "principal",
    "service",
    "instance",
    "operation",
    "decision",
    "policies",
    "grant",
    "incident",
    "access_request",
    "request",
    "detail",
    "bundle",
];

/// The events that webhooks are told of, with what they are called there.
pub const KINDS: [(&str, &str); 12] = [
    ("access_requested", "access_request.requested"),
    ("reviewed", "access_request.reviewed"),
    ("review_refused", "access_request.review_refused"),
    ("decision_refused", "access_request.decision_refused"),
    ("access_request_ended", "access_request.ended"),
    ("grant_started", "grant.started"),
    ("grant_extended", "grant.extended"),
    ("grant_ended", "grant.ended"),
    ("emergency_opened", "emergency.opened"),
    ("emergency_reviewed", "emergency.reviewed"),
    ("incident_opened", "incident.opened"),
    ("incident_closed", "incident.closed"),
];

/// What an event is called in a message, if webhooks are told of it.
fn called(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(event, _)| *event == kind).map(|(_, called)| *called)
}

/// An entry of the record as a message, if webhooks are told of such.
pub(super) fn event(form: Form, leaf: &Value, position: u64, source: &str) -> Option<String> {
    let kind = called(leaf.get("type")?.as_str()?)?;
    let told = MEMBERS.iter().filter_map(|name| Some((*name, leaf.get(*name)?.clone())));
    let mut data: Map<String, Value> = told.map(|(name, value)| (name.to_owned(), value)).collect();
    data.insert("position".to_owned(), position.into());
    let subject = ["access_request", "grant", "incident"];
    let subject = subject.iter().find_map(|name| leaf.get(*name).and_then(Value::as_str));
    let id = form::id(leaf, position);
    let about = (id.as_str(), kind, form::time(leaf), subject);
    Some(message(form, about, &data.into(), source).to_string())
}

/// A message about an access request for people, as a webhook that policy names gets it.
pub fn notice(form: Form, id: &str, body: &str, source: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let time = body.get("time").and_then(Value::as_str)?.parse().ok()?;
    let kind = match body.get("type").and_then(Value::as_str)? {
        "emergency" => "emergency.notice",
        _ => "access_request.notice",
    };
    let subject = body.pointer("/access_request/id").and_then(Value::as_str);
    let about = (id, kind, time, subject);
    Some(message(form, about, body.get("access_request")?, source).to_string())
}

/// A message of this id and type, at this time, about this.
pub(crate) fn message(
    form: Form,
    (id, kind, time, subject): (&str, &str, Timestamp, Option<&str>),
    data: &Value,
    source: &str,
) -> Value {
    if form != Form::CloudEvents {
        return json!({"type": kind, "timestamp": time, "data": data});
    }
    let mut event = json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": format!("{PREFIX}{kind}"),
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    });
    if let (Some(subject), Some(members)) = (subject, event.as_object_mut()) {
        members.insert("subject".to_owned(), subject.into());
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> Value {
        json!({"id": "01A", "time": "2026-11-23T10:00:00Z", "type": "grant_started", "class": 3003,
            "principal": {"type": "User", "id": "corp:ana"}, "grant": "01G", "source": "192.0.2.1",
            "access_request": "01R", "service": "payments"})
    }

    #[test]
    fn an_event_is_the_same_in_both_forms() {
        let from = "https://portcullis.example.com";
        let read = |form| {
            let text = event(form, &leaf(), 7, from).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let (standard, cloud) = (read(Form::Standard), read(Form::CloudEvents));
        assert_eq!(standard["type"], "grant.started");
        assert_eq!(standard["timestamp"], "2026-11-23T10:00:00Z");
        assert_eq!(cloud["type"], "portcullis.grant.started");
        assert_eq!((&cloud["specversion"], &cloud["id"]), (&"1.0".into(), &"01A".into()));
        assert_eq!((&cloud["source"], &cloud["subject"]), (&from.into(), &"01R".into()));
        assert_eq!(standard["data"], cloud["data"]);
        assert_eq!(standard["data"]["position"], 7);
        assert!(
            standard["data"].get("source").is_none(),
            "where somebody is, is nobody's business"
        );
    }

    #[test]
    fn what_no_webhook_is_told_of_is_not_told() {
        let attempt = json!({"type": "attempt", "time": "2026-11-23T10:00:00Z"});
        assert_eq!(event(Form::Standard, &attempt, 0, ""), None);
        for (kind, _) in KINDS {
            serde_json::from_value::<portcullis_model::EventType>(kind.into()).unwrap();
        }
    }
}

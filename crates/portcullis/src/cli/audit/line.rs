//! An event in one line, for people.

use std::fmt::Write as _;

use portcullis_api::audit::EventBody;
use serde_json::{Map, Value};

/// `  41  2026-11-22T12:00:00Z  attempt  corp:ana  payments.read  permit 200  …`
pub(super) fn of(body: &EventBody) -> String {
    let [seq, rest @ ..] = columns(body);
    let mut line = format!("{seq:>6}");
    for part in rest.iter().filter(|part| !part.is_empty()) {
        let _ = write!(line, "  {part}");
    }
    line
}

/// Its position, time, type, who, what about, what came of it, and more in words.
pub(super) fn columns(body: &EventBody) -> [String; 7] {
    let event = &body.event;
    let who = event.get("principal").and_then(|who| who.get("id")?.as_str()).unwrap_or("");
    // An attempt outside any operation still has a service, or at least a host.
    let about =
        ["operation", "service", "host"].into_iter().find_map(|key| event.get(key)?.as_str());
    let (decision, refusal) = (text(event, "decision"), text(event, "refusal"));
    let refusal = if refusal == decision { "" } else { refusal };
    let status = event.get("status").and_then(Value::as_u64).map(|status| status.to_string());
    let mut came_of_it = joined([decision, refusal, status.as_deref().unwrap_or("")]);
    let seen = list(event, "revealed").filter_map(|seen| seen.get("class")?.as_str());
    let masked = list(event, "masked").filter_map(Value::as_str);
    for (word, classes) in [("revealed", seen.collect::<Vec<_>>()), ("masked", masked.collect())] {
        if !classes.is_empty() {
            came_of_it = joined([&came_of_it, &format!("{word} {}", classes.join(", ")), ""]);
        }
    }
    [
        body.seq.to_string(),
        seconds(text(event, "time")),
        text(event, "type").to_owned(),
        who.to_owned(),
        about.unwrap_or("").to_owned(),
        came_of_it,
        text(event, "detail").to_owned(),
    ]
}

fn joined(parts: [&str; 3]) -> String {
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("  ")
}

fn list<'a>(event: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    event.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Without the fraction, in the record's own zone: people compare it with other logs.
fn seconds(time: &str) -> String {
    let parsed = time.parse::<jiff::Timestamp>();
    parsed.map_or_else(|_| time.to_owned(), |time| time.strftime("%FT%TZ").to_string())
}

fn text<'a>(event: &'a Map<String, Value>, key: &str) -> &'a str {
    event.get(key).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_did_what_and_what_came_of_it() {
        let event = serde_json::from_value(
            serde_json::json!({"time": "2026-11-22T12:00:00.25Z", "type": "attempt",
            "principal": {"type": "User", "id": "corp:ana"}, "service": "payments",
            "operation": "payments.refund", "decision": "requestable",
            "refusal": "requestable", "status": 403}),
        );
        let event = event.unwrap();
        let line = of(&EventBody { seq: 41, event });
        let expected =
            "    41  2026-11-22T12:00:00Z  attempt  corp:ana  payments.refund  requestable  403";
        assert_eq!(line, expected);
        let event =
            serde_json::from_value(serde_json::json!({"type": "attempt", "operation": "a.b",
            "status": 200, "masked": ["pii"], "revealed": [{"class": "pci", "grant": "7BX"}]}));
        let line = of(&EventBody { seq: 42, event: event.unwrap() });
        assert!(line.ends_with("  a.b  200  revealed pci  masked pii"), "{line}");
    }
}

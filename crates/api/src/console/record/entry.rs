//! An entry of the record as pages show it: what a person sees at a glance, and all of its fields.

use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_control::views::EventLine;
use serde_json::{Map, Value};

use crate::console::texts;

const KIND: &str = "record-kind-";
const FIELD: &str = "record-field-";
/// What the head of an entry's page says already.
const IN_HEAD: [&str; 3] = ["seq", "time", "type"];

/// An entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) time: Option<Timestamp>,
    /// More of it in one line: the request and its answer, or what somebody wrote.
    pub(crate) more: String,
    kind: String,
    event: Map<String, Value>,
}

/// Something that a field names, and where there is more about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) text: String,
    pub(crate) address: Option<String>,
    /// Everything on record of the same.
    pub(crate) search: Option<String>,
}

/// A field of an entry.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) label: String,
    pub(crate) values: Vec<Named>,
}

impl Entry {
    /// The entry of a line. One that is no object has nothing but its place.
    pub(crate) fn of(line: &EventLine) -> Self {
        let event: Map<String, Value> = serde_json::from_str(&line.json).unwrap_or_default();
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let time = text("time").parse().ok();
        let kind = text("type").to_owned();
        let mut entry = Self { seq: line.seq, time, more: String::new(), kind, event };
        entry.more = entry.in_one_line();
        entry
    }

    fn text(&self, key: &str) -> &str {
        self.event.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// What happened, in words.
    pub(crate) fn title(&self) -> String {
        kind_text(&self.kind)
    }

    pub(crate) fn who(&self) -> Option<Named> {
        self.event.get("principal").and_then(|value| named("principal", value))
    }

    /// The operation, or as much of it as was known.
    pub(crate) fn what(&self) -> &str {
        let keys = ["operation", "service", "host"];
        keys.into_iter().map(|key| self.text(key)).find(|text| !text.is_empty()).unwrap_or("")
    }

    /// How it was decided.
    pub(crate) fn decision(&self) -> &str {
        self.text("decision")
    }

    /// The class of the mark that shows the decision.
    pub(crate) fn mark(&self) -> &'static str {
        match self.decision() {
            "permit" | "approve" | "approved" | "automatic" | "review" => "chip open",
            "requestable" | "emergency" | "expired" => "chip wait",
            "deny" | "refuse" | "decline" | "declined" | "revoked" => "chip bad",
            _ => "chip",
        }
    }

    fn in_one_line(&self) -> String {
        let refusal = Some(self.text("refusal")).filter(|refusal| *refusal != self.decision());
        let request = [self.text("method"), self.text("path")].join(" ");
        let status = self.event.get("status").and_then(Value::as_u64);
        let seen = names(self.event.get("revealed"), "class");
        let parts = [
            request.trim().to_owned(),
            status.map(|status| status.to_string()).unwrap_or_default(),
            refusal.unwrap_or_default().to_owned(),
            self.text("error").to_owned(),
            self.text("detail").to_owned(),
            seen.join(", "),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(" · ")
    }

    /// The grant, access request or incident that an evidence pack can be made of.
    pub(crate) fn subject(&self) -> Option<&str> {
        let keys = ["grant", "access_request", "incident"];
        keys.into_iter().map(|key| self.text(key)).find(|id| !id.is_empty())
    }

    /// Whether something of its request was kept beside the record.
    pub(crate) fn has_content(&self) -> bool {
        self.event.get("content").is_some_and(Value::is_object)
    }

    /// All fields, in their order.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let rest = self.event.iter().filter(|(key, _)| !IN_HEAD.contains(&key.as_str()));
        let field = |(key, value): (&String, &Value)| {
            let values = match value {
                Value::Array(values) => values.iter().filter_map(|one| named(key, one)).collect(),
                one => named(key, one).into_iter().collect::<Vec<_>>(),
            };
            let said = format!("{FIELD}{key}");
            let label =
                if texts::has(&said) { texts::say(&said, None) } else { key.replace('_', " ") };
            Field { label, values }
        };
        rest.map(field).collect()
    }
}

/// A type of entry, in words.
pub(crate) fn kind_text(kind: &str) -> String {
    let key = format!("{KIND}{kind}");
    if texts::has(&key) { texts::say(&key, None) } else { kind.replace('_', " ") }
}

fn names<'a>(list: Option<&'a Value>, key: &str) -> Vec<&'a str> {
    let all = list.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|one| one.get(key)?.as_str()).collect()
}

/// `value` as field `key` has it.
fn named(key: &str, value: &Value) -> Option<Named> {
    let text = match (key, value) {
        (_, Value::Null) => return None,
        ("principal", Value::Object(who)) => who.get("id")?.as_str()?.to_owned(),
        ("latency_us", Value::Number(number)) => length(number.as_i64()?),
        ("bundle", Value::Object(bundle)) => {
            let (digest, generation) = (bundle.get("digest")?.as_str()?, bundle.get("generation")?);
            format!("{generation} · {digest}")
        }
        ("content", Value::Object(kept)) => kept.get("commitment")?.as_str()?.to_owned(),
        ("revealed", Value::Object(seen)) => seen.get("class")?.as_str()?.to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    };
    let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC);
    let (part, address) = match key {
        "principal" => ("principal", Some(format!("/people/{encoded}"))),
        "service" => ("service", Some(format!("/services/{encoded}"))),
        "grant" | "reveals" => ("grant", Some(format!("/grants/{encoded}"))),
        "access_request" => ("access_request", Some(format!("/requests/{encoded}"))),
        "incident" => ("incident", Some(format!("/incidents/{encoded}"))),
        "instance" | "answered_by" => ("instance", None),
        "operation" => ("operation", None),
        "decision" => ("decision", None),
        "revealed" => ("class", None),
        _ => return Some(Named { text, address: None, search: None }),
    };
    let search = Some(format!("/record?{part}={encoded}"));
    Some(Named { text, address, search })
}

/// Microseconds, as people say them.
fn length(microseconds: i64) -> String {
    match microseconds {
        ..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{} ms", microseconds / 1_000),
        _ => crate::console::moment::lasting(SignedDuration::from_micros(microseconds)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(event: &Value) -> Entry {
        Entry::of(&EventLine { seq: 7, json: event.to_string() })
    }

    #[test]
    fn an_attempt_is_read_at_a_glance() {
        let entry = entry(&json!({"time": "2026-11-22T12:00:00Z", "type": "attempt",
            "principal": {"type": "User", "id": "corp:ana"}, "service": "payments",
            "operation": "payments.refund", "decision": "requestable", "refusal": "requestable",
            "method": "POST", "path": "/v1/refunds", "status": 403, "latency_us": 1500, "seq": 7,
            "bundle": {"digest": "sha256:00", "generation": 3}}));
        assert_eq!(entry.what(), "payments.refund");
        assert_eq!(entry.more, "POST /v1/refunds · 403");
        assert_eq!((entry.mark(), entry.time.is_some()), ("chip wait", true));
        let who = entry.who().unwrap();
        assert_eq!(who.address.as_deref(), Some("/people/corp%3Aana"));
        assert_eq!(who.search.as_deref(), Some("/record?principal=corp%3Aana"));
        let fields = entry.fields();
        assert!(fields.iter().all(|field| !field.values.is_empty()));
        let has = |text: &str| {
            fields.iter().any(|field| field.values.iter().any(|value| value.text == text))
        };
        assert!(has("1 ms") && has("3 · sha256:00") && !has("7"));
    }

    #[test]
    fn what_is_unknown_is_shown_as_it_is() {
        let entry = entry(&json!({"type": "new_thing", "odd": {"a": [1]}, "grant": "01G"}));
        assert_eq!((entry.title().as_str(), entry.subject()), ("new thing", Some("01G")));
        assert!(entry.fields().iter().any(|field| field.values[0].text == r#"{"a":[1]}"#));
        let broken = Entry::of(&EventLine { seq: 1, json: "[".into() });
        assert!(broken.fields().is_empty() && broken.who().is_none());
    }
}

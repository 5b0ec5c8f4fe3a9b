//! What a leaf of the log looks like on its way.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Form, Outgoing, SinkSpec, lifecycle, ocsf};
use crate::ports::LogEntry;

/// What `spec` gets of `entry`, if anything.
pub(crate) fn outgoing(spec: &SinkSpec, entry: &LogEntry) -> Option<Outgoing> {
    let leaf: Value = match serde_json::from_str(&entry.json) {
        Ok(leaf) => leaf,
        Err(error) => {
            // A leaf was JSON when it was written: what is left is for `audit verify`, not for a sink.
            tracing::error!(position = entry.position, %error, "an entry of the record is no JSON");
            return None;
        }
    };
    if !spec.only.names(&leaf) {
        return None;
    }
    let json = match spec.form {
        Form::Ocsf => ocsf::event(&leaf, entry.position).to_string(),
        Form::Alert => alert(&leaf, &spec.name)?,
        Form::Standard | Form::CloudEvents => {
            lifecycle::event(spec.form, &leaf, entry.position, &spec.source)?
        }
        Form::Note => leaf.to_string(),
    };
    let text = |name: &str| leaf.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Outgoing {
        position: entry.position,
        id: id(&leaf, entry.position),
        kind: text("type").unwrap_or_default(),
        time: time(&leaf),
        principal: who(&leaf).map(str::to_owned),
        notable: ocsf::is_notable(&leaf),
        json,
    })
}

/// Whose doing it is, by id; nobody's if nobody is known.
pub(super) fn who(leaf: &Value) -> Option<&str> {
    leaf.pointer("/principal/id").and_then(Value::as_str)
}

/// An event's own id, or the request's that an attempt is about, beside its place.
pub(super) fn id(leaf: &Value, position: u64) -> String {
    let own = ["id", "request"].iter().find_map(|name| leaf.get(*name).and_then(Value::as_str));
    own.map_or_else(|| format!("entry-{position}"), str::to_owned)
}

pub(super) fn time(leaf: &Value) -> Timestamp {
    let time = leaf.get("time").and_then(Value::as_str).and_then(|text| text.parse().ok());
    time.unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An alert for the webhook called `name`, if it is one of those that hear of it.
fn alert(leaf: &Value, name: &str) -> Option<String> {
    let note = leaf.get("alert")?;
    let to = note.get("to").and_then(Value::as_array)?;
    if !to.iter().any(|to| to.as_str() == Some(name)) {
        return None;
    }
    let mut data = note.clone();
    let members = data.as_object_mut()?;
    members.remove("to");
    if let Some(who) = who(leaf) {
        members.insert("principal".to_owned(), who.into());
    }
    for member in ["id", "service", "operation", "source", "grant", "incident"] {
        if let Some(value) = leaf.get(member) {
            members.insert(member.to_owned(), value.clone());
        }
    }
    let time = leaf.get("time").cloned().unwrap_or_default();
    Some(json!({"type": "alert.fired", "timestamp": time, "data": data}).to_string())
}

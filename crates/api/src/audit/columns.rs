//! The columns of tables that the record is exported as: members of events by name, and behind them the whole event.

use serde_json::{Map, Value};

/// Members of events, by name; the last column is the whole event.
pub(super) const COLUMNS: [&str; 20] = [
    "seq",
    "time",
    "type",
    "principal",
    "service",
    "instance",
    "operation",
    "decision",
    "refusal",
    "status",
    "grant",
    "access_request",
    "incident",
    "revealed",
    "masked",
    "source",
    "method",
    "host",
    "path",
    "detail",
];
/// The event's bytes as they were hashed.
pub(super) const WHOLE: &str = "event";

/// What an event has in each of [`COLUMNS`].
pub(super) fn of(json: &str) -> serde_json::Result<[Option<String>; COLUMNS.len()]> {
    let event: Map<String, Value> = serde_json::from_str(json)?;
    Ok(COLUMNS.map(|column| {
        Some(match (column, event.get(column)?) {
            (_, Value::Null) => return None,
            ("principal", who) => text(who.get("id").unwrap_or(who)),
            ("revealed", Value::Array(seen)) => {
                let classes = seen.iter().filter_map(|seen| seen.get("class"));
                classes.map(text).collect::<Vec<_>>().join(" ")
            }
            (_, Value::Array(all)) => all.iter().map(text).collect::<Vec<_>>().join(" "),
            (_, value) => text(value),
        })
    }))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

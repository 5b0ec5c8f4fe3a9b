//! What rules read of an entry of the record.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use crate::ports::LogEntry;

/// An entry, as far as rules ask.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Leaf {
    #[serde(default)]
    pub(super) seq: u64,
    pub(super) time: Timestamp,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) principal: Option<String>,
    pub(super) service: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) decision: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) source: Option<IpAddr>,
    pub(super) country: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) grant: Option<String>,
    pub(super) access_request: Option<String>,
}

impl Leaf {
    pub(super) fn of(entry: &LogEntry) -> Option<Self> {
        // What is no JSON any more is for those who verify the record.
        let mut leaf: Self = serde_json::from_str(&entry.json).ok()?;
        leaf.seq = entry.position;
        Some(leaf)
    }

    /// Whether somebody was refused, and could not have asked.
    pub(super) fn is_denial(&self) -> bool {
        self.kind == "attempt" && matches!(self.decision.as_deref(), Some("deny" | "refuse"))
    }

    /// What somebody did, if they were let.
    pub(super) fn done(&self) -> Option<(&str, &str)> {
        let permitted = self.kind == "attempt" && self.decision.as_deref() == Some("permit");
        permitted.then_some(())?;
        Some((self.principal.as_deref()?, self.operation.as_deref()?))
    }

    /// From where it came, in words.
    pub(super) fn from(&self) -> String {
        match (&self.source, &self.country) {
            (Some(source), Some(country)) => format!("{source} ({country})"),
            (Some(source), None) => source.to_string(),
            (None, _) => "an unknown address".to_owned(),
        }
    }
}

//! The evidence as one JSON document: every record as it was hashed, sorted by what people ask.
//!
//! Made from the records alone, so that whoever has the records can make it again and compare.

use jiff::Timestamp;
use portcullis_control::{DecidingPolicy, Evidence, views::EventLine};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contents::{self, KeptBody};

/// The version of the document's shape.
pub const FORMAT: u32 = 1;

/// Which records answer which question, in the order in which people ask.
const SECTIONS: [(&str, &str, &[&str]); 7] = [
    (
        "incident",
        "The incident",
        &["incident_opened", "incident_changed", "incident_closed", "schedule_changed"],
    ),
    ("asked", "Who asked, and why", &["access_requested", "emergency_opened"]),
    (
        "reviewed",
        "Who reviewed, and what they said",
        &["reviewed", "review_refused", "access_request_ended", "emergency_reviewed"],
    ),
    (
        "granted",
        "What was granted, and when it ended",
        &[
            "grant_started",
            "grant_extended",
            "grant_used",
            "grant_ended",
            "token_issued",
            "token_redeemed",
            "token_refused",
            "sealed_proposed",
            "sealed_agreed",
            "sealed_revoked",
        ],
    ),
    ("done", "What was done, and how it went", &["attempt", "sealed_used"]),
    ("connections", "Connections, and how they ended", &["connection_ended", "connection_closed"]),
    ("policy", "Which policies were in force", &["bundle_activated"]),
];
const OTHERS: (&str, &str) = ("others", "What else is on record of it");

/// The evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceBody {
    /// [`FORMAT`].
    pub format: u32,
    /// `grant`, `access_request` or `incident`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Who asked for the evidence.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// So many records of the log were looked through. What came later is not in it, nor are requests that
    /// still ran.
    pub looked_through: u64,
    /// The first and the last of those that retention had removed before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<(u64, u64)>,
    /// The records.
    pub sections: Vec<SectionBody>,
    /// The policies that decided.
    pub policies: Vec<DecidingPolicy>,
    /// The digests of bundles that records name and whose sources are gone: the texts of their policies are
    /// not in it.
    pub missing_bundles: Vec<String>,
    /// What was kept of requests, and what became of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<KeptBody>,
}

/// The records that answer one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SectionBody {
    /// For programs.
    pub name: String,
    /// For people.
    pub title: String,
    /// In their order.
    pub records: Vec<RecordBody>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordBody {
    /// Its position in the log.
    pub seq: u64,
    /// What it says.
    pub record: Value,
}

impl EvidenceBody {
    /// Of what was found.
    pub fn of(evidence: &Evidence) -> Self {
        let known = SECTIONS.map(|(name, title, _)| (name, title)).into_iter().chain([OTHERS]);
        let mut sections: Vec<SectionBody> = known
            .map(|(name, title)| SectionBody {
                name: name.to_owned(),
                title: title.to_owned(),
                records: Vec::new(),
            })
            .collect();
        for EventLine { seq, json } in &evidence.records {
            let record: Value = serde_json::from_str(json).unwrap_or_default();
            let kind = record.get("type").and_then(Value::as_str).unwrap_or_default();
            let place = SECTIONS.iter().position(|(_, _, kinds)| kinds.contains(&kind));
            if let Some(section) = sections.get_mut(place.unwrap_or(SECTIONS.len())) {
                section.records.push(RecordBody { seq: *seq, record });
            }
        }
        Self {
            format: FORMAT,
            kind: evidence.subject.kind.to_owned(),
            id: evidence.subject.id.clone(),
            made_by: evidence.made_by.clone(),
            made_at: evidence.made_at,
            looked_through: evidence.looked_through,
            removed: evidence.removed.clone(),
            sections,
            policies: evidence.policies(),
            missing_bundles: evidence.missing_bundles(),
            contents: contents::of(evidence),
        }
    }

    /// As it stands in packs.
    pub fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

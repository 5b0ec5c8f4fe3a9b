//! What somebody typed to search the record with: kept as it was typed, and read as the API reads it.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use portcullis_control::views::EventFilter;

use crate::{audit::AskedQuery, error::ApiError};

/// Parts of a question, by the names that they have in addresses; those of the API.
const PARTS: [&str; 13] = [
    "text",
    "principal",
    "type",
    "service",
    "since",
    "until",
    "operation",
    "instance",
    "grant",
    "access_request",
    "incident",
    "decision",
    "class",
];
/// Parts that the page shows at once; the others are one click away.
const FIRST: usize = 5;
/// The longest part that is looked at.
const MOST: usize = 500;

/// The types that an entry can have, as they stand in the record, in the order of a life.
const TYPES: [&str; 59] = [
    "attempt",
    "refusals_counted",
    "connection_ended",
    "connection_closed",
    "access_requested",
    "reviewed",
    "review_refused",
    "access_request_ended",
    "notice_delivered",
    "notice_failed",
    "delivery_set_aside",
    "delivery_redelivered",
    "delivery_dropped",
    "decision_refused",
    "grant_started",
    "grant_used",
    "grant_extended",
    "grant_ended",
    "token_issued",
    "token_redeemed",
    "token_refused",
    "emergency_opened",
    "emergency_reviewed",
    "incident_opened",
    "incident_changed",
    "incident_closed",
    "schedule_changed",
    "signed_in",
    "sign_in_refused",
    "sign_in_ended",
    "person_changed",
    "workload_seen",
    "directory_changed",
    "passkey_registered",
    "passkey_removed",
    "bundle_activated",
    "bundle_refused",
    "sealed_proposed",
    "sealed_agreed",
    "sealed_revoked",
    "sealed_used",
    "sealed_log_broken",
    "control_refused",
    "record_read",
    "evidence_given",
    "access_reviewed",
    "export_failing",
    "export_recovered",
    "export_tested",
    "connector_failing",
    "connector_recovered",
    "hook_refused",
    "alert_fired",
    "content_erased",
    "record_removed",
    "legal_hold_placed",
    "legal_hold_released",
    "started",
    "stopped",
];

/// The decisions that an entry can have.
const DECISIONS: [&str; 6] = ["permit", "requestable", "deny", "refuse", "approve", "decline"];

/// A question, as it was typed.
#[derive(Debug, Default)]
pub(super) struct Asked {
    parts: Vec<(&'static str, String)>,
    cursor: Option<u64>,
}

impl Asked {
    pub(super) fn new(given: Vec<(String, String)>) -> Self {
        let mut asked = Self::default();
        for (name, value) in given {
            if name == "cursor" {
                asked.cursor = value.parse().ok();
            }
            let known = PARTS.into_iter().find(|part| *part == name);
            let value: String = value.trim().chars().take(MOST).collect();
            if let Some(part) = known.filter(|_| !value.is_empty()) {
                asked.parts.push((part, value));
            }
        }
        asked
    }

    /// What was typed for the part `name`.
    pub(super) fn typed(&self, name: &str) -> &str {
        self.parts.iter().find(|(part, _)| *part == name).map_or("", |(_, value)| value)
    }

    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.typed(name) == value
    }

    pub(super) fn is_open(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a part is asked for that the page does not show at once.
    pub(super) fn has_more(&self) -> bool {
        let is_first = |name| PARTS.iter().take(FIRST).any(|part| *part == name);
        self.parts.iter().any(|(name, _)| !is_first(*name))
    }

    /// Whether it begins in the midst of what was found.
    pub(super) fn is_onwards(&self) -> bool {
        self.cursor.is_some()
    }

    #[expect(clippy::unused_self, reason = "templates reach functions through what they show")]
    pub(super) fn types(&self) -> [&'static str; 59] {
        TYPES
    }

    #[expect(clippy::unused_self, reason = "templates reach functions through what they show")]
    pub(super) fn decisions(&self) -> [&'static str; 6] {
        DECISIONS
    }

    /// The page with this question, from `cursor` on.
    pub(super) fn address(&self, cursor: Option<u64>) -> String {
        let mut pairs = self.pairs(ToOwned::to_owned);
        pairs.extend(cursor.map(|cursor| ("cursor", cursor.to_string())));
        address("/record", &pairs)
    }

    /// All that answers, in a file.
    pub(super) fn export(&self, format: &str) -> String {
        let mut pairs = self.pairs(in_utc);
        pairs.push(("format", format.to_owned()));
        address("/v1/audit/export", &pairs)
    }

    pub(super) fn filter(&self) -> Result<EventFilter, String> {
        let question = serde_urlencoded::to_string(self.pairs(in_utc)).unwrap_or_default();
        let read: Result<AskedQuery, _> = serde_urlencoded::from_str(&question);
        let asked = read.map_err(|error| error.to_string())?;
        let said = |error: ApiError| error.to_string();
        Ok(EventFilter { before: self.cursor, ..asked.filter().map_err(said)? })
    }

    fn pairs(&self, value: impl Fn(&str) -> String) -> Vec<(&'static str, String)> {
        self.parts.iter().map(|(name, typed)| (*name, value(typed))).collect()
    }
}

fn address(path: &str, pairs: &[(&str, String)]) -> String {
    if pairs.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", serde_urlencoded::to_string(pairs).unwrap_or_default())
}

/// A browser's date and time have no zone: the page says that they are in UTC.
fn in_utc(typed: &str) -> String {
    let civil = typed.parse::<DateTime>().ok().filter(|_| typed.parse::<Timestamp>().is_err());
    let at = civil.and_then(|civil| civil.to_zoned(TimeZone::UTC).ok());
    at.map_or_else(|| typed.to_owned(), |at| at.timestamp().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::texts;

    fn asked(pairs: &[(&str, &str)]) -> Asked {
        Asked::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn what_is_left_empty_is_not_asked_for() {
        let asked = asked(&[("text", " "), ("service", ""), ("said", "x"), ("cursor", "7")]);
        assert!(asked.is_open() && asked.is_onwards() && !asked.has_more());
        assert_eq!(asked.filter().unwrap().before, Some(7));
        assert_eq!(asked.address(Some(3)), "/record?cursor=3");
    }

    #[test]
    fn a_question_is_read_as_the_api_reads_it_and_kept_as_typed() {
        let asked =
            asked(&[("service", "payments"), ("since", "2026-11-23T02:13"), ("class", "pci")]);
        let filter = asked.filter().unwrap();
        assert_eq!(filter.since, Some("2026-11-23T02:13:00Z".parse().unwrap()));
        assert_eq!(filter.service.unwrap().as_str(), "payments");
        assert!(asked.has_more());
        assert_eq!(asked.typed("since"), "2026-11-23T02:13");
        assert!(asked.export("csv").contains("since=2026-11-23T02%3A13%3A00Z"));
    }

    #[test]
    fn a_wrong_part_is_said_in_words() {
        for wrong in [("grant", "no"), ("since", "yesterday"), ("text", "…")] {
            let problem = asked(&[wrong]).filter().unwrap_err();
            assert!(problem.len() > 10, "{problem}");
        }
    }

    #[test]
    fn every_type_and_decision_has_a_name() {
        for kind in TYPES {
            let known: Result<portcullis_model::EventType, _> = serde_json::from_value(kind.into());
            assert!(known.is_ok(), "{kind}");
            assert!(texts::has(&format!("record-kind-{kind}")), "{kind}");
        }
    }
}

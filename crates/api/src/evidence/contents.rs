//! What `@record` kept of the requests in a pack: with its salt, so that it can be held against the commitment in
//! its record; or who erased it, when and why, as another record of the pack says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portcullis_control::Evidence;
use portcullis_model::{ContentNote, ErasedNote};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was kept of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBody {
    /// The position of its record.
    pub seq: u64,
    /// What the record says of it.
    pub note: ContentNote,
    /// What became of it.
    #[serde(flatten)]
    pub state: KeptState,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum KeptState {
    /// It is in the pack.
    Kept {
        /// It.
        content: Value,
    },
    /// It was erased.
    Erased {
        /// The position of the record that says so.
        erasure: u64,
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// It is not in the pack, and no record says that it was erased: it was not there to be given, or there was
    /// no room.
    Absent,
}

#[derive(Deserialize)]
struct Committed {
    content: ContentNote,
}

#[derive(Deserialize)]
struct Erasure {
    erased: ErasedNote,
    time: Timestamp,
    principal: Option<Who>,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Who {
    id: String,
}

/// What the record at one position says of what was kept; `None` if it says nothing.
pub fn note(json: &str) -> Option<ContentNote> {
    serde_json::from_str::<Committed>(json).ok().map(|committed| committed.content)
}

/// Of all records of a pack.
pub(super) fn of(evidence: &Evidence) -> Vec<KeptBody> {
    let erasures: BTreeMap<(u64, String), KeptState> =
        evidence.records.iter().filter_map(|line| erasure(line.seq, &line.json)).collect();
    let kept = evidence.records.iter().filter_map(|line| {
        let (seq, note) = (line.seq, note(&line.json)?);
        let opening = evidence.contents.get(&seq);
        let content = opening.and_then(|opening| serde_json::from_str(&opening.content).ok());
        let erased = || erasures.get(&(seq, note.commitment.clone())).cloned();
        let state = content.map(|content| KeptState::Kept { content });
        let state = state.or_else(erased).unwrap_or(KeptState::Absent);
        Some(KeptBody { seq, note, state })
    });
    kept.collect()
}

fn erasure(seq: u64, json: &str) -> Option<((u64, String), KeptState)> {
    let Erasure { erased, time, principal, detail } = serde_json::from_str(json).ok()?;
    let by = principal.map(|who| who.id).unwrap_or_default();
    let state =
        KeptState::Erased { erasure: seq, by, at: time, reason: detail.unwrap_or_default() };
    Some(((erased.seq, erased.commitment), state))
}

//! What was kept of a request, and what became of it.

use jiff::Timestamp;
use portcullis_model::{ContentNote, EventId, Opening};

/// What was kept of a request, as far as it is still here.
#[derive(Debug, Clone)]
pub struct ContentView {
    /// The position of its record.
    pub seq: u64,
    /// What the record says of it.
    pub note: ContentNote,
    /// What became of it.
    pub state: ContentState,
}

/// What became of content.
#[derive(Debug, Clone)]
pub enum ContentState {
    /// It is here; with its salt, so that anybody can compare it with the record.
    Kept(Opening),
    /// It was erased.
    Erased(ErasureView),
    /// It is not here, or its key is not, and nobody erased it: a store or a file of keys was lost or set back.
    Missing,
}

/// How content was erased.
#[derive(Debug, Clone)]
pub struct ErasureView {
    /// The event that says so.
    pub event: EventId,
    /// Who.
    pub by: String,
    /// When.
    pub erased_at: Timestamp,
    /// Why.
    pub reason: String,
}

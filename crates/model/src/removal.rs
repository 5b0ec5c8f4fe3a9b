//! What the record says of entries that were removed from it: the one thing that may explain why some are
//! missing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Entries that follow one another, of whole sealed segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedRange {
    /// The first of them.
    pub from: u64,
    /// The first after them.
    pub to: u64,
    /// The RFC 6962 hash, in base64, over the hashes of the subtrees of 65,536 entries that they are: what the
    /// tree, which stays, has for them.
    pub digest: String,
}

/// A removal, as it goes on record before it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalNote {
    /// What it was for: `retention`.
    pub cause: String,
    /// The limit in force, as configuration writes it: `400d`.
    pub policy: String,
    /// Only what is older than this is removed now.
    pub older_than: Timestamp,
    /// What is removed now, in the order of the log.
    pub now: Vec<RemovedRange>,
    /// All that is removed, with what was removed before: the newest removal on record speaks for all of them.
    pub removed: Vec<RemovedRange>,
}

impl RemovedRange {
    /// Whether the entry at `seq` is one of them.
    pub fn has(&self, seq: u64) -> bool {
        (self.from..self.to).contains(&seq)
    }
}

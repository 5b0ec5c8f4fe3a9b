//! What is kept of requests beside the record, and what of it was erased.

use jiff::Timestamp;
use portcullis_model::{EventId, RequestId};

/// Content as it rests: nothing of it can be read without its key, which is nowhere in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContent {
    /// What the record has of it.
    pub commitment: String,
    /// The request that it is of.
    pub request: RequestId,
    /// The key that it is sealed under.
    pub key: String,
    /// When.
    pub kept_at: Timestamp,
    /// It and its salt, sealed.
    pub sealed: String,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredErasure {
    /// What the record still has of it.
    pub commitment: String,
    /// The event that says so.
    pub event: EventId,
    /// Who erased it.
    pub principal: String,
    /// When.
    pub erased_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// How much content there is under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentsUnderKey {
    /// The key.
    pub key: String,
    /// How much.
    pub count: u64,
}

/// A change of what is kept of requests.
#[derive(Debug, Clone)]
pub enum ContentChange {
    /// Something to be kept. Guard: nothing has this commitment.
    Keep(StoredContent),
    /// The log has the record that commits to it, here.
    Bind {
        /// The commitment.
        commitment: String,
        /// The position of the record.
        seq: u64,
    },
    /// It is erased with its salt, whether or not it is still here. Guards: not before, and no hold was placed
    /// since they were looked at.
    Erase {
        /// What is erased, by whom and why.
        erasure: StoredErasure,
        /// So many holds there were, released ones included; `None` where the record says that it is erased, and
        /// no hold can keep it any more.
        seen_holds: Option<u32>,
    },
    /// What was kept before and no record commits to is forgotten.
    Sweep {
        /// Kept before.
        before: Timestamp,
    },
}

//! How long the record is kept: what control is given to remove what is older.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use jiff::SignedDuration;
use portcullis_model::RemovedRange;

use crate::ports::{LogEntry, LogUnavailable};

/// How long the record is kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// What is older is removed; nothing ever is, if absent.
    pub after: Option<SignedDuration>,
    /// The same, as configuration writes it: `400d`.
    pub policy: String,
    /// What removes it.
    pub keeper: Arc<dyn RecordKeeper>,
}

/// A sealed segment of the record that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSegment {
    /// Its first entry.
    pub from: u64,
    /// The first after it.
    pub to: u64,
    /// Why it has to stay, if it has to, however old it is.
    pub stays: Option<&'static str>,
}

/// Why what is on record as removed is not gone everywhere. It is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotRemoved(pub String);

/// The files of the record, here and where they are shipped to.
#[async_trait]
pub trait RecordKeeper: Debug + Send + Sync {
    /// The sealed segments that are there, from the oldest on.
    async fn segments(&self) -> Result<Vec<KeptSegment>, LogUnavailable>;

    /// The entries from `from` on, `count` of them at most, if they are what was signed: what merely lies
    /// there may be anybody's. None is passed over.
    async fn entries(&self, from: u64, count: u64) -> Result<Vec<LogEntry>, LogUnavailable>;

    /// The entry at `position`, if it is what was signed there.
    async fn entry(&self, position: u64) -> Result<LogEntry, LogUnavailable>;

    /// What is removed already, in its order, if the log's key signed that and nothing else is missing.
    async fn removed(&self) -> Result<Vec<RemovedRange>, LogUnavailable>;

    /// What was signed for the whole segments from this entry on, before the other.
    async fn digest(&self, from: u64, to: u64) -> Result<String, LogUnavailable>;

    /// Removes what the record at `position` says is removed. Doing it again does the rest, and no harm.
    async fn remove(&self, position: u64) -> Result<(), NotRemoved>;
}

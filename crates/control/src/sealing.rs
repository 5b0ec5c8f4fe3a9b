//! Sealed credentials: what control is given to make them, and to read what gates wrote down.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use portcullis_identity::sealed::SealingKey;
use portcullis_model::{Base64Url, PolicyId, PrincipalId, ServiceName, Window};
use portcullis_store::SealedMark;

use crate::ports::LogUnavailable;

/// The key, and the log that only its holder reads.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// Signs terms, reads notes.
    pub key: Arc<SealingKey>,
    /// What gates wrote down.
    pub log: Arc<dyn SealedLog>,
}

/// An entry of the sealed log.
#[derive(Debug, Clone)]
pub struct SealedEntry {
    /// Its number.
    pub number: u64,
    /// Where the next one goes; names this entry by its hash.
    pub next: SealedMark,
    /// The note as JSON text; `None` if it was not written to this key, or not there.
    pub note: Option<Vec<u8>>,
}

/// The log is not what was written, from this entry on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedLogBroken(pub u64);

/// The sealed log of the gate.
#[async_trait]
pub trait SealedLog: Debug + Send + Sync {
    /// Its entries from `from` on; all of them without.
    async fn entries(
        &self,
        from: Option<&SealedMark>,
    ) -> Result<Result<Vec<SealedEntry>, SealedLogBroken>, LogUnavailable>;
}

/// A sealed credential that somebody wants.
#[derive(Debug, Clone)]
pub struct ProposeSealed {
    /// The one service.
    pub service: ServiceName,
    /// The one emergency rule.
    pub rule: PolicyId,
    /// Who uses it.
    pub holder: PrincipalId,
    /// How long one opening lasts at most; as long as the rule says if absent.
    pub window: Option<Window>,
    /// How long it is good for.
    pub valid_for: Window,
    /// The public half of what opens it (Ed25519).
    pub public_key: Base64Url,
    /// What it is for.
    pub purpose: String,
}

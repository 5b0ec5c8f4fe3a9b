//! Emergencies by sealed credential: what a gate needs to accept one when nothing else answers.

use std::{fmt::Debug, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_identity::sealed::{Opened, SealingPublicKey};
use portcullis_model::SealedId;

use super::RecordBroken;

/// What this gate has on its own disk: control's public key, what was revoked, and a log that only
/// control reads.
#[async_trait]
pub trait SealedUses: Debug + Send + Sync {
    /// Control's public key.
    fn key(&self) -> &SealingPublicKey;

    /// Whether it was revoked, as far as this gate has heard, also before it was started.
    fn is_revoked(&self, id: SealedId) -> bool;

    /// The time to judge by: `now`, or what it must be at least by what was seen before. A clock that is
    /// set back revives nothing, also over a restart.
    fn judged_at(&self, now: Timestamp) -> Timestamp;

    /// Puts on stable storage that somebody opened one, once for each opening.
    async fn opened(
        &self,
        token: &str,
        opened: &Arc<Opened>,
        source: IpAddr,
    ) -> Result<(), RecordBroken>;

    /// Puts `attempt`, as JSON text, on stable storage: the record cannot be written.
    async fn request(&self, opened: &Arc<Opened>, attempt: String) -> Result<(), RecordBroken>;
}

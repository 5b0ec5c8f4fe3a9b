//! Sealed credentials.

use portcullis_model::{SealedCredential, SealedId};

use super::{Control, Result};
use crate::{OpContext, sealing::ProposeSealed, usecase::sealed};

impl Control {
    /// Sealed credentials that the caller may see, newest first.
    pub async fn sealed_credentials(&self, op: &OpContext) -> Result<Vec<SealedCredential>> {
        sealed::list(&self.core, op).await
    }

    /// One sealed credential.
    pub async fn sealed_credential(
        &self,
        op: &OpContext,
        id: SealedId,
    ) -> Result<SealedCredential> {
        sealed::one(&self.core, op, id).await
    }

    /// Proposes one; takes `sealCredential` on its service.
    pub async fn propose_sealed(
        &self,
        op: &OpContext,
        wanted: ProposeSealed,
    ) -> Result<SealedCredential> {
        sealed::propose(&self.core, op, wanted).await
    }

    /// Agrees to what another person proposed; takes the same right.
    pub async fn agree_sealed(&self, op: &OpContext, id: SealedId) -> Result<SealedCredential> {
        sealed::agree(&self.core, op, id).await
    }

    /// Revokes one; returns once no gate of this process accepts it any more.
    pub async fn revoke_sealed(
        &self,
        op: &OpContext,
        id: SealedId,
        why: &str,
    ) -> Result<SealedCredential> {
        sealed::revoke(&self.core, op, id, why).await
    }
}

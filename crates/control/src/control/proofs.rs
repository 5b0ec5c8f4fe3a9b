//! What is on record, proved.

use portcullis_model::GrantId;

use super::{Control, Result};
use crate::{
    OpContext,
    ports::LogPath,
    usecase::{
        evidence::{self, Evidence, EvidenceProof},
        proofs,
    },
};

impl Control {
    /// The record at `seq` with its proof at the newest checkpoint, as a C2SP tlog-proof; needs
    /// `viewAudit`, as do the next two.
    pub async fn prove(&self, op: &OpContext, seq: u64) -> Result<String> {
        proofs::record(&self.core, op, seq).await
    }

    /// The path from the record at `seq` to the root of the first `size` records, or of all.
    pub async fn inclusion(&self, op: &OpContext, seq: u64, size: Option<u64>) -> Result<LogPath> {
        proofs::inclusion(&self.core, op, seq, size).await
    }

    /// That the first `from` records are the beginning of the first `to`, or of all.
    pub async fn consistency(&self, op: &OpContext, from: u64, to: Option<u64>) -> Result<LogPath> {
        proofs::consistency(&self.core, op, from, to).await
    }

    /// All that is on record of a grant, an access request or an incident; needs `viewAudit`.
    pub async fn evidence(&self, op: &OpContext, id: &str) -> Result<Evidence> {
        evidence::gather(&self.core, op, id).await
    }

    /// Puts on record that evidence whose content has this digest is given, and proves what is in it.
    pub async fn evidence_given(
        &self,
        op: &OpContext,
        evidence: &Evidence,
        digest: &str,
    ) -> Result<EvidenceProof> {
        let positions = evidence.records.iter().map(|record| record.seq).collect();
        evidence::given(&self.core, op, &evidence.subject, digest, positions).await
    }

    /// Where the log has the start of a grant.
    pub async fn place_of_grant(&self, op: &OpContext, id: GrantId) -> Result<Option<u64>> {
        proofs::place_of_grant(&self.core, op, id).await
    }

    /// The start of a grant with its proof.
    pub async fn prove_grant(&self, op: &OpContext, id: GrantId) -> Result<String> {
        proofs::grant(&self.core, op, id).await
    }
}

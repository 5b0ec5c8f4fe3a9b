//! Bundles, and questions about them.

use portcullis_model::BundleDigest;
use portcullis_policy::policy_test::Report;

use super::{Control, Result};
use crate::{
    OpContext,
    usecase::{bundles, explain, policy_tests},
    views::{BundleText, BundleView, Explain, Explanation, PolicyTests},
};

impl Control {
    /// The bundles so far, newest first.
    pub async fn bundles(&self, op: &OpContext) -> Result<Vec<BundleView>> {
        bundles::list(&self.core, op).await
    }

    /// What one of them says, file by file; needs `viewAudit` or `administer`.
    pub async fn bundle_text(&self, op: &OpContext, generation: u64) -> Result<BundleText> {
        bundles::text(&self.core, op, generation).await
    }

    /// Brings the bundle before the one in force back, as a new generation; needs `administer`. Where it is said
    /// which one is in force (`from`), and it is another by now, nothing is done.
    pub async fn rollback(&self, op: &OpContext, from: Option<u64>) -> Result<BundleView> {
        bundles::rollback(&self.core, op, from).await
    }

    /// Tests that stand beside the policies of the bundle with this digest were run.
    pub fn policies_tested(&self, bundle: BundleDigest, report: Report) {
        policy_tests::note(&self.core, bundle, report);
    }

    /// What such tests found for the bundle in force; needs `viewAudit` or `administer`.
    #[expect(
        clippy::unused_async,
        reason = "every use case is awaited, whether or not it waits today"
    )]
    pub async fn policy_tests(&self, op: &OpContext) -> Result<Option<PolicyTests>> {
        policy_tests::of(&self.core, op)
    }

    /// What the PDP would answer.
    #[expect(
        clippy::unused_async,
        reason = "every use case is awaited, whether or not it waits today"
    )]
    pub async fn explain(&self, op: &OpContext, question: Explain) -> Result<Explanation> {
        explain::explain(&self.core, op, &question)
    }
}

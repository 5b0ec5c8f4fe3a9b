//! Bundles and questions about them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portcullis_model::{BundleDigest, InstanceName, OperationName, PolicyId, PrincipalId, Way};
pub use portcullis_policy::policy_test::CaseFailure;

/// A bundle in the history of activations.
#[derive(Debug, Clone)]
pub struct BundleView {
    /// Its digest.
    pub digest: BundleDigest,
    /// Its place in the order.
    pub generation: u64,
    /// When.
    pub activated_at: Timestamp,
    /// By whom or what.
    pub by: String,
    /// Whether it is the one in force.
    pub active: bool,
}

/// What a bundle says.
#[derive(Debug, Clone)]
pub struct BundleText {
    /// Which one.
    pub bundle: BundleView,
    /// Policy files, services and settings, by name.
    pub documents: BTreeMap<String, String>,
}

/// What the tests beside the policies found.
#[derive(Debug, Clone)]
pub struct PolicyTests {
    /// The bundle that answered.
    pub bundle: BundleDigest,
    /// The cases that could be run.
    pub cases: usize,
    /// Those that were answered otherwise.
    pub failed: usize,
    /// The first of them.
    pub failures: Vec<CaseFailure>,
    /// What is wrong with the files.
    pub errors: Vec<String>,
}

/// A question to the PDP: what would happen if.
#[derive(Debug, Clone)]
pub struct Explain {
    /// Who; the caller if absent. Naming another needs `viewAudit`.
    pub principal: Option<PrincipalId>,
    /// What.
    pub operation: OperationName,
    /// On which instance.
    pub instance: Option<InstanceName>,
}

/// The PDP's reasons.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// `permit`, `requestable`, `deny`.
    pub answer: &'static str,
    /// How the principal is taken to authenticate, as policies see it.
    pub auth_method: &'static str,
    /// The determining policies.
    pub policies: Vec<PolicyId>,
    /// What would open it.
    pub ways: Vec<Way>,
    /// What is still to be checked when the request comes, in words.
    pub to_be_checked: Vec<String>,
    /// The bundle that answered.
    pub bundle: BundleDigest,
}

//! Runs the tests that stand beside the policies when a bundle comes into force, for people to see at the console.
//! Keeps no bundle out and lets nothing wait: what must pass is for `portcullis policy test`, before it is shipped.

use std::sync::Arc;

use portcullis_control::Control;
use portcullis_model::BundleDigest;
use portcullis_policy::policy_test;

/// Runs `files`, path and text each, if the bundle in force is the one that they stand beside.
pub(super) async fn run(control: &Control, digest: &BundleDigest, files: Vec<(String, String)>) {
    let bundle = Arc::clone(control.snapshots().current().bundle());
    if bundle.digest() != digest {
        return;
    }
    let tested = tokio::task::spawn_blocking(move || policy_test::run(&bundle, &files)).await;
    match tested {
        Ok(report) => control.policies_tested(digest.clone(), report),
        Err(error) => tracing::error!(%error, "the tests of policies broke off"),
    }
}

//! What the tests beside the policies found, when the policies were last loaded. A failing test keeps no bundle out:
//! that is for whoever ships policies (`portcullis policy test`); here it is seen.

use portcullis_model::BundleDigest;
use portcullis_policy::{ControlAction, ControlResource, policy_test::Report};

use crate::{ControlError, OpContext, core::Core, rights, views::PolicyTests};

/// Failing cases that are kept for people to read.
const SHOWN: usize = 100;

/// Keeps what was found for the bundle with this digest.
pub(crate) fn note(core: &Core, bundle: BundleDigest, report: Report) {
    let wrong = report.failures.len() + report.errors.len();
    if wrong > 0 {
        let cases = report.cases;
        tracing::warn!(%bundle, cases, wrong, "tests of policies fail; `portcullis policy test` says which");
    }
    let (cases, failed) = (report.cases, report.failures.len());
    let mut errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
    errors.truncate(SHOWN);
    let failures = report.failures.into_iter().take(SHOWN).collect();
    let tests = PolicyTests { bundle, cases, failed, failures, errors };
    core.policy_tests.store(Some(tests.into()));
}

/// What was found for the bundle in force, if it was tested; takes `viewAudit` or `administer`.
pub(crate) fn of(core: &Core, op: &OpContext) -> Result<Option<PolicyTests>, ControlError> {
    rights::caller(op)?;
    let snapshot = core.snapshot();
    let on_system = |action| rights::may(&snapshot, op, action, ControlResource::System);
    if !on_system(ControlAction::ViewAudit) && !on_system(ControlAction::Administer) {
        let why = "reading what tests of policies found takes `viewAudit` or `administer`";
        return Err(ControlError::Denied(why.into()));
    }
    let found = core.policy_tests.load_full();
    let found = found.filter(|tests| tests.bundle == snapshot.stamp().digest);
    Ok(found.map(|tests| PolicyTests::clone(&tests)))
}

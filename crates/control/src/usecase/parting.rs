//! What a principal that is gone leaves behind: its grants end with it.

use portcullis_model::{GrantEnd, PrincipalId};
use portcullis_store::Grants;

use super::grants;
use crate::{ControlError, OpContext, core::Core, publisher::Effect, settle::Settlement};

/// The newest grants of one principal that are looked at; more than may be in force.
const LISTED: u32 = 10_000;
/// How often somebody may spend a use just then, before it is left for later.
pub(crate) const ROUNDS: usize = 8;

/// Adds the end of every grant of `principal` that is in force.
pub(crate) async fn end_grants(
    core: &Core,
    op: &OpContext,
    principal: &PrincipalId,
    into: &mut Settlement,
) -> Result<(), ControlError> {
    let held = core.store.grants(Grants::Of(principal.clone()), LISTED).await?;
    for grant in held {
        let seen_version = grant.version;
        // One that has ended already has no end to be made.
        let Ok(ended) = grant.end(op.now(), GrantEnd::HolderGone, None) else { continue };
        let why = GrantEnd::HolderGone;
        into.changes.extend(grants::changes(core, op, &ended, seen_version, why));
        into.at_once.push(Effect::Grant(ended));
    }
    Ok(())
}

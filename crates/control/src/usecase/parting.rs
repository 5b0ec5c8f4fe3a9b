//! What a principal that is gone leaves behind: its grants end with it, and what it asked for.

use portcullis_model::{GrantEnd, PrincipalId};
use portcullis_store::{AccessRequests, Grants};

use super::{access_requests, grants, sealed};
use crate::{ControlError, OpContext, core::Core, publisher::Effect, settle::Settlement};

/// The newest grants and access requests of one principal that are looked at; more than may be in
/// force or wait.
const LISTED: u32 = 10_000;
/// How often somebody may spend a use or review just then, before it is left for later.
pub(crate) const ROUNDS: usize = 8;

/// Adds the end of all that `principal` holds or waits for, and in words `why`.
pub(crate) async fn end_all(
    core: &Core,
    op: &OpContext,
    principal: &PrincipalId,
    why: &str,
    into: &mut Settlement,
) -> Result<(), ControlError> {
    withdraw_all(core, op, principal, why, into).await?;
    sealed::end_of_holder(core, op, principal, why, into).await?;
    end_grants(core, op, principal, into).await
}

async fn end_grants(
    core: &Core,
    op: &OpContext,
    principal: &PrincipalId,
    into: &mut Settlement,
) -> Result<(), ControlError> {
    let held = core.store.grants(Grants::InForceOf(principal.clone()), u32::MAX).await?;
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

/// Nobody should be asked to review for somebody who is gone.
async fn withdraw_all(
    core: &Core,
    op: &OpContext,
    principal: &PrincipalId,
    why: &str,
    into: &mut Settlement,
) -> Result<(), ControlError> {
    let waiting = AccessRequests::PendingOf(principal.clone());
    for request in core.store.access_requests(waiting, LISTED).await? {
        let seen_reviews = request.reviews.len();
        // One that has ended already has no end to be made.
        let Ok(withdrawn) = request.abandon(op.now(), why.to_owned()) else { continue };
        into.changes.extend(access_requests::ending(core, op, &withdrawn, seen_reviews));
    }
    Ok(())
}

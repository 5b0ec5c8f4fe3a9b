//! Looking at an emergency afterwards: it closes the open item, and opens nothing.
//!
//! Whoever finds that it was not in order ends it, if it has not ended yet.

use std::sync::Arc;

use portcullis_model::{AccessRequest, AccessRequestState, Decision, EventType, GrantEnd, Review};
use portcullis_store::Change;

use super::{grants, review::on_record, review_passkey::Signed, sealed};
use crate::{
    ControlError, OpContext,
    core::Core,
    publisher::Effect,
    settle::{Settlement, Unsettled},
    views::ReviewInput,
};

/// There is nothing to shorten or to narrow any more.
pub(super) fn checked(input: &ReviewInput) -> Result<(), ControlError> {
    let message = "an emergency is reviewed as a whole, afterwards".to_owned();
    if input.duration.is_some() {
        return Err(ControlError::Invalid { field: "duration", message });
    }
    if !input.scope.is_whole() {
        return Err(ControlError::Invalid { field: "scope", message });
    }
    Ok(())
}

/// Puts `review` of `reviewed` on record. A conflict if somebody else was quicker, or the grant moved.
pub(super) async fn settle(
    core: &Arc<Core>,
    op: &OpContext,
    reviewed: AccessRequest,
    review: &Review,
    signed: Option<Signed>,
) -> Result<AccessRequest, Unsettled> {
    let event = core.event(op, EventType::EmergencyReviewed);
    let mut changes = vec![Change::ReviewAfterwards(reviewed.clone())];
    changes.extend(on_record(event, &reviewed, review, signed));
    let mut settlement = Settlement { changes, ..Settlement::default() };
    if review.decision == Decision::Decline {
        end(core, op, &reviewed, &mut settlement).await.map_err(Unsettled::Failed)?;
    }
    core.settle(settlement).await?;
    Ok(reviewed)
}

async fn end(
    core: &Core,
    op: &OpContext,
    request: &AccessRequest,
    into: &mut Settlement,
) -> Result<(), ControlError> {
    let AccessRequestState::Approved { grants, .. } = &request.state else { return Ok(()) };
    let by = op.caller().and_then(|caller| caller.principal().person);
    for id in grants {
        let Some(grant) = core.store.grant(*id).await? else { continue };
        sealed::end_with(core, op, &grant, into).await?;
        let (seen, why) = (grant.version, GrantEnd::Revoked);
        // One that has ended already has no end to be made.
        let Ok(ended) = grant.end(op.now(), why, by) else { continue };
        into.changes.extend(grants::changes(core, op, &ended, seen, why));
        into.at_once.push(Effect::Grant(ended));
    }
    Ok(())
}

//! Spending one use of a counted grant: durably, exactly once, before anything is sent.

use std::sync::Arc;

use portcullis_model::{EventType, Grant, GrantEnd, GrantId, GrantState, RequestId};
use portcullis_store::{Change, StoreError};

use super::{grants, issue};
use crate::{
    ControlError, OpContext,
    core::Core,
    ports::ConsumeError,
    publisher::Effect,
    settle::{Settlement, Unsettled},
};

pub(crate) async fn consume(
    core: &Arc<Core>,
    id: GrantId,
    request: RequestId,
) -> Result<(), ConsumeError> {
    let mut last_seen = None;
    // Uses that others spend meanwhile move the version; as long as it moves, there may be one left.
    loop {
        let op = OpContext::system("gate", core.now());
        let found = core.store.grant(id).await.map_err(unavailable)?;
        let grant = found.ok_or(ConsumeError::Over)?;
        // A conflict without a new version is this very request, which has spent its use.
        if last_seen.replace(grant.version) == Some(grant.version) {
            return Err(ConsumeError::Over);
        }
        match spend(core, &op, grant, request).await {
            Err(Unsettled::Conflict) => {}
            Ok(spent) => return spent,
            Err(Unsettled::Failed(error)) => {
                tracing::error!(grant = %id, %error, "a use could not be spent");
                return Err(ConsumeError::Unavailable);
            }
        }
    }
}

async fn spend(
    core: &Arc<Core>,
    op: &OpContext,
    grant: Grant,
    request: RequestId,
) -> Result<Result<(), ConsumeError>, Unsettled> {
    let seen_version = grant.version;
    let Ok(used) = grant.clone().consume(op.now(), request) else {
        // The snapshot may be behind a commit whose answer was lost.
        core.publisher.publish(vec![Effect::Grant(grant)], core.now());
        return Ok(Err(ConsumeError::Over));
    };
    let mut event = core.event(op, EventType::GrantUsed);
    issue::describe(&mut event, &used);
    event.principal = Some(used.principal.clone());
    event.request = Some(request);
    event.detail = used.max_uses.map(|max| format!("use {} of {max}", used.uses));
    let mut settlement = Settlement::default();
    settlement.changes.push(Change::SpendUse { grant: used.id, request, at: op.now() });
    settlement.changes.push(Change::Record(event));
    match used.state {
        GrantState::Ended { .. } => {
            let ended = grants::changes(core, op, &used, seen_version, GrantEnd::UsedUp);
            settlement.changes.extend(ended);
            settlement.at_once.push(Effect::Grant(used));
        }
        GrantState::InForce => {
            settlement.changes.push(Change::MoveGrant { grant: used.clone(), seen_version });
            settlement.quietly.push(Effect::Grant(used));
        }
    }
    core.settle(settlement).await?;
    Ok(Ok(()))
}

fn unavailable(error: StoreError) -> ConsumeError {
    tracing::error!(error = %ControlError::from(error), "a grant cannot be read");
    ConsumeError::Unavailable
}

//! Proofs of what is on record. Reading them is on record as reading the record is.

use std::sync::Arc;

use portcullis_model::{EventType, GrantId};
use portcullis_store::Change;

use super::{
    grants,
    record::{reading, unavailable},
};
use crate::{ControlError, OpContext, core::Core, ports::LogPath, settle::Settlement};

const BEYOND: ControlError = ControlError::NotFound("the record");
const REMOVED: ControlError =
    ControlError::NotFound("the record, which retention has removed, and so its proof,");

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) async fn record(core: &Arc<Core>, op: &OpContext, seq: u64) -> Result<String> {
    reading(core, op, &format!("proof of {seq}")).await?;
    proof(core, seq).await
}

pub(crate) async fn inclusion(
    core: &Arc<Core>,
    op: &OpContext,
    seq: u64,
    size: Option<u64>,
) -> Result<LogPath> {
    reading(core, op, &format!("proof of {seq}")).await?;
    core.log.inclusion(seq, size).await.map_err(unavailable)?.ok_or(BEYOND)
}

pub(crate) async fn consistency(
    core: &Arc<Core>,
    op: &OpContext,
    from: u64,
    to: Option<u64>,
) -> Result<LogPath> {
    reading(core, op, &format!("consistency from {from}")).await?;
    core.log.consistency(from, to).await.map_err(unavailable)?.ok_or(BEYOND)
}

/// Where the log has the start of a grant that the caller may see.
pub(crate) async fn place_of_grant(
    core: &Core,
    op: &OpContext,
    id: GrantId,
) -> Result<Option<u64>> {
    grants::one(core, op, id).await?;
    Ok(core.store.place_of_grant(id).await?)
}

/// The proof of a grant's own event. Whoever may see the grant may see that.
pub(crate) async fn grant(core: &Arc<Core>, op: &OpContext, id: GrantId) -> Result<String> {
    let place = place_of_grant(core, op, id).await?;
    let place = place.ok_or(ControlError::NotFound("the grant's start on record"))?;
    let mut event = core.event(op, EventType::RecordRead);
    event.grant = Some(id);
    event.detail = Some(format!("proof of {place}"));
    let changes = vec![Change::Record(event)];
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    proof(core, place).await
}

async fn proof(core: &Core, seq: u64) -> Result<String> {
    if let Some(proof) = core.log.prove(seq).await.map_err(unavailable)? {
        return Ok(proof);
    }
    let removed = core.log.removed().await.map_err(unavailable)?;
    let is_removed = removed.iter().any(|(from, to)| (*from..*to).contains(&seq));
    Err(if is_removed { REMOVED } else { BEYOND })
}

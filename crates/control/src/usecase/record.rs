//! Reading the record. Whoever reads it is on it.

pub(super) mod scan;

use std::sync::Arc;

use portcullis_model::{Event, EventFilter, EventType};
use portcullis_store::Change;

use crate::{
    ControlError, OpContext, core::Core, ports::LogUnavailable, rights, settle::Settlement,
    views::EventPart,
};

const MOST: usize = 1000;
/// Characters of a question that go on record.
const MOST_ASKED: usize = 600;

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) async fn events(
    core: &Arc<Core>,
    op: &OpContext,
    mut filter: EventFilter,
) -> Result<EventPart> {
    reading(core, op, &filter.to_string()).await?;
    filter.limit = filter.limit.clamp(1, MOST);
    let size = core.log.size().await.map_err(unavailable)?;
    scan::part(core, &filter, size).await.map_err(unavailable)
}

pub(crate) async fn log_file(core: &Arc<Core>, op: &OpContext, path: &str) -> Result<Vec<u8>> {
    reading(core, op, path).await?;
    let file = core.log.file(path).await.map_err(unavailable)?;
    file.ok_or(ControlError::NotFound("the file"))
}

pub(super) async fn reading(core: &Arc<Core>, op: &OpContext, what: &str) -> Result<()> {
    rights::caller(op)?;
    let allowed = rights::may_view_audit(&core.snapshot(), op);
    let kind = if allowed { EventType::RecordRead } else { EventType::ControlRefused };
    let mut event = core.event(op, kind);
    event.detail = Some(what.chars().filter(|c| !c.is_control()).take(MOST_ASKED).collect());
    let changes = vec![Change::Record(event)];
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    let why = "reading the record takes `viewAudit`";
    if allowed { Ok(()) } else { Err(ControlError::Denied(why.into())) }
}

pub(super) fn unavailable(_: LogUnavailable) -> ControlError {
    ControlError::Unavailable("the record cannot be read at the moment".into())
}

/// Puts something on record that changes nothing else: the process started, or stops.
pub(crate) async fn note(core: &Arc<Core>, event: Event) -> Result<()> {
    let changes = vec![Change::Record(event)];
    Ok(core.settle(Settlement { changes, ..Settlement::default() }).await?)
}

//! Reading the record. Whoever reads it is on it.

pub(crate) mod scan;
mod search;

use std::sync::Arc;

use portcullis_model::{Event, EventFilter, EventType};
use portcullis_store::Change;

use crate::{
    ControlError, OpContext,
    core::Core,
    ports::LogUnavailable,
    rights,
    settle::Settlement,
    views::{EventLine, EventPart},
};

const MOST: usize = 1000;
/// Characters of a question that go on record.
const MOST_ASKED: usize = 600;

/// Events that are in memory at one time, where all are read.
const TOGETHER: usize = 256;
const NOT_ALLOWED: &str = "reading the record takes `viewAudit`";

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) async fn events(
    core: &Arc<Core>,
    op: &OpContext,
    mut filter: EventFilter,
) -> Result<EventPart> {
    reading(core, op, &filter.to_string()).await?;
    filter.limit = filter.limit.clamp(1, MOST);
    let size = core.log.size().await.map_err(unavailable)?;
    search::part(core, &filter, size).await.map_err(unavailable)
}

/// All that the record has now and that answers, part after part, in the order of the log.
#[derive(Debug)]
pub(crate) struct Parts {
    core: Arc<Core>,
    filter: EventFilter,
    is_over: bool,
}

impl Parts {
    pub(crate) async fn new(core: &Arc<Core>, mut filter: EventFilter) -> Result<Self> {
        filter.limit = TOGETHER;
        filter.newest = false;
        // What comes while it is read is not part of it.
        filter.before = Some(core.log.size().await.map_err(unavailable)?);
        Ok(Self { core: Arc::clone(core), filter, is_over: false })
    }

    /// The next events; `None` after the last. There may be none in a part.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<EventLine>>> {
        if self.is_over {
            return Ok(None);
        }
        let size = self.core.log.size().await.map_err(unavailable)?;
        let part = search::part(&self.core, &self.filter, size).await.map_err(unavailable)?;
        self.is_over = !part.more;
        self.filter.from = part.next.or(self.filter.from);
        Ok(Some(part.lines))
    }
}

/// An export of what the record has now.
#[derive(Debug)]
pub struct Export {
    parts: Parts,
    op: OpContext,
}

impl Export {
    /// The next events; `None` after the last. There may be none in a part. Ends with an error if the caller may
    /// not view the record any more.
    pub async fn part(&mut self) -> Result<Option<Vec<EventLine>>> {
        if !rights::may_view_audit(&self.parts.core.snapshot(), &self.op) {
            return Err(ControlError::Denied(NOT_ALLOWED.into()));
        }
        self.parts.next().await
    }
}

pub(crate) async fn export(
    core: &Arc<Core>,
    op: &OpContext,
    filter: EventFilter,
    format: &str,
) -> Result<Export> {
    reading(core, op, &format!("export of {filter} as {format}")).await?;
    Ok(Export { parts: Parts::new(core, filter).await?, op: op.clone() })
}

/// What comes to the record and answers, from its newest on: as long as somebody looks.
#[derive(Debug)]
pub struct Following {
    core: Arc<Core>,
    filter: EventFilter,
}

impl Following {
    /// The newest that came since the last time, the newest first; at first, the newest there are. What is more
    /// than the limit is left out.
    pub async fn part(&mut self, op: &OpContext) -> Result<Vec<EventLine>> {
        if !rights::may_view_audit(&self.core.snapshot(), op) {
            return Err(ControlError::Denied(NOT_ALLOWED.into()));
        }
        let size = self.core.log.size().await.map_err(unavailable)?;
        if self.filter.from.is_some_and(|from| from >= size) {
            return Ok(Vec::new());
        }
        let part = search::part(&self.core, &self.filter, size).await.map_err(unavailable)?;
        self.filter.from = Some(part.size);
        Ok(part.lines)
    }
}

pub(crate) async fn follow(
    core: &Arc<Core>,
    op: &OpContext,
    mut filter: EventFilter,
) -> Result<Following> {
    reading(core, op, &format!("{filter} as they come")).await?;
    filter.limit = filter.limit.clamp(1, MOST);
    filter.newest = true;
    Ok(Following { core: Arc::clone(core), filter })
}

pub(crate) async fn log_file(core: &Arc<Core>, op: &OpContext, path: &str) -> Result<Vec<u8>> {
    reading(core, op, path).await?;
    let file = core.log.file(path).await.map_err(unavailable)?;
    file.ok_or(ControlError::NotFound("the file"))
}

pub(crate) async fn reading(core: &Arc<Core>, op: &OpContext, what: &str) -> Result<()> {
    rights::caller(op)?;
    let allowed = rights::may_view_audit(&core.snapshot(), op);
    let kind = if allowed { EventType::RecordRead } else { EventType::ControlRefused };
    let mut event = core.event(op, kind);
    event.detail = Some(what.chars().filter(|c| !c.is_control()).take(MOST_ASKED).collect());
    note(core, event).await?;
    if allowed { Ok(()) } else { Err(ControlError::Denied(NOT_ALLOWED.into())) }
}

pub(super) fn unavailable(_: LogUnavailable) -> ControlError {
    ControlError::Unavailable("the record cannot be read at the moment".into())
}

/// Puts something on record that changes nothing else: the process started, or stops.
pub(crate) async fn note(core: &Arc<Core>, event: Event) -> Result<()> {
    let changes = vec![Change::Record(event)];
    Ok(core.settle(Settlement { changes, ..Settlement::default() }).await?)
}

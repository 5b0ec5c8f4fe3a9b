//! Reading the record. Whoever reads it is on it.

use std::sync::Arc;

use portcullis_model::{Event, EventType};
use portcullis_store::Change;

use crate::{
    ControlError, OpContext,
    core::Core,
    ports::{LogEntry, LogUnavailable},
    rights,
    settle::Settlement,
    views::{EventFilter, EventLine},
};

const MOST: usize = 1000;
const PAGE: usize = 1024;
/// Leaves that one reading looks at, at most; the next one goes on from there.
const LOOKED_AT: u64 = 1 << 17;

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) async fn events(
    core: &Arc<Core>,
    op: &OpContext,
    filter: EventFilter,
) -> Result<Vec<EventLine>> {
    reading(core, op, "events").await?;
    let limit = filter.limit.clamp(1, MOST);
    let found = if filter.newest {
        newest(core, &filter, limit).await
    } else {
        onwards(core, &filter, limit).await
    };
    found.map_err(unavailable)
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
    event.detail = Some(what.chars().filter(|c| !c.is_control()).take(200).collect());
    let changes = vec![Change::Record(event)];
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    let why = "reading the record takes `viewAudit`";
    if allowed { Ok(()) } else { Err(ControlError::Denied(why.into())) }
}

async fn onwards(
    core: &Core,
    filter: &EventFilter,
    limit: usize,
) -> std::result::Result<Vec<EventLine>, LogUnavailable> {
    let mut from = filter.from.unwrap_or(0);
    let end = from.saturating_add(LOOKED_AT);
    let mut found = Vec::new();
    while found.len() < limit && from < end {
        let page = core.log.entries(from, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.position + 1;
        found.extend(page.into_iter().filter(|entry| matches(entry, filter)).map(line));
    }
    found.truncate(limit);
    Ok(found)
}

/// Backwards from the end, page by page; the answer is in the order of the log again.
async fn newest(
    core: &Core,
    filter: &EventFilter,
    limit: usize,
) -> std::result::Result<Vec<EventLine>, LogUnavailable> {
    let size = core.log.size().await?;
    let first = filter.from.unwrap_or(0).max(size.saturating_sub(LOOKED_AT));
    let (mut end, mut found) = (size, Vec::new());
    while found.len() < limit && end > first {
        let start = end.saturating_sub(PAGE as u64).max(first);
        let mut page = core.log.entries(start, PAGE).await?;
        page.retain(|entry| entry.position < end && matches(entry, filter));
        found.extend(page.into_iter().rev().map(line));
        end = start;
    }
    found.truncate(limit);
    found.reverse();
    Ok(found)
}

fn matches(entry: &LogEntry, filter: &EventFilter) -> bool {
    if filter.service.is_none() && filter.grant.is_none() && filter.kind.is_none() {
        return true;
    }
    // Attempts have the same field names as events, and more of them.
    let Ok(leaf) = serde_json::from_str::<serde_json::Value>(&entry.json) else { return false };
    let is = |name: &str, wanted: Option<String>| {
        wanted.is_none_or(|wanted| leaf.get(name).and_then(|value| value.as_str()) == Some(&wanted))
    };
    let grant = filter.grant.map(|grant| grant.to_string());
    is("service", filter.service.as_ref().map(ToString::to_string))
        && (is("grant", grant.clone()) || grant.is_some_and(|grant| reveals(&leaf, &grant)))
        && is("type", filter.kind.clone())
}

/// Whether this grant let somebody see sensitive data in the attempt, or the connection that ended, that `leaf`
/// is.
fn reveals(leaf: &serde_json::Value, grant: &str) -> bool {
    let ended = leaf.get("reveals").and_then(serde_json::Value::as_array);
    if ended.is_some_and(|ids| ids.iter().any(|id| id.as_str() == Some(grant))) {
        return true;
    }
    let seen = leaf.get("revealed").and_then(serde_json::Value::as_array);
    seen.is_some_and(|seen| {
        seen.iter().any(|one| one.get("grant").and_then(|id| id.as_str()) == Some(grant))
    })
}

fn line(entry: LogEntry) -> EventLine {
    EventLine { seq: entry.position, json: entry.json }
}

pub(super) fn unavailable(_: LogUnavailable) -> ControlError {
    ControlError::Unavailable("the record cannot be read at the moment".into())
}

/// Puts something on record that changes nothing else: the process started, or stops.
pub(crate) async fn note(core: &Arc<Core>, event: Event) -> Result<()> {
    let changes = vec![Change::Record(event)];
    Ok(core.settle(Settlement { changes, ..Settlement::default() }).await?)
}

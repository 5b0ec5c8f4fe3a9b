//! Looking at one entry after the other.

use portcullis_model::{EventFilter, Leaf};

use crate::{
    core::Core,
    ports::{LogEntry, LogUnavailable},
    views::{EventLine, EventPart},
};

const PAGE: usize = 1024;
/// Leaves that one reading looks at, at most; the next one goes on from there.
const LOOKED_AT: u64 = 1 << 17;

type Result<T> = std::result::Result<T, LogUnavailable>;

/// The part of the record from `filter.from` on, or before `filter.before`, that answers `filter`.
pub(crate) async fn part(core: &Core, filter: &EventFilter, size: u64) -> Result<EventPart> {
    let kept_from = kept_from(core).await?;
    if filter.newest {
        backwards(core, filter, size, kept_from).await
    } else {
        onwards(core, filter, size, kept_from).await
    }
}

/// The first entry that retention has not removed. There may be gaps behind it.
pub(crate) async fn kept_from(core: &Core) -> Result<u64> {
    let removed = core.log.removed().await?;
    Ok(removed.first().filter(|(from, _)| *from == 0).map_or(0, |(_, to)| *to))
}

async fn onwards(
    core: &Core,
    filter: &EventFilter,
    size: u64,
    kept_from: u64,
) -> Result<EventPart> {
    let mut at = filter.from.unwrap_or(0).max(kept_from);
    let end = filter.before.map_or(size, |before| before.min(size));
    let enough = at.saturating_add(LOOKED_AT).min(end);
    let mut lines = Vec::new();
    while lines.len() < filter.limit && at < enough {
        let page = core.log.entries(at, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            if entry.position >= enough {
                // All that is left before that was removed.
                at = enough;
            }
            if lines.len() == filter.limit || entry.position >= enough {
                break;
            }
            at = entry.position + 1;
            lines.extend(answer(entry, filter));
        }
    }
    let is_over = filter.before.is_some_and(|before| at >= before);
    Ok(EventPart { lines, next: (!is_over).then_some(at), more: at < end, size, kept_from })
}

async fn backwards(
    core: &Core,
    filter: &EventFilter,
    size: u64,
    kept_from: u64,
) -> Result<EventPart> {
    let first = filter.from.unwrap_or(0).max(kept_from);
    let mut end = filter.before.map_or(size, |before| before.min(size));
    let enough = end.saturating_sub(LOOKED_AT).max(first);
    let mut lines = Vec::new();
    while lines.len() < filter.limit && end > enough {
        let start = end.saturating_sub(PAGE as u64).max(enough);
        let mut page = core.log.entries(start, PAGE).await?;
        page.retain(|entry| entry.position < end);
        for entry in page.into_iter().rev() {
            if lines.len() == filter.limit {
                return Ok(EventPart { lines, next: Some(end), more: true, size, kept_from });
            }
            end = entry.position;
            lines.extend(answer(entry, filter));
        }
        end = end.min(start);
    }
    let more = end > first;
    Ok(EventPart { lines, next: more.then_some(end), more, size, kept_from })
}

fn answer(entry: LogEntry, filter: &EventFilter) -> Option<EventLine> {
    let line = EventLine { seq: entry.position, json: entry.json };
    if filter.is_open() {
        return Some(line);
    }
    let leaf: Leaf = serde_json::from_str(&line.json).ok()?;
    leaf.answers(filter).then_some(line)
}

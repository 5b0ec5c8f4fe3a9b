//! Searching by the index, and in the log where the index does not go. What it finds is read from the log, and
//! looked at: the answer is as if every entry had been.

use portcullis_model::{EventFilter, Leaf};
use portcullis_store::index::{Index, IndexError};

use super::scan;
use crate::{
    core::Core,
    ports::LogUnavailable,
    views::{EventLine, EventPart},
};

/// Candidates of one question to the index.
const CANDIDATES: usize = 512;
/// Candidates that one reading looks at, at most; the next one goes on from there.
const LOOKED_AT: usize = 1 << 14;
/// Entries that are in one file of the log: those are read together.
const TOGETHER: u64 = 256;

type Result<T> = std::result::Result<T, LogUnavailable>;

pub(super) async fn part(core: &Core, filter: &EventFilter, size: u64) -> Result<EventPart> {
    // The next entries, or those before: nothing finds them sooner than reading them.
    let index = core.index.load_full().filter(|_| !filter.is_open());
    let Some(index) = index else { return scan::part(core, filter, size).await };
    match indexed(core, &index, filter, size).await {
        Ok(part) => part,
        Err(error) => {
            tracing::warn!(%error, "the record is searched without its index");
            scan::part(core, filter, size).await
        }
    }
}

async fn indexed(
    core: &Core,
    index: &Index,
    filter: &EventFilter,
    size: u64,
) -> std::result::Result<Result<EventPart>, IndexError> {
    let covered = index.covered().await?.next.min(size);
    let Ok(kept_from) = scan::kept_from(core).await else { return Ok(Err(LogUnavailable)) };
    let mut behind = filter.clone();
    behind.from = Some(filter.from.unwrap_or(0).max(covered));
    let mut within = filter.clone();
    within.before = Some(filter.before.map_or(covered, |before| before.min(covered)));
    if !filter.newest {
        let found = match walk(core, index, within).await? {
            Ok(found) => found,
            Err(unavailable) => return Ok(Err(unavailable)),
        };
        if let Some(next) = found.next {
            return Ok(Ok(EventPart {
                lines: found.lines,
                next: Some(next),
                more: true,
                size,
                kept_from,
            }));
        }
        behind.limit = filter.limit.saturating_sub(found.lines.len());
        return Ok(rest(core, &behind, found.lines, size).await);
    }
    let newer = match rest(core, &behind, Vec::new(), size).await {
        Ok(newer) => newer,
        Err(unavailable) => return Ok(Err(unavailable)),
    };
    if newer.more || newer.lines.len() >= filter.limit {
        let next = newer.next.unwrap_or(covered);
        return Ok(Ok(EventPart { next: Some(next), more: next > 0, ..newer }));
    }
    within.limit = filter.limit - newer.lines.len();
    let found = walk(core, index, within).await?;
    Ok(found.map(|found| {
        let mut lines = newer.lines;
        lines.extend(found.lines);
        EventPart { lines, next: found.next, more: found.next.is_some(), size, kept_from }
    }))
}

/// What the index does not know of, after `lines`.
async fn rest(
    core: &Core,
    filter: &EventFilter,
    mut lines: Vec<EventLine>,
    size: u64,
) -> Result<EventPart> {
    let part = scan::part(core, filter, size).await?;
    lines.extend(part.lines);
    Ok(EventPart { lines, ..part })
}

#[derive(Debug, Default)]
struct Walked {
    lines: Vec<EventLine>,
    next: Option<u64>,
}

async fn walk(
    core: &Core,
    index: &Index,
    mut filter: EventFilter,
) -> std::result::Result<Result<Walked>, IndexError> {
    let mut walked = Walked::default();
    let mut looked_at = 0;
    loop {
        let found = index.find(&filter, CANDIDATES).await?;
        looked_at += found.positions.len();
        let read = read(core, &filter, &found.positions, &mut walked).await;
        if let Err(unavailable) = read {
            return Ok(Err(unavailable));
        }
        if walked.next.is_some() {
            return Ok(Ok(walked));
        }
        match found.next {
            None => return Ok(Ok(walked)),
            Some(next) if looked_at >= LOOKED_AT || found.positions.is_empty() => {
                walked.next = Some(next);
                return Ok(Ok(walked));
            }
            Some(next) if filter.newest => filter.before = Some(next),
            Some(next) => filter.from = Some(next),
        }
    }
}

/// Reads candidates, those of one file together, and takes those that answer until there are enough.
async fn read(
    core: &Core,
    filter: &EventFilter,
    positions: &[u64],
    walked: &mut Walked,
) -> Result<()> {
    let same_file = |a: &u64, b: &u64| a / TOGETHER == b / TOGETHER;
    for wanted in positions.chunk_by(same_file) {
        let (Some(one), Some(other)) = (wanted.first(), wanted.last()) else { continue };
        let (first, last) = (*one.min(other), *one.max(other));
        let count = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
        let mut entries = core.log.entries(first, count).await?;
        if filter.newest {
            entries.reverse();
        }
        for entry in entries.into_iter().filter(|entry| wanted.contains(&entry.position)) {
            if walked.lines.len() == filter.limit {
                let at = entry.position;
                walked.next = Some(if filter.newest { at + 1 } else { at });
                return Ok(());
            }
            let line = EventLine { seq: entry.position, json: entry.json };
            let leaf = serde_json::from_str::<Leaf>(&line.json);
            if leaf.is_ok_and(|leaf| leaf.answers(filter)) {
                walked.lines.push(line);
            }
        }
    }
    Ok(())
}

//! Finding candidates: the blocks that all parts of a question are in, and of those the places.

use portcullis_model::EventFilter;
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    BLOCK, Result,
    bits::Bits,
    streams::{Span, Stream},
    tables::position,
};

/// Blocks that one search looks at, at most; the next one goes on from there.
const MOST_STEPS: usize = 8192;

/// Where answers may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Positions, in the order that was asked for.
    pub positions: Vec<u64>,
    /// Where to go on: from there, or, the newest first, before it. Absent if the index has no more.
    pub next: Option<u64>,
}

/// The part of the log that is looked at: from the first position, before the second.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    from: u64,
    before: u64,
}

pub(super) async fn find(
    readers: &SqlitePool,
    filter: &EventFilter,
    at_most: usize,
) -> Result<Found> {
    // One transaction: all parts are of one moment.
    let mut tx = readers.begin().await?;
    let covered = sqlx::query_scalar("SELECT next FROM covered").fetch_one(&mut *tx).await?;
    let covered = position(covered)?;
    let mut found = Found::default();
    let bounds = Bounds {
        from: filter.from.unwrap_or(0),
        before: filter.before.map_or(covered, |before| before.min(covered)),
    };
    if bounds.from < bounds.before
        && let Some(mut streams) = streams(&mut tx, filter).await?
    {
        walk(&mut tx, &mut streams, filter.newest, bounds, at_most, &mut found).await?;
    }
    Ok(found)
}

/// The time that is asked for. Clocks are set, and blocks in between may be of other times: whoever reads the entries
/// sees it.
fn span(filter: &EventFilter) -> Option<Span> {
    // Cutting off what is finer moves no time past another, so nothing is missed.
    let since = filter.since.map_or(i64::MIN, jiff::Timestamp::as_microsecond);
    let until = filter.until.map_or(i64::MAX, jiff::Timestamp::as_microsecond);
    (filter.since.is_some() || filter.until.is_some()).then_some(Span { since, until })
}

/// What the parts of the question are in; `None` if one of them is nowhere.
async fn streams(db: &mut SqliteConnection, filter: &EventFilter) -> Result<Option<Vec<Stream>>> {
    let mut streams: Vec<_> =
        span(filter).map(|span| Stream::of_time(span, filter.newest)).into_iter().collect();
    for (field, value) in filter.terms() {
        let sql = "SELECT id FROM term WHERE field = ? AND value = ?";
        let term = sqlx::query_scalar(sql).bind(field.as_str()).bind(value);
        let Some(term) = term.fetch_optional(&mut *db).await? else { return Ok(None) };
        streams.push(Stream::of_term(term, filter.newest));
    }
    if let Some(words) = &filter.words {
        let guess = !filter.terms().is_empty();
        streams.push(Stream::of_words(words.phrases(), filter.newest, guess));
    }
    Ok(Some(streams))
}

async fn walk(
    db: &mut SqliteConnection,
    streams: &mut [Stream],
    newest: bool,
    bounds: Bounds,
    at_most: usize,
    found: &mut Found,
) -> Result<()> {
    let (first, last) = (bounds.from / BLOCK, (bounds.before - 1) / BLOCK);
    let mut target = if newest { last } else { first };
    for _ in 0..MOST_STEPS {
        let Some((block, bits)) = meet(db, streams, target).await? else { return Ok(()) };
        if !(first..=last).contains(&block) {
            return Ok(());
        }
        target = block;
        if let Some(bits) = bits {
            if take(block, &bits, newest, bounds, at_most, found) {
                return Ok(());
            }
            let is_last = if newest { block == first } else { block == last };
            if is_last {
                return Ok(());
            }
            target = if newest { block - 1 } else { block + 1 };
        }
    }
    found.next = Some(if newest { (target + 1) * BLOCK } else { target * BLOCK });
    Ok(())
}

/// What all parts have in block `target`; or the block past it where they may meet, if one of them is not there.
async fn meet(
    db: &mut SqliteConnection,
    streams: &mut [Stream],
    target: u64,
) -> Result<Option<(u64, Option<Bits>)>> {
    let mut common = Bits::ALL;
    for stream in streams {
        match stream.seek(db, target).await? {
            None => return Ok(None),
            Some((block, _)) if *block != target => return Ok(Some((*block, None))),
            Some((_, bits)) => common.keep(bits),
        }
    }
    Ok(Some((target, Some(common))))
}

/// Takes what is within bounds; whether that is enough, with the place to go on then.
fn take(
    block: u64,
    bits: &Bits,
    newest: bool,
    bounds: Bounds,
    at_most: usize,
    found: &mut Found,
) -> bool {
    let mut add = |place: u16| {
        let at = block * BLOCK + u64::from(place);
        if !(bounds.from..bounds.before).contains(&at) {
            return false;
        }
        if found.positions.len() == at_most {
            found.next = Some(if newest { at + 1 } else { at });
            return true;
        }
        found.positions.push(at);
        false
    };
    if newest { bits.places().rev().any(&mut add) } else { bits.places().any(&mut add) }
}

//! Retention: whole sealed segments whose newest entry is older than the limit are removed.
//!
//! What is removed is on record before it happens, with all that was removed before: the newest of these
//! records speaks for every gap. From then on it is done, and done again after a crash, until it is gone here,
//! where the record is shipped to, from the index and from the store. Nothing goes that is not shipped yet,
//! that hands the log's key over, that a sink or the alert rules have not read, or that a legal hold keeps.
//! What cannot be read stays, and what is not what was signed: nobody who can write files and has no key says
//! what is old, what is held, or what is removed already.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{Event, EventId, EventType, Leaf, LegalHoldId, RemovalNote, RemovedRange};
use portcullis_store::{Change, RetentionChange};

use super::{content, legal_holds::InForce, record::unavailable};
use crate::{
    ControlError, OpContext, alerts,
    core::Core,
    keeping::{KeptSegment, Retention},
    ports::LogUnavailable,
    settle::{Settlement, Unsettled, no_record},
};

/// A look costs a list of files and a few entries.
const LOOK_EVERY: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_secs(10);
/// Between two parts of what is due.
const NEXT: Duration = Duration::from_secs(1);
/// Until what somebody has to see to is looked at again.
const LATER: Duration = Duration::from_hours(1);
/// The same, for one segment.
const UNREAD: SignedDuration = SignedDuration::from_hours(1);
/// Segments that go with one record, at most.
const TOGETHER: usize = 64;
/// Gaps that one record speaks for, at most: it has to fit into an entry.
const MOST_RANGES: usize = 128;
/// So many segments in a row that are too young end the search: entries come nearly in the order of time.
const YOUNG: usize = 3;
/// Whole bundles.
const PAGE: u64 = 1024;
/// Ranges that are said in words.
const SAID: usize = 4;
const CAUSE: &str = "retention";

type Result<T> = std::result::Result<T, ControlError>;

/// The background task.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(retention) = core.settings.retention.clone() else { return };
    let mut looked = Looked::default();
    let mut said = String::new();
    let mut caught_up = core.caught_up.subscribe();
    if caught_up.wait_for(|done| *done).await.is_err() {
        return;
    }
    loop {
        let pause = match round(&core, &retention, &mut looked).await {
            Ok(pause) => {
                if pause == LOOK_EVERY {
                    said.clear();
                }
                pause
            }
            Err(error) => {
                let error = error.to_string();
                if said != error {
                    tracing::warn!(%error, "retention waits");
                    said = error;
                }
                AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Why segments stayed that are old enough: they are not read again for the same reason.
#[derive(Debug, Default)]
struct Looked {
    holds: Vec<LegalHoldId>,
    /// By their first entry.
    stay: HashMap<u64, Stays>,
}

/// For how long a segment stays whose last entry is old enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stays {
    /// Until its newest entry is old enough, too, or it is worth another look.
    Until(Timestamp),
    /// For as long as the holds are the same: something in it is held, or has no time.
    Held,
}

/// What goes with one record.
#[derive(Debug, Default)]
struct Due {
    segments: Vec<(u64, u64)>,
    /// Everything that is gone then.
    all: Vec<(u64, u64)>,
    /// Something waits until gaps have grown together.
    waits: bool,
}

/// Does what is under way, or begins what is due. Says how long to wait then.
async fn round(core: &Arc<Core>, retention: &Retention, looked: &mut Looked) -> Result<Duration> {
    if let Some(event) = core.store.removal_under_way().await? {
        finish(core, retention, event).await?;
        return Ok(NEXT);
    }
    let Some(after) = retention.after else { return Ok(LOOK_EVERY) };
    let Ok(before) = core.now().checked_sub(after) else { return Ok(LOOK_EVERY) };
    let in_force = InForce::load(core).await?;
    let Some(due) = due(core, retention, before, &in_force, looked).await? else {
        return Ok(LATER);
    };
    if due.segments.is_empty() {
        if due.waits {
            tracing::warn!(
                "retention waits: there are too many gaps in the record for another one"
            );
        }
        return Ok(if due.waits { LATER } else { LOOK_EVERY });
    }
    // What was signed cannot be told: the keeper said why.
    let Ok(note) = note(retention, before, &due).await else { return Ok(LATER) };
    begin(core, &in_force, note).await?;
    Ok(NEXT)
}

/// The segments to be removed; `None` if nothing can be while what is gone already is not explained.
async fn due(
    core: &Core,
    retention: &Retention,
    before: Timestamp,
    in_force: &InForce,
    looked: &mut Looked,
) -> Result<Option<Due>> {
    if looked.holds != in_force.ids() {
        *looked = Looked { holds: in_force.ids(), ..Looked::default() };
    }
    let read_until = read_until(core).await?;
    let (mut due, mut known, mut young) = (Due::default(), false, 0);
    for segment in retention.keeper.segments().await.map_err(unavailable)? {
        if segment.stays.is_some() || segment.to > read_until || looked.stays(&segment, before) {
            continue;
        }
        match newest(core, segment.to - 1, 1).await {
            Ok(Some(newest)) if newest < before => young = 0,
            Ok(_) => {
                young += 1;
                if young >= YOUNG {
                    break;
                }
                continue;
            }
            Err(error) => {
                looked.unread(&segment, before, &error);
                continue;
            }
        }
        if !known {
            // The keeper said why.
            let Ok(removed) = retention.keeper.removed().await else { return Ok(None) };
            due.all = removed.iter().map(|range| (range.from, range.to)).collect();
            known = true;
        }
        let all = united(due.all.iter().chain([&(segment.from, segment.to)]));
        // The oldest first: what would need more gaps than fit waits until some have grown together.
        if all.len() > MOST_RANGES {
            due.waits = true;
            continue;
        }
        match stays(core, retention, &segment, before, in_force).await {
            Ok(Some(why)) => {
                looked.stay.insert(segment.from, why);
            }
            Ok(None) => {
                due.segments.push((segment.from, segment.to));
                due.all = all;
            }
            Err(error) => looked.unread(&segment, before, &error),
        }
        if due.segments.len() >= TOGETHER {
            break;
        }
    }
    Ok(Some(due))
}

impl Looked {
    fn stays(&self, segment: &KeptSegment, before: Timestamp) -> bool {
        match self.stay.get(&segment.from) {
            Some(Stays::Held) => true,
            Some(Stays::Until(time)) => *time >= before,
            None => false,
        }
    }

    /// It stays, and the others do not wait for it.
    fn unread(&mut self, segment: &KeptSegment, before: Timestamp, error: &ControlError) {
        let (from, to) = (segment.from, segment.to - 1);
        tracing::warn!(
            from,
            to,
            %error,
            "entries that may be old enough to go, or what holds them, cannot be read as they were signed or \
             stored: they stay"
        );
        let again = before.checked_add(UNREAD).unwrap_or(Timestamp::MAX);
        self.stay.insert(segment.from, Stays::Until(again));
    }
}

/// The newest time of these entries; `None` if one of them has none.
async fn newest(core: &Core, from: u64, count: usize) -> Result<Option<Timestamp>> {
    let page = core.log.entries(from, count).await.map_err(unavailable)?;
    let time = |json: &str| serde_json::from_str::<Leaf>(json).ok().and_then(|leaf| leaf.time());
    let times: Option<Vec<_>> = page.iter().map(|entry| time(&entry.json)).collect();
    Ok(times.and_then(|times| times.into_iter().max()))
}

/// Whether a segment stays all the same, by what was signed: age and holds are judged on the entries that are
/// proved, and not on what is read a second time.
async fn stays(
    core: &Core,
    retention: &Retention,
    segment: &KeptSegment,
    before: Timestamp,
    in_force: &InForce,
) -> Result<Option<Stays>> {
    let mut at = segment.from;
    while at < segment.to {
        let page = retention.keeper.entries(at, PAGE.min(segment.to - at)).await;
        let page = page.map_err(unavailable)?;
        if page.is_empty() {
            return Err(unavailable(LogUnavailable));
        }
        for entry in page {
            if entry.position != at {
                return Err(unavailable(LogUnavailable));
            }
            at += 1;
            let leaf = serde_json::from_str::<Leaf>(&entry.json).ok();
            let Some(time) = leaf.and_then(|leaf| leaf.time()) else {
                return Ok(Some(Stays::Held));
            };
            if time >= before {
                return Ok(Some(Stays::Until(time)));
            }
            if let Some(hold) = in_force.holding(core, &entry.json).await? {
                let (from, to) = (segment.from, segment.to - 1);
                tracing::info!(hold = %hold.id, from, to, "a legal hold keeps entries that are old enough to go");
                return Ok(Some(Stays::Held));
            }
        }
    }
    Ok(None)
}

/// Up to where sinks and alert rules have read.
async fn read_until(core: &Core) -> Result<u64> {
    let mut until = u64::MAX;
    let sinks = core.exports.each().map(|one| one.spec.reader());
    let rules = (!core.alerts.rules().is_empty()).then(|| alerts::READER.to_owned());
    for reader in sinks.chain(rules) {
        let cursor = core.store.export_cursor(&reader).await?;
        until = until.min(cursor.map_or(0, |cursor| cursor.next));
    }
    Ok(until)
}

/// What the record is going to say.
async fn note(
    retention: &Retention,
    before: Timestamp,
    due: &Due,
) -> std::result::Result<RemovalNote, LogUnavailable> {
    Ok(RemovalNote {
        cause: CAUSE.to_owned(),
        policy: retention.policy.clone(),
        older_than: before,
        now: with_digests(retention, &united(due.segments.iter())).await?,
        removed: with_digests(retention, &due.all).await?,
    })
}

/// Puts on record what is removed.
async fn begin(core: &Arc<Core>, in_force: &InForce, note: RemovalNote) -> Result<()> {
    let op = OpContext::system(CAUSE, core.now());
    let mut event = core.event(&op, EventType::RecordRemoved);
    let now: Vec<_> = note.now.iter().map(|range| (range.from, range.to)).collect();
    event.detail = Some(words(&now, &note.policy));
    event.removal = Some(Box::new(note));
    let begin = RetentionChange::Begin { event: event.id, seen_holds: in_force.seen };
    let changes = vec![Change::Retention(Box::new(begin)), Change::Record(event)];
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        // Somebody placed a hold meanwhile: it is looked at again.
        Ok(()) | Err(Unsettled::Conflict) => Ok(()),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

async fn with_digests(
    retention: &Retention,
    ranges: &[(u64, u64)],
) -> std::result::Result<Vec<RemovedRange>, LogUnavailable> {
    let mut all = Vec::new();
    for (from, to) in ranges.iter().copied() {
        let digest = retention.keeper.digest(from, to).await?;
        all.push(RemovedRange { from, to, digest });
    }
    Ok(all)
}

/// What follows one another as one range, in the order of the log.
fn united<'a>(ranges: impl Iterator<Item = &'a (u64, u64)>) -> Vec<(u64, u64)> {
    let mut sorted: Vec<_> = ranges.copied().collect();
    sorted.sort_unstable();
    let mut all: Vec<(u64, u64)> = Vec::new();
    for (from, to) in sorted {
        match all.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => all.push((from, to)),
        }
    }
    all
}

fn words(ranges: &[(u64, u64)], policy: &str) -> String {
    let said = ranges.iter().take(SAID).map(|(from, to)| format!("{from} to {}", to - 1));
    let mut said = said.collect::<Vec<_>>().join(", ");
    if ranges.len() > SAID {
        said.push_str(", …");
    }
    format!("entries {said} are removed by retention of {policy}")
}

/// Does what is on record, everywhere. Each step can be repeated.
async fn finish(core: &Arc<Core>, retention: &Retention, event: EventId) -> Result<()> {
    core.outbox.drain().await.map_err(|_| no_record())?;
    let position = core.store.place_of_event(event).await?.ok_or_else(no_record)?;
    // What lies there may be anybody's, and would say what is forgotten.
    let signed = retention.keeper.entry(position).await.map_err(unavailable)?;
    let removed = serde_json::from_str::<Event>(&signed.json).ok();
    let removal = removed.filter(|found| found.id == event).and_then(|found| found.removal);
    let removal = removal.ok_or_else(no_record)?;
    let gone = retention.keeper.remove(position).await;
    // A copy that cannot be removed keeps nothing here.
    for range in &removal.now {
        let forget = RetentionChange::Forget { from: range.from, to: range.to };
        core.store.commit(vec![Change::Retention(Box::new(forget))]).await?;
        forget_in_index(core, range).await?;
    }
    content::scrub(core).await;
    gone.map_err(|error| {
        ControlError::Unavailable(format!("what is on record as removed is not all gone: {error}"))
    })?;
    let done = Change::Retention(Box::new(RetentionChange::Done(event)));
    core.store.commit(vec![done]).await?;
    let ranges: Vec<_> = removal.now.iter().map(|range| (range.from, range.to)).collect();
    tracing::info!(position, "{}", words(&ranges, &removal.policy));
    Ok(())
}

/// One that is not there yet is waited for: it may know of what is gone.
async fn forget_in_index(core: &Core, range: &RemovedRange) -> Result<()> {
    if core.settings.index.is_none() {
        return Ok(());
    }
    let later = || ControlError::Unavailable("the index of the record is not there yet".into());
    let index = core.index.load_full().ok_or_else(later)?;
    let forgotten = index.forget(range.from, range.to).await;
    forgotten.map_err(|error| ControlError::Unavailable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let all = [(10, 20), (0, 5), (20, 30), (40, 50), (5, 7)];
        assert_eq!(united(all.iter()), [(0, 7), (10, 30), (40, 50)]);
        assert_eq!(
            words(&united(all.iter()), "400d"),
            "entries 0 to 6, 10 to 29, 40 to 49 are removed by retention of 400d"
        );
    }
}

//! What the record says and the store lacks, because the store was set back to a copy of before.
//!
//! At each start the record is read on from where the store had followed it, as it was signed: legal holds are
//! placed and released again, what was removed is forgotten again, and where records commit to content is noted
//! again. How far the store follows it is in the store, and so is set back with it. Until that is done nothing is
//! removed, erased or swept: what must stay may not be known yet. While the process runs nothing is read twice:
//! whatever comes to the record comes from this very store.
//!
//! What cannot be read as it was signed is waited for: who could write files would otherwise only have to overwrite
//! a hold. So is what this version does not understand: only events of holds that earlier versions wrote, without
//! the hold, are passed over, and said. What the store alone knew (grants, sign-ins, people) is not brought back.

use std::{sync::Arc, time::Duration};

use portcullis_model::{Event, EventType, LegalHold, LegalHoldId, RemovalNote, RemovedRange};
use portcullis_store::{Change, ExportChange, ExportCursor, RetentionChange};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{content, record::unavailable};
use crate::{
    ControlError,
    core::Core,
    ports::{LogEntry, LogUnavailable},
    settle::no_record,
};

/// The store, among those who read the record.
const READER: &str = "store";
/// Entries that are in memory at one time.
const PAGE: u64 = 1024;
/// So many are read again after a start, at most, if the store was not set back, and what came while nobody looked.
const STEP: u64 = 65_536;
/// Until the next look while the start itself is not signed yet.
const SOON: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(5);
const FOLLOW_EVERY: Duration = Duration::from_mins(1);
/// How long somebody who asks for something is kept waiting.
const PATIENCE: Duration = Duration::from_secs(5);

const NOT_YET: &str =
    "the record is still being looked through for what the store may lack; try again in a moment";

type Result<T> = std::result::Result<T, ControlError>;
/// An entry, taken apart.
type Members = Map<String, Value>;

/// The background task.
pub(crate) async fn run(core: Arc<Core>) {
    let mut said = String::new();
    loop {
        match catch_up(&core).await {
            Ok(true) => break,
            Ok(false) => tokio::time::sleep(SOON).await,
            Err(error) => {
                let error = error.to_string();
                if said != error {
                    tracing::warn!(
                        %error,
                        "nothing is removed or erased before the record was looked through for what the store lacks"
                    );
                    said = error;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    core.caught_up.send_replace(true);
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        if let Err(error) = follow(&core).await {
            tracing::warn!(%error, "more of the record than need be is read again at the next start");
        }
    }
}

/// Waits until the store knows what the record says must stay.
pub(crate) async fn caught_up(core: &Core) -> Result<()> {
    let mut caught_up = core.caught_up.subscribe();
    match tokio::time::timeout(PATIENCE, caught_up.wait_for(|done| *done)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(ControlError::Unavailable(NOT_YET.into())),
    }
}

/// Whether it is done: not before what was on record at the start is signed.
async fn catch_up(core: &Arc<Core>) -> Result<bool> {
    core.outbox.drain().await.map_err(|_| no_record())?;
    // What came before this start lies before the event that says so.
    let started = core.started.get().copied().ok_or_else(no_record)?;
    let started = core.store.place_of_event(started).await?.ok_or_else(no_record)?;
    if core.log.size().await.map_err(unavailable)? <= started {
        return Ok(false);
    }
    let removed = removed(core).await.map_err(unavailable)?;
    // Further than the record is: it is another record, and no place in this one.
    let known = followed(core).await?.filter(|known| *known <= started).unwrap_or(0);
    let (mut at, mut noted) = (known, known);
    while at < started {
        if let Some(gone) = removed.iter().find(|range| range.has(at)) {
            at = gone.to;
            continue;
        }
        let gap = removed.iter().map(|range| range.from).filter(|from| *from > at).min();
        let count = gap.map_or(PAGE, |gap| PAGE.min(gap - at));
        let page = page(core, at, count).await.map_err(unavailable)?;
        let last = page.last().ok_or_else(|| unavailable(LogUnavailable))?;
        at = last.position + 1;
        take_in(core, &page).await?;
        if at >= noted + STEP {
            note(core, at).await?;
            noted = at;
        }
    }
    note(core, at).await?;
    Ok(true)
}

/// What is removed from the record, as it was signed.
async fn removed(core: &Core) -> std::result::Result<Vec<RemovedRange>, LogUnavailable> {
    match &core.settings.retention {
        Some(retention) => retention.keeper.removed().await,
        None => Ok(Vec::new()),
    }
}

/// The entry at `at` and some of those behind it, as they were signed.
async fn page(
    core: &Core,
    at: u64,
    count: u64,
) -> std::result::Result<Vec<LogEntry>, LogUnavailable> {
    let Some(retention) = &core.settings.retention else {
        return core.log.entries(at, usize::try_from(count).unwrap_or(usize::MAX)).await;
    };
    let mut page = retention.keeper.entries(at, count).await?;
    page.retain(|entry| entry.position >= at);
    if page.is_empty() {
        // Not yet part of what is proved as a whole.
        page.push(retention.keeper.entry(at).await?);
    }
    Ok(page)
}

async fn take_in(core: &Arc<Core>, page: &[LogEntry]) -> Result<()> {
    if !content::bind(core, page).await {
        return Err(ControlError::Unavailable("the store cannot be written".into()));
    }
    for entry in page.iter().filter(|entry| may_matter(&entry.json)) {
        let members: Members =
            serde_json::from_str(&entry.json).map_err(|_| not_understood(entry))?;
        let kind = members.get("type").and_then(|kind| EventType::deserialize(kind).ok());
        match kind {
            Some(EventType::LegalHoldPlaced | EventType::LegalHoldReleased) => {
                // Earlier versions wrote none; one that is null was not written by any.
                if members.contains_key("legal_hold") {
                    let hold = event(entry)?.legal_hold.ok_or_else(|| not_understood(entry))?;
                    hold_again(core, *hold).await?;
                } else {
                    say_without_hold(core, entry, &members).await?;
                }
            }
            Some(EventType::RecordRemoved) if members.contains_key("removal") => {
                let removal = event(entry)?.removal.ok_or_else(|| not_understood(entry))?;
                forget_again(core, &removal).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Most entries are requests, and are not taken apart.
fn may_matter(json: &str) -> bool {
    let kinds = ["\"legal_hold_placed\"", "\"legal_hold_released\"", "\"record_removed\""];
    kinds.iter().any(|kind| json.contains(kind))
}

fn event(entry: &LogEntry) -> Result<Event> {
    serde_json::from_str(&entry.json).map_err(|_| not_understood(entry))
}

fn not_understood(entry: &LogEntry) -> ControlError {
    ControlError::Unavailable(format!(
        "entry {} of the record may say what must stay, and this version cannot read it; run the version that \
         wrote it, or a newer one",
        entry.position
    ))
}

/// An earlier version placed or released a hold, and the event does not have it: if the store lacks it, people
/// have to place it again.
async fn say_without_hold(core: &Core, entry: &LogEntry, members: &Members) -> Result<()> {
    let detail = members.get("detail").and_then(Value::as_str).unwrap_or_default();
    let id = detail.strip_prefix("legal hold ").and_then(|rest| rest.split(' ').next());
    let known = match id.and_then(|id| id.parse::<LegalHoldId>().ok()) {
        Some(id) => core.store.legal_hold(id).await?,
        None => None,
    };
    if known.is_none() {
        tracing::warn!(
            position = entry.position,
            hold = id.unwrap_or_default(),
            "an earlier version put a legal hold on record without all of it, and the store does not know it; \
             place it again if it shall be in force"
        );
    }
    Ok(())
}

async fn hold_again(core: &Arc<Core>, hold: LegalHold) -> Result<()> {
    let known = core.store.legal_hold(hold.id).await?;
    let is_known = known.is_some_and(|known| !known.is_in_force() || hold.is_in_force());
    if is_known {
        return Ok(());
    }
    let what = if hold.is_in_force() { "placed" } else { "released" };
    tracing::warn!(hold = %hold.id, "the store was set back: a legal hold is {what} again, as the record says");
    let recorded = RetentionChange::Recorded(hold);
    Ok(core.store.commit(vec![Change::Retention(Box::new(recorded))]).await?)
}

async fn forget_again(core: &Arc<Core>, removal: &RemovalNote) -> Result<()> {
    let forget = |range: &RemovedRange| {
        let forget = RetentionChange::Forget { from: range.from, to: range.to };
        Change::Retention(Box::new(forget))
    };
    core.store.commit(removal.now.iter().map(forget).collect()).await?;
    content::scrub(core).await;
    Ok(())
}

/// How far the store has followed the record.
async fn followed(core: &Core) -> Result<Option<u64>> {
    Ok(core.store.export_cursor(READER).await?.map(|cursor| cursor.next))
}

async fn note(core: &Core, next: u64) -> Result<()> {
    let cursor = ExportCursor { reader: READER.to_owned(), next, said: false };
    let change = match followed(core).await? {
        Some(seen) if seen == next => return Ok(()),
        Some(seen) => ExportChange::Advance { cursor, seen },
        None => ExportChange::Begin(cursor),
    };
    Ok(core.store.commit(vec![Change::Export(Box::new(change))]).await?)
}

/// Notes how far the record has come, and with it the content that records commit to: the index tells.
async fn follow(core: &Core) -> Result<()> {
    let mut next = core.log.size().await.map_err(unavailable)?;
    if core.settings.index.is_some() {
        let Some(index) = core.index.load_full() else { return Ok(()) };
        let covered = index.covered().await;
        let covered = covered.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        next = next.min(covered.next);
    }
    if next >= followed(core).await?.unwrap_or(0) + STEP {
        note(core, next).await?;
    }
    Ok(())
}

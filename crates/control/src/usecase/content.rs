//! What `@record` keeps of requests: kept before the record commits to it, read by those who may view the record,
//! erased by those who administer.
//!
//! The record has a salted commitment. What it commits to is in the store, sealed; the keys are elsewhere. To
//! erase it deletes it and its salt and puts on record who did, when and why: the proofs of the record are not
//! touched, and nobody can find out any more what was committed to.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessRequestId, Base64Url, ContentNote, ContentParts, ErasedNote, Event, EventFilter,
    EventType, GrantId, LegalHold, Opening, OperationName, RequestContent, RequestId, Secret,
    ServiceName,
};
use portcullis_policy::{ControlAction, ControlResource};
use portcullis_store::{Change, ContentChange, StoreError, StoredContent, StoredErasure};
use serde::Deserialize;

use super::{
    legal_holds,
    parting::ROUNDS,
    record::{Parts, note, reading, unavailable},
    text,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    ports::{LogEntry, LogUnavailable},
    rights,
    seal::{self, Purpose},
    settle::{Settlement, Unsettled},
    views::{ContentState, ContentView, ErasureView},
};

/// Times that readers of the store are waited for until what was erased has left its files.
const SCRUBS: usize = 3;
/// How long after its request the record may come that commits to something, and after a start.
const SWEPT_AFTER: SignedDuration = SignedDuration::from_hours(1);

const NO_CONTENT: ControlError = ControlError::NotFound("content of this record");

const ERASED_UNSAID: &str = "it is erased; the record says so as soon as it can be written";

type Result<T> = std::result::Result<T, ControlError>;

/// Keeps `content` on stable storage; what the record says of it.
pub(crate) async fn keep(
    core: &Core,
    request: RequestId,
    parts: ContentParts,
    content: &RequestContent,
) -> std::result::Result<ContentNote, LogUnavailable> {
    let kept = sealed(core, request, content);
    let stored = kept.ok_or(LogUnavailable)?;
    let (commitment, key) = (stored.commitment.clone(), stored.key.clone());
    let changes = vec![Change::Content(Box::new(ContentChange::Keep(stored)))];
    if let Err(error) = core.store.commit(changes).await {
        tracing::error!(%error, %request, "what a policy has kept of a request cannot be kept");
        return Err(LogUnavailable);
    }
    Ok(ContentNote { commitment, key, parts })
}

fn sealed(core: &Core, request: RequestId, content: &RequestContent) -> Option<StoredContent> {
    let (name, key) = core.settings.content_keys.newest()?;
    let mut salt = vec![0; Opening::SALT];
    core.entropy.fill(&mut salt);
    let content = serde_json::to_string(content).ok()?;
    let opening = Opening { salt: Base64Url(salt), content };
    let commitment = opening.commitment();
    let about = about(request, &commitment);
    let text = Secret::new(serde_json::to_string(&opening).ok()?);
    let sealed =
        seal::seal_one_of(Purpose::Content, key, &about, text.expose(), core.entropy.as_ref());
    let sealed = sealed.inspect_err(|error| tracing::error!(%error, "content is not kept")).ok()?;
    Some(StoredContent { commitment, request, key: name.to_owned(), kept_at: core.now(), sealed })
}

/// What content belongs to: put to another record, it is read by nobody.
fn about(request: RequestId, commitment: &str) -> String {
    format!("{request} {commitment}")
}

/// What a record says that content is of.
#[derive(Debug, Deserialize)]
struct Committed {
    content: Option<ContentNote>,
    request: Option<RequestId>,
    service: Option<ServiceName>,
    operation: Option<OperationName>,
    grant: Option<GrantId>,
    access_request: Option<AccessRequestId>,
}

/// What is kept of the record with this text; `None` if it commits to nothing.
pub(crate) async fn of(core: &Core, json: &str) -> Result<Option<(ContentNote, ContentState)>> {
    let committed = serde_json::from_str::<Committed>(json).ok();
    let Some(note) = committed.and_then(|committed| committed.content) else { return Ok(None) };
    if let Some(erasure) = core.store.erasure(&note.commitment).await? {
        let StoredErasure { event, principal, erased_at, reason, .. } = erasure;
        let state = ContentState::Erased(ErasureView { event, by: principal, erased_at, reason });
        return Ok(Some((note, state)));
    }
    let stored = core.store.content(&note.commitment).await?;
    let opened = stored.and_then(|stored| opened(core, &stored));
    let state = opened.map_or(ContentState::Missing, ContentState::Kept);
    Ok(Some((note, state)))
}

/// INVARIANT: what comes out is what the record commits to.
fn opened(core: &Core, stored: &StoredContent) -> Option<Opening> {
    let key = core.settings.content_keys.lookup(&stored.key);
    if key.is_none() {
        tracing::warn!(key = stored.key, "content is kept under a key that is not here any more");
    }
    let about = about(stored.request, &stored.commitment);
    let text = seal::open_one_of(Purpose::Content, key?, &about, &stored.sealed).ok()?;
    let opening: Opening = serde_json::from_str(text.expose()).ok()?;
    Some(opening).filter(|opening| opening.commitment() == stored.commitment)
}

pub(crate) async fn read(core: &Arc<Core>, op: &OpContext, seq: u64) -> Result<ContentView> {
    reading(core, op, &format!("content of {seq}")).await?;
    let entry = entry(core, seq).await?;
    let (note, state) = of(core, &entry.json).await?.ok_or(NO_CONTENT)?;
    Ok(ContentView { seq, note, state })
}

async fn entry(core: &Core, seq: u64) -> Result<LogEntry> {
    let entries = core.log.entries(seq, 1).await.map_err(unavailable)?;
    let entry = entries.into_iter().find(|entry| entry.position == seq);
    entry.ok_or(ControlError::NotFound("the record"))
}

/// Erases what is kept of the record at `seq`, with its salt, and puts that on record.
pub(crate) async fn erase(
    core: &Arc<Core>,
    op: &OpContext,
    seq: u64,
    reason: &str,
) -> Result<ContentView> {
    let caller = rights::caller(op)?.id.id.to_string();
    may_erase(core, op, seq).await?;
    let reason = text::checked("reason", reason)?;
    let entry = entry(core, seq).await?;
    let committed: Committed = serde_json::from_str(&entry.json).map_err(|_| NO_CONTENT)?;
    let note = committed.content.ok_or(NO_CONTENT)?;
    let mut event = core.event(op, EventType::ContentErased);
    event.service = committed.service;
    event.operation = committed.operation;
    event.grant = committed.grant;
    event.access_request = committed.access_request;
    event.request = committed.request;
    event.detail = Some(reason.clone());
    let commitment = note.commitment.clone();
    event.erased = Some(Box::new(ErasedNote { seq, commitment: commitment.clone() }));
    let (id, erased_at) = (event.id, op.now());
    let erasure =
        StoredErasure { commitment, event: id, principal: caller.clone(), erased_at, reason };
    let view = ErasureView { event: id, by: caller, erased_at, reason: erasure.reason.clone() };
    settled_unless_held(core, seq, erasure, event).await?;
    scrub(core).await;
    core.outbox.drain().await.map_err(|_| ControlError::Unavailable(ERASED_UNSAID.into()))?;
    Ok(ContentView { seq, note, state: ContentState::Erased(view) })
}

/// Erases it and says so, unless a legal hold keeps it, also one that is placed just now.
async fn settled_unless_held(
    core: &Arc<Core>,
    seq: u64,
    erasure: StoredErasure,
    event: Event,
) -> Result<()> {
    for _ in 0..ROUNDS {
        let (held_back, seen) = held_back(core, seq).await?;
        if let Some(hold) = held_back {
            return Err(ControlError::Conflict(hold));
        }
        let (erasure, seen_holds) = (erasure.clone(), Some(seen));
        let commitment = erasure.commitment.clone();
        let erase = Change::Content(Box::new(ContentChange::Erase { erasure, seen_holds }));
        let changes = vec![erase, Change::Record(event.clone())];
        match core.settle(Settlement { changes, ..Settlement::default() }).await {
            Ok(()) => return Ok(()),
            Err(Unsettled::Conflict) if core.store.erasure(&commitment).await?.is_some() => {
                return Err(ControlError::Conflict("it was erased before".into()));
            }
            // Somebody placed a hold meanwhile.
            Err(Unsettled::Conflict) => {}
            Err(failed @ Unsettled::Failed(_)) => return Err(failed.into()),
        }
    }
    Err(Unsettled::Conflict.into())
}

async fn may_erase(core: &Arc<Core>, op: &OpContext, seq: u64) -> Result<()> {
    if rights::may(&core.snapshot(), op, ControlAction::Administer, ControlResource::System) {
        return Ok(());
    }
    let mut event = core.event(op, EventType::ControlRefused);
    event.detail = Some(format!("erasing the content of {seq}"));
    note(core, event).await?;
    Err(ControlError::Denied("erasing what is on record takes `administer`".into()))
}

/// Why the content of the record at `seq` must not be erased now, if it must not: a legal hold keeps it. And how
/// many holds were seen.
async fn held_back(core: &Core, seq: u64) -> Result<(Option<String>, u32)> {
    let (hold, seen) = legal_holds::looked_for(core, seq..seq.saturating_add(1)).await?;
    let why = |hold: LegalHold| {
        format!(
            "legal hold {} keeps this record and what it commits to; it has to be released",
            hold.id
        )
    };
    Ok((hold.map(why), seen))
}

/// What was deleted leaves the files too. Somebody may read from them just now; what cannot be done in a moment
/// is done by the next erasure, or when the store is opened again.
pub(crate) async fn scrub(core: &Core) {
    for _ in 0..SCRUBS {
        match core.store.scrub().await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "what was erased is still in the store's log of changes");
            }
        }
    }
}

/// What the record says was erased is erased, also where the store was set back to a time before.
pub(crate) async fn as_the_record_says(core: &Arc<Core>) -> Result<()> {
    let kind = Some("content_erased".into());
    let mut parts = Parts::new(core, EventFilter { kind, ..EventFilter::default() }).await?;
    let mut is_set_back = false;
    while let Some(lines) = parts.next().await? {
        for line in lines {
            let Ok(event) = serde_json::from_str::<Event>(&line.json) else { continue };
            let Some(erased) = event.erased else { continue };
            if core.store.erasure(&erased.commitment).await?.is_some() {
                continue;
            }
            tracing::warn!(seq = erased.seq, "the store was set back: it has what was erased");
            let erasure = StoredErasure {
                commitment: erased.commitment,
                event: event.id,
                principal: event.principal.map(|who| who.id.to_string()).unwrap_or_default(),
                erased_at: event.time,
                reason: event.detail.unwrap_or_default(),
            };
            let erase = ContentChange::Erase { erasure, seen_holds: None };
            let erase = Change::Content(Box::new(erase));
            match core.store.commit(vec![erase]).await {
                // Somebody else said so just now.
                Ok(()) | Err(StoreError::Conflict) => is_set_back = true,
                Err(error) => return Err(error.into()),
            }
        }
    }
    if is_set_back {
        scrub(core).await;
    }
    Ok(())
}

/// A file of keys that was lost is noticed when it can still be looked for, and not by an auditor.
pub(crate) async fn say_what_cannot_be_read(core: &Core) -> Result<()> {
    for under in core.store.contents_under_keys().await? {
        if core.settings.content_keys.lookup(&under.key).is_none() {
            let (key, requests) = (under.key, under.count);
            tracing::error!(
                key,
                requests,
                "what was kept of requests cannot be read: its key is gone"
            );
        }
    }
    Ok(())
}

/// Notes where the log has the records that commit to something. Whether it is noted: until it is, these entries
/// are not done with, or what they commit to would be swept.
pub(crate) async fn bind(core: &Core, entries: &[LogEntry]) -> bool {
    let commits = |entry: &&LogEntry| entry.json.contains("\"content\":{\"commitment\":");
    let note = |entry: &LogEntry| {
        let committed: Committed = serde_json::from_str(&entry.json).ok()?;
        let (commitment, seq) = (committed.content?.commitment, entry.position);
        Some(Change::Content(Box::new(ContentChange::Bind { commitment, seq })))
    };
    let changes: Vec<Change> = entries.iter().filter(commits).filter_map(note).collect();
    if changes.is_empty() {
        return true;
    }
    let bound = core.store.commit(changes).await;
    if let Err(error) = &bound {
        tracing::warn!(%error, "which records commit to what is kept is noted later");
    }
    bound.is_ok()
}

/// Content that no record commits to is forgotten: the process ended between the two. Called when all records
/// have been looked at. The record may take its time where its disk was full: nothing is swept for a while after
/// a start, and nothing that was kept since. Whether it is done.
pub(crate) async fn sweep(core: &Core, started: Timestamp) -> bool {
    let waits = core.now().duration_since(started) < SWEPT_AFTER || core.outbox.is_broken();
    // A store that was set back may not know yet which records commit to what it has again.
    if waits || !*core.caught_up.borrow() {
        return false;
    }
    let sweep = Change::Content(Box::new(ContentChange::Sweep { before: started }));
    let swept = core.store.commit(vec![sweep]).await;
    if let Err(error) = &swept {
        tracing::warn!(%error, "content that no record commits to is still there");
    }
    swept.is_ok()
}

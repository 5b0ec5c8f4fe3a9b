//! Reading what gates wrote down of sealed credentials, as soon as there is somebody to read it.
//!
//! Each opening becomes an emergency like any other: on record, told to everybody, and an open item
//! until somebody has reviewed it. What was read once is not read again, whatever fails in between.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use portcullis_identity::sealed::{Opened, SealedNote, opened};
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestState, Event, EventId, EventType, Grant, GrantEnd,
    GrantState, SealedState, TokenHash, Way, attempt::AttemptNote,
};
use portcullis_store::{Change, SealedChange, SealedMark};

use super::{grants, issue, notices};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry,
    publisher::Effect,
    sealing::{SealedEntry, SealedLogBroken, Sealing},
    settle::{Settlement, Unsettled},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Where a log begins.
const BEGINNING: &str = "begin";
const CAUSE: &str = "sealed log";

type Result<T> = std::result::Result<T, ControlError>;

/// The background task.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(sealing) = core.settings.sealing.clone() else { return };
    let (mut said, mut fails) = (false, false);
    loop {
        let read = read(&core, &sealing, &mut said).await;
        let failed = std::mem::replace(&mut fails, read.is_err());
        if let Err(error) = read
            && !failed
        {
            tracing::warn!(%error, "the sealed log is read later");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn read(core: &Arc<Core>, sealing: &Sealing, said: &mut bool) -> Result<()> {
    let mut seen = core.store.sealed_mark().await?;
    let entries = sealing
        .log
        .entries(seen.as_ref())
        .await
        .map_err(|_| ControlError::Unavailable("the sealed log cannot be read".to_owned()))?;
    let entries = match entries {
        Ok(entries) => entries,
        Err(broken) => return start_over(core, seen, broken, said).await,
    };
    *said = false;
    for entry in entries {
        let mark = entry.next.clone();
        let mut settlement = noted(core, sealing, &entry).await?;
        let read = SealedChange::Read { seen: seen.clone(), mark: mark.clone() };
        settlement.changes.push(Change::Sealed(Box::new(read.clone())));
        match core.settle(settlement).await {
            Ok(()) => {}
            // Somebody revoked it at this moment: it is looked at again.
            Err(Unsettled::Conflict) if !is_there(core, sealing, &entry).await? => {
                let why = "a sealed credential moved while its use was read";
                return Err(ControlError::Conflict(why.into()));
            }
            // It was read before a part of the log was lost: what it says is there.
            Err(Unsettled::Conflict) => {
                let changes = vec![Change::Sealed(Box::new(read))];
                core.settle(Settlement { changes, ..Settlement::default() }).await?;
            }
            Err(Unsettled::Failed(error)) => return Err(error),
        }
        seen = Some(mark);
    }
    Ok(())
}

/// Somebody changed the log, or lost a part of it: said loudly, and what is there is read again.
async fn start_over(
    core: &Arc<Core>,
    seen: Option<SealedMark>,
    SealedLogBroken(number): SealedLogBroken,
    said: &mut bool,
) -> Result<()> {
    if *said {
        return Ok(());
    }
    let op = OpContext::system(CAUSE, core.now());
    let detail = format!("entry {number} of the sealed log is not what was written, or is gone");
    tracing::error!(number, "the sealed log is not what was written");
    let mut changes = vec![Change::Record(broken(core, &op, detail))];
    if seen.is_some() {
        let mark = SealedMark { number: 0, before: BEGINNING.to_owned() };
        changes.push(Change::Sealed(Box::new(SealedChange::Read { seen, mark })));
    }
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    // Only now: what could not be said is said the next time.
    *said = true;
    Ok(())
}

fn broken(core: &Core, op: &OpContext, detail: String) -> Event {
    let mut event = core.event(op, EventType::SealedLogBroken);
    event.detail = Some(detail);
    event
}

/// Whether what the entry says was taken in before. Requests are guarded by nothing but their own id.
async fn is_there(core: &Core, sealing: &Sealing, entry: &SealedEntry) -> Result<bool> {
    let note = entry.note.as_deref().and_then(|note| serde_json::from_slice(note).ok());
    let Some(SealedNote::Opened { token, at, .. }) = note else { return Ok(true) };
    let Ok(opened) = opened(sealing.key.public(), &token, at) else { return Ok(true) };
    Ok(core.store.grant(opened.grant.id).await?.is_some())
}

async fn noted(core: &Arc<Core>, sealing: &Sealing, entry: &SealedEntry) -> Result<Settlement> {
    let op = OpContext::system(CAUSE, core.now());
    let note = entry.note.as_deref().and_then(|note| serde_json::from_slice(note).ok());
    match note {
        Some(SealedNote::Opened { token, at, source }) => {
            match opened(sealing.key.public(), &token, at) {
                Ok(opened) => opening(core, &op, &opened, at, source).await,
                Err(error) => {
                    let number = entry.number;
                    let detail =
                        format!("entry {number} of the sealed log proves nothing: {error}");
                    let changes = vec![Change::Record(broken(core, &op, detail))];
                    Ok(Settlement { changes, ..Settlement::default() })
                }
            }
        }
        Some(SealedNote::Request { grant, at, attempt }) => {
            let event = request(core, &op, entry, grant, at, &attempt);
            let changes = vec![Change::Record(event)];
            Ok(Settlement { changes, ..Settlement::default() })
        }
        None => {
            let detail = format!("entry {} of the sealed log cannot be read", entry.number);
            let changes = vec![Change::Record(broken(core, &op, detail))];
            Ok(Settlement { changes, ..Settlement::default() })
        }
    }
}

/// An emergency that was opened while nobody listened, or just now.
async fn opening(
    core: &Arc<Core>,
    op: &OpContext,
    opened: &Opened,
    at: Timestamp,
    source: std::net::IpAddr,
) -> Result<Settlement> {
    let grant = Grant::clone(&opened.grant);
    if core.store.grant(grant.id).await?.is_some() {
        return Ok(Settlement::default());
    }
    let request = emergency(core, opened, at);
    let grant = as_it_is(core, op, opened, grant).await?;
    let (id, reason) = (opened.terms.id, &opened.opening.reason);
    let said = |kind: EventType| {
        let mut event = core.event(op, kind);
        issue::describe(&mut event, &grant);
        event.time = at;
        event.principal = Some(grant.principal.clone());
        event.source = Some(source);
        event
    };
    let mut emergency = said(EventType::EmergencyOpened);
    emergency.detail = Some(format!("by sealed credential {id}: {reason}"));
    let mut started = said(EventType::GrantStarted);
    started.decision = Some(grant.kind.as_str().into());
    started.detail = Some(format!("until {}", grant.expires_at));
    let mut settlement = Settlement::default();
    let open = SealedChange::Open {
        request: Box::new(request.clone()),
        grant: Box::new(grant.clone()),
        credential: id,
    };
    settlement.changes.extend([
        Change::Sealed(Box::new(open)),
        Change::Record(emergency),
        Change::Record(started),
    ]);
    if let GrantState::Ended { why, .. } = grant.state {
        settlement.changes.push(Change::Record(grants::ended(core, op, &grant, why)));
    } else {
        settlement.deadlines.push(expiry::grant_end(&grant));
        settlement.once_recorded.push(Effect::Grant(grant));
    }
    notices::plan(core, op, &request, &mut settlement);
    tracing::warn!(access_request = %request.id, credential = %id, "a sealed credential was opened");
    Ok(settlement)
}

/// The grant as it is by now.
async fn as_it_is(core: &Core, op: &OpContext, opened: &Opened, grant: Grant) -> Result<Grant> {
    let known = core.store.sealed_credential(opened.terms.id).await?;
    let revoked = known.is_some_and(|known| matches!(known.state, SealedState::Revoked { .. }));
    let ended = if op.now() >= grant.expires_at {
        Some((grant.expires_at, GrantEnd::Expired))
    } else {
        revoked.then_some((op.now(), GrantEnd::Revoked))
    };
    Ok(match ended {
        None => grant,
        Some((at, why)) => grant.clone().end(at, why, None).unwrap_or(grant),
    })
}

fn emergency(core: &Core, opened: &Opened, at: Timestamp) -> AccessRequest {
    let Opened { terms, opening, grant } = opened;
    let known = core.snapshot().principal(&terms.holder.id).and_then(|known| known.person);
    let way = Way {
        rule: terms.rule.clone(),
        kind: grant.kind,
        reviews: 0,
        max_duration: terms.window,
        max_uses: None,
        incident: None,
        idle: None,
        to_be_checked: Vec::new(),
        hold: None,
        reviewers: Vec::new(),
    };
    let operation = grant.operation.clone();
    AccessRequest {
        id: grant.access_request,
        requester: terms.holder.id.clone(),
        person: known.or(terms.holder.person),
        requester_name: terms.holder.name.clone(),
        service: terms.service.clone(),
        queries: vec![AccessQuery { operation, instance: None, digest: None, way }],
        reason: opening.reason.clone(),
        duration: opening.window,
        refusal: None,
        extends: None,
        held: None,
        created_at: at,
        expires_at: grant.expires_at,
        reviews: Vec::new(),
        state: AccessRequestState::Approved { at, grants: vec![grant.id] },
    }
}

/// A request that went through while the record could not be written. Its entry names it, so that it
/// comes into the record once.
fn request(
    core: &Core,
    op: &OpContext,
    entry: &SealedEntry,
    grant: portcullis_model::GrantId,
    at: Timestamp,
    attempt: &str,
) -> Event {
    let mut event = core.event(op, EventType::SealedUsed);
    let TokenHash(hash) = TokenHash::of(&entry.next.before);
    let bits = hash.iter().take(10).fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    let millis = u128::try_from(at.as_millisecond()).unwrap_or(0) << 80;
    event.id = EventId::from_bits(millis | bits);
    event.time = at;
    event.grant = Some(grant);
    if let Ok(note) = serde_json::from_str::<AttemptNote>(attempt) {
        event.principal = note.principal;
        event.service = note.service;
        event.instance = note.instance;
        event.operation = note.operation;
        event.policies = note.policies;
        event.request = Some(note.request);
        event.source = Some(note.source);
        event.detail = Some(format!("{} {}, not on record at that time", note.method, note.path));
    }
    event.decision = Some("permit".into());
    event
}

//! Telling people of access requests: in the order of the rule's `@notify`, while nobody has answered.
//! Of an emergency everybody is told, at once.
//!
//! Whom to tell is stored with the access request, in one transaction. Each is told at least once, or
//! it is on record that they could not be; the message's id lets them see that it came twice. A
//! message carries no right: whoever reads it signs in to answer. Who was woken is let go again once
//! somebody has answered: what was told of them stays stored until that has arrived, too.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::SignedDuration;
use portcullis_model::{
    AccessRequest, AccessRequestId, AccessRequestState, EventType, NoticeId, Window,
};
use portcullis_policy::notice::NoticeTarget;
use portcullis_store::{Change, NoticeChange, StoredNotice};

use super::access_requests;
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    ports::{NotDelivered, Notice},
    rights,
    settle::{Settlement, Unsettled},
};

/// After so many attempts somebody cannot be told.
const MOST_ATTEMPTS: u32 = 8;
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
const RETRY: SignedDuration = SignedDuration::from_secs(5);
/// What a stored notice's target begins with when it was told, and is to be taken back.
const TAKE_BACK: &str = "taken back ";
/// An emergency waits for its review as long as it takes; it is looked at this often, beside that.
const LOOK: SignedDuration = SignedDuration::from_hours(1);

/// What was told and stands until it is taken back, by what it is about.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashMap<AccessRequestId, BTreeSet<NoticeId>>>);

impl Told {
    fn stands(&self, about: AccessRequestId, id: NoticeId) {
        self.told().entry(about).or_default().insert(id);
    }

    /// What there is to take back of these, which are over.
    pub(crate) fn take(&self, over: &[AccessRequestId]) -> Vec<NoticeId> {
        let mut told = self.told();
        over.iter().filter_map(|id| told.remove(id)).flatten().collect()
    }

    fn told(&self) -> MutexGuard<'_, HashMap<AccessRequestId, BTreeSet<NoticeId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The access requests that nobody has to look at any more once `changes` are made.
pub(crate) fn over(changes: &[Change]) -> Vec<AccessRequestId> {
    let ended = changes.iter().filter_map(|change| match change {
        Change::MoveAccessRequest { request, .. } | Change::ReviewAfterwards(request) => {
            (!waits(request)).then_some(request.id)
        }
        _ => None,
    });
    ended.collect()
}

/// Whether somebody is still to look at it.
fn waits(request: &AccessRequest) -> bool {
    request.state == AccessRequestState::Pending || request.waits_for_review_afterwards()
}

type Result<T> = std::result::Result<T, ControlError>;

/// Adds whom to tell of `request`, and when.
pub(crate) fn plan(core: &Core, op: &OpContext, request: &AccessRequest, into: &mut Settlement) {
    let snapshot = core.snapshot();
    let mut targets: Vec<String> = Vec::new();
    let mut escalate: Option<Window> = None;
    for query in &request.queries {
        let Some(notices) = snapshot.bundle().notices(&query.way.rule) else { continue };
        for target in notices.targets.iter().map(ToString::to_string) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        // The most impatient of the rules says when to go on.
        escalate = escalate.into_iter().chain(notices.escalate).min();
    }
    let step = escalate.map_or(SignedDuration::ZERO, Window::signed);
    let mut due_at = op.now();
    for target in targets {
        let id = NoticeId::new(op.now(), core.entropy.as_ref());
        let notice = StoredNotice { id, access_request: request.id, target, due_at, attempts: 0 };
        into.changes.push(Change::Notice(NoticeChange::Add(notice)));
        into.deadlines.push((due_at, Ending::Notice(id)));
        due_at += step;
    }
}

/// Somebody is to be told now.
pub(crate) fn due(core: &Arc<Core>, id: NoticeId) {
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let Ok(_turn) = core.telling.acquire().await else { return };
        if let Err(error) = tell(&core, id).await {
            tracing::error!(notice = %id, %error, "somebody could not be told, and is later");
            core.deadlines.add([(core.now() + RETRY, Ending::Notice(id))]);
        }
    });
}

async fn tell(core: &Arc<Core>, id: NoticeId) -> Result<()> {
    let Some(notice) = core.store.notice(id).await? else { return Ok(()) };
    if let Some(target) = notice.target.strip_prefix(TAKE_BACK) {
        let target = target.to_owned();
        return take_back(core, notice, &target).await;
    }
    let op = OpContext::system("notify", core.now());
    let request = core.store.access_request(notice.access_request).await?;
    let concerns = |request: &AccessRequest| {
        let waits = request.state == AccessRequestState::Pending && op.now() < request.expires_at;
        waits || request.is_emergency()
    };
    let Some(request) = request.filter(concerns) else {
        return settled(core, vec![Change::Notice(NoticeChange::End(id))]).await;
    };
    let to = match notice.target.parse::<NoticeTarget>() {
        Ok(to) => to,
        Err(error) => {
            return ended(core, &op, id, &request, EventType::NoticeFailed, error.to_string())
                .await;
        }
    };
    let told = core.notifier.deliver(&to, &message(core, &op, id, &request)).await;
    let target = to.in_short();
    // The answer may have taken its time.
    let op = OpContext::system("notify", core.now());
    match told {
        Ok(()) if to.stands() => stands(core, &op, notice, &request, target).await,
        Ok(()) => ended(core, &op, id, &request, EventType::NoticeDelivered, target).await,
        Err(NotDelivered { why, again }) if !again || notice.attempts + 1 >= MOST_ATTEMPTS => {
            let detail = format!("{target}: {why}");
            ended(core, &op, id, &request, EventType::NoticeFailed, detail).await
        }
        Err(NotDelivered { why, .. }) => {
            tracing::warn!(%target, %why, "somebody is not told yet");
            later(core, &op, notice).await
        }
    }
}

/// Somebody was told, and it stands there until it is taken back.
async fn stands(
    core: &Arc<Core>,
    op: &OpContext,
    notice: StoredNotice,
    request: &AccessRequest,
    detail: String,
) -> Result<()> {
    let (id, seen_attempts) = (notice.id, notice.attempts);
    let mut event = core.event(op, EventType::NoticeDelivered);
    access_requests::describe(&mut event, request);
    event.detail = Some(detail);
    let target = format!("{TAKE_BACK}{}", notice.target);
    let notice = StoredNotice { target, due_at: op.now(), attempts: 0, ..notice };
    let moved = Change::Notice(NoticeChange::Move { notice, seen_attempts });
    settled(core, vec![moved, Change::Record(event)]).await?;
    // Somebody may have answered meanwhile.
    core.deadlines.add([(op.now(), Ending::Notice(id))]);
    Ok(())
}

/// Takes back what stands, unless it still waits for somebody.
async fn take_back(core: &Arc<Core>, notice: StoredNotice, target: &str) -> Result<()> {
    let (id, about) = (notice.id, notice.access_request);
    // Before it is looked at: whoever answers from here on finds it.
    core.told.stands(about, id);
    let request = core.store.access_request(about).await?;
    if let Some(request) = request.filter(waits) {
        let look = request.expires_at.max(core.now() + LOOK);
        core.deadlines.add([(look, Ending::Notice(id))]);
        return Ok(());
    }
    let taken = match target.parse::<NoticeTarget>() {
        Ok(to) => core.notifier.take_back(&to, about).await,
        Err(error) => Err(NotDelivered { why: error.to_string(), again: false }),
    };
    let op = OpContext::system("notify", core.now());
    match taken {
        Err(NotDelivered { again: true, why }) if notice.attempts + 1 < MOST_ATTEMPTS => {
            tracing::warn!(target, %why, "somebody is not let go yet");
            later(core, &op, notice).await
        }
        taken => {
            if let Err(NotDelivered { why, .. }) = taken {
                tracing::error!(target, access_request = %about, %why, "somebody is not let go");
            }
            settled(core, vec![Change::Notice(NoticeChange::End(id))]).await
        }
    }
}

async fn ended(
    core: &Arc<Core>,
    op: &OpContext,
    id: NoticeId,
    request: &AccessRequest,
    kind: EventType,
    detail: String,
) -> Result<()> {
    let mut event = core.event(op, kind);
    access_requests::describe(&mut event, request);
    event.detail = Some(detail);
    settled(core, vec![Change::Notice(NoticeChange::End(id)), Change::Record(event)]).await
}

/// Tries again, less and less often.
async fn later(core: &Arc<Core>, op: &OpContext, notice: StoredNotice) -> Result<()> {
    let seen_attempts = notice.attempts;
    let pause = SignedDuration::from_secs(1 << seen_attempts.min(6)).min(LONGEST_PAUSE);
    let due_at = op.now() + pause;
    let id = notice.id;
    let notice = StoredNotice { due_at, attempts: seen_attempts + 1, ..notice };
    settled(core, vec![Change::Notice(NoticeChange::Move { notice, seen_attempts })]).await?;
    core.deadlines.add([(due_at, Ending::Notice(id))]);
    Ok(())
}

async fn settled(core: &Arc<Core>, changes: Vec<Change>) -> Result<()> {
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        // Somebody else did it first.
        Ok(()) | Err(Unsettled::Conflict) => Ok(()),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

fn message(core: &Core, op: &OpContext, id: NoticeId, request: &AccessRequest) -> Notice {
    let queries = request.queries.iter().map(|query| {
        serde_json::json!({
            "operation": query.operation,
            "instance": query.instance,
            "rule": query.way.rule,
            "to_be_checked": query.way.to_be_checked,
        })
    });
    let kind = if request.is_emergency() { "emergency" } else { "access_request" };
    let body = serde_json::json!({
        "id": id,
        "type": kind,
        "time": op.now(),
        "access_request": {
            "id": request.id,
            "requester": request.requester,
            "requester_name": request.requester_name,
            "service": request.service,
            "queries": queries.collect::<Vec<_>>(),
            "reason": request.reason,
            "duration": request.duration,
            "extends": request.extends,
            "created_at": request.created_at,
            "expires_at": request.expires_at,
            "reviews_needed": request.reviews_needed(),
            "reviews": request.approvals(),
            "reviewers": rights::reviewers_of(core, op, request),
        },
    });
    Notice { id, about: request.id, body: body.to_string() }
}

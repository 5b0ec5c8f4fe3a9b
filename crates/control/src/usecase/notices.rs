//! Telling people of access requests: in the order of the rule's `@notify`, while nobody has answered.
//! Of an emergency everybody is told, at once.
//!
//! Whom to tell is stored with the access request, in one transaction. Each is told at least once, or
//! it is on record that they could not be; the message's id lets them see that it came twice. A
//! message carries no right: whoever reads it signs in to answer.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{AccessRequest, AccessRequestState, EventType, NoticeId, Window};
use portcullis_policy::notice::NoticeTarget;
use portcullis_store::{Change, NoticeChange, StoredNotice};

use super::access_requests;
use crate::{
    ControlError, OpContext,
    connector::slack,
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
    let also = core.slack.as_ref().map(|slack| slack.also(request, &targets));
    let step = escalate.map_or(SignedDuration::ZERO, Window::signed);
    let mut due_at = op.now();
    for target in also.into_iter().flatten() {
        if targets.contains(&target) {
            continue;
        }
        add(core, op, (request, target, due_at), into);
    }
    for target in targets {
        add(core, op, (request, target, due_at), into);
        due_at += step;
    }
}

fn add(
    core: &Core,
    op: &OpContext,
    (request, target, due_at): (&AccessRequest, String, Timestamp),
    into: &mut Settlement,
) {
    let id = NoticeId::new(op.now(), core.entropy.as_ref());
    let notice = StoredNotice { id, access_request: request.id, target, due_at, attempts: 0 };
    into.changes.push(Change::Notice(NoticeChange::Add(notice)));
    into.deadlines.push((due_at, Ending::Notice(id)));
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
    let op = OpContext::system("notify", core.now());
    let request = core.store.access_request(notice.access_request).await?;
    let concerns = |request: &AccessRequest| {
        let waits = request.state == AccessRequestState::Pending && op.now() < request.expires_at;
        waits || request.is_emergency()
    };
    let Some(request) = request.filter(concerns) else {
        return settled(core, vec![Change::Notice(NoticeChange::End(id))]).await;
    };
    let (target, told) = match notice.target.parse::<NoticeTarget>() {
        Ok(NoticeTarget::Slack(place)) => {
            return slack::begin(core, &op, id, &request, &place).await;
        }
        Ok(target) => {
            let told = core.notifier.deliver(&target, &message(core, &op, id, &request)).await;
            (target.in_short(), told)
        }
        Err(error) => (String::new(), Err(NotDelivered { why: error.to_string(), again: false })),
    };
    // The answer may have taken its time.
    let op = OpContext::system("notify", core.now());
    match told {
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
    Notice { id, body: body.to_string() }
}

//! Telling people of access requests: in the order of the rule's `@notify`, while nobody has answered.
//! Of an emergency everybody is told, at once.
//!
//! Whom to tell is stored with the access request, in one transaction. Each is told at least once, or
//! it is on record that they could not be, and set aside for somebody to look at; the message's id lets them
//! see that it came twice. A receiver that is down costs nothing but attempts further and further apart, as
//! long as the access request waits. A message carries no right: whoever reads it signs in to answer. Who was
//! woken is let go again once somebody has answered: what was told of them stays stored until that has arrived, too.

mod outcome;

pub(crate) use outcome::grants;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessRequest, AccessRequestId, AccessRequestState, EventType, Grant, GrantState, NoticeId,
    Window,
};
use portcullis_policy::notice::NoticeTarget;
use portcullis_store::{Change, NoticeChange, StoredNotice};

use super::{access_requests, undelivered};
use crate::{
    ControlError, OpContext,
    connector::{Summary, slack},
    core::Core,
    expiry::Ending,
    ports::{NotDelivered, Notice},
    rights,
    settle::Settlement,
};

/// An emergency is told for so long. Everything else as long as it waits for an answer.
const LONGEST_TELLING: SignedDuration = SignedDuration::from_hours(24);
/// After trouble of our own.
const RETRY: SignedDuration = SignedDuration::from_secs(5);
/// What a stored notice's target begins with when it was told, and is to be taken back.
const TAKE_BACK: &str = "taken back ";
/// And when it may have arrived, where what came of it is told, too.
const PERHAPS: &str = "perhaps ";
/// Attempts to let somebody go: a day of them, about a minute apart.
const MOST_TAKING_BACK: u32 = 1_440;
/// An emergency waits for its review as long as it takes; it is looked at this often, beside that.
const LOOK: SignedDuration = SignedDuration::from_hours(1);

/// What was told and is not over with that, by what it is about.
#[derive(Debug, Default)]
pub(crate) struct Told {
    told: Mutex<HashMap<AccessRequestId, BTreeSet<NoticeId>>>,
    /// What is being told, and whether it has to be looked at again after that.
    underway: Mutex<HashMap<NoticeId, bool>>,
}

impl Told {
    /// Whether nobody is at it; else whoever is looks again.
    fn begin(&self, id: NoticeId) -> bool {
        let mut underway = self.underway.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(again) = underway.get_mut(&id) {
            *again = true;
            return false;
        }
        underway.insert(id, false);
        true
    }

    /// Whether it has to be looked at again.
    fn end(&self, id: NoticeId) -> bool {
        let mut underway = self.underway.lock().unwrap_or_else(PoisonError::into_inner);
        underway.remove(&id).unwrap_or_default()
    }

    fn stands(&self, about: AccessRequestId, id: NoticeId) {
        self.told().entry(about).or_default().insert(id);
    }

    /// It stands there no more.
    fn forget(&self, about: AccessRequestId, id: NoticeId) {
        let mut told = self.told();
        if let Some(ids) = told.get_mut(&about) {
            ids.remove(&id);
            if ids.is_empty() {
                told.remove(&about);
            }
        }
    }

    /// What was told of these, which somebody has answered.
    pub(crate) fn take(&self, answered: &[AccessRequestId]) -> Vec<NoticeId> {
        let mut told = self.told();
        answered.iter().filter_map(|id| told.remove(id)).flatten().collect()
    }

    fn told(&self) -> MutexGuard<'_, HashMap<AccessRequestId, BTreeSet<NoticeId>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The access requests of which whoever was told is told more, or let go, once `changes` are made.
pub(crate) fn answered(changes: &[Change]) -> Vec<AccessRequestId> {
    let answered = changes.iter().filter_map(|change| match change {
        Change::MoveAccessRequest { request, .. } | Change::ReviewAfterwards(request) => {
            (request.state != AccessRequestState::Pending).then_some(request.id)
        }
        Change::MoveGrant { grant, .. } => {
            (grant.state != GrantState::InForce).then_some(grant.access_request)
        }
        _ => None,
    });
    answered.collect()
}

/// Who was told already or may have been, if a stored notice's `target` is of what was told and is not over with that.
pub(super) fn told_at(target: &str) -> Option<String> {
    let stands = target.strip_prefix(TAKE_BACK).or_else(|| target.strip_prefix(PERHAPS));
    stands.map(str::to_owned).or_else(|| outcome::of(target).map(|(_, target)| target.to_string()))
}

/// Whether somebody is still to look at it.
pub(super) fn waits(request: &AccessRequest) -> bool {
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
        // One at a time: what changed meanwhile would be told twice.
        if !core.told.begin(id) {
            return;
        }
        if let Ok(_turn) = core.telling.acquire().await
            && let Err(error) = tell(&core, id).await
        {
            tracing::error!(notice = %id, %error, "somebody could not be told, and is later");
            core.deadlines.add([(core.now() + RETRY, Ending::Notice(id))]);
        }
        if core.told.end(id) {
            core.deadlines.add([(core.now(), Ending::Notice(id))]);
        }
    });
}

async fn tell(core: &Arc<Core>, id: NoticeId) -> Result<()> {
    let Some(notice) = core.store.notice(id).await? else { return Ok(()) };
    if let Some(target) = notice.target.strip_prefix(TAKE_BACK) {
        let target = target.to_owned();
        return take_back(core, notice, &target).await;
    }
    if let Some((stage, target)) = outcome::of(&notice.target) {
        return outcome::look(core, notice, stage, target).await;
    }
    let (notice, may_be_there) = plainly(notice);
    let op = OpContext::system("notify", core.now());
    let Some(request) = core.store.access_request(notice.access_request).await? else {
        return core.settle_unless_done(vec![Change::Notice(NoticeChange::End(id))]).await;
    };
    let target = notice.target.parse::<NoticeTarget>();
    let stands_there = target.as_ref().is_ok_and(NoticeTarget::stands);
    let is_pending = request.state == AccessRequestState::Pending && op.now() < request.expires_at;
    if !is_pending && (!request.is_emergency() || stands_there && !waits(&request)) {
        // Whoever may have been asked is told what came of it.
        let asked = target.ok().filter(|_| may_be_there);
        if let Some((follows, target)) = asked.and_then(|it| Some((outcome::follows(0, &it)?, it)))
        {
            let notice = StoredNotice { target: follows, ..notice };
            return outcome::look(core, notice, 0, target).await;
        }
        return too_late(core, &op, notice, &request, stands_there).await;
    }
    let target = match target {
        Ok(NoticeTarget::Slack(place)) => {
            let Some(slack) = &core.slack else {
                let why = "there is no `slack` under `connectors`".to_owned();
                return failed(core, &op, &notice, &request, why).await;
            };
            return slack::begin(core, slack, &op, id, (&request, &place)).await;
        }
        Ok(target) => target,
        Err(error) => return failed(core, &op, &notice, &request, error.to_string()).await,
    };
    let receiver = target.in_short();
    if let Err(free) = core.paces.turn(&receiver, op.now()) {
        core.deadlines.add([(free, Ending::Notice(id))]);
        return Ok(());
    }
    let grants = outcome::grants(core, &request).await?;
    let message = written(core, &op, id, (&request, &grants));
    let told = core.notifier.deliver(&target, &message).await;
    // The answer may have taken its time.
    let op = OpContext::system("notify", core.now());
    match told {
        Ok(()) => {
            core.paces.told(&receiver);
            arrived(core, &op, notice, (&request, &grants), target).await
        }
        Err(trouble) => {
            not_told(core, &op, notice, &request, (&target, may_be_there), trouble).await
        }
    }
}

/// It is told later, unless that is of no use.
async fn not_told(
    core: &Arc<Core>,
    op: &OpContext,
    notice: StoredNotice,
    request: &AccessRequest,
    (target, may_be_there): (&NoticeTarget, bool),
    NotDelivered { why, again, rest, lost }: NotDelivered,
) -> Result<()> {
    let receiver = target.in_short();
    let next = core.paces.failed(&receiver, rest, op.now());
    if !again || op.now().duration_since(begun(notice.id)) >= LONGEST_TELLING {
        return failed(core, op, &notice, request, why).await;
    }
    tracing::warn!(target = receiver, %why, "somebody is not told yet");
    let is_there = target.tells_outcome() && (lost || may_be_there);
    let target = if is_there { format!("{PERHAPS}{target}") } else { notice.target.clone() };
    later(core, StoredNotice { target, ..notice }, next).await
}

/// `notice` as it is to be told, and whether that may be there already.
fn plainly(notice: StoredNotice) -> (StoredNotice, bool) {
    match notice.target.strip_prefix(PERHAPS).map(str::to_owned) {
        Some(target) => (StoredNotice { target, ..notice }, true),
        None => (notice, false),
    }
}

/// Nobody has to look at `request` any more.
async fn too_late(
    core: &Arc<Core>,
    op: &OpContext,
    notice: StoredNotice,
    request: &AccessRequest,
    stands_there: bool,
) -> Result<()> {
    if stands_there {
        // Somebody may have been woken although the answer to it was lost.
        let target = notice.target.clone();
        return take_back(core, notice, &target).await;
    }
    let unanswered =
        matches!(request.state, AccessRequestState::Pending | AccessRequestState::Expired { .. });
    let was_due = notice.attempts > 0 || notice.due_at < request.expires_at;
    if !was_due || !unanswered {
        return core.settle_unless_done(vec![Change::Notice(NoticeChange::End(notice.id))]).await;
    }
    let why = "it did not answer as long as the access request waited";
    failed(core, op, &notice, request, why.to_owned()).await
}

/// When it was first to be told.
fn begun(id: NoticeId) -> Timestamp {
    let millis = i64::try_from(id.to_bits() >> 80).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// Somebody was told, and it stands there until it is taken back.
async fn stands(
    core: &Arc<Core>,
    op: &OpContext,
    notice: StoredNotice,
    request: &AccessRequest,
    detail: String,
) -> Result<()> {
    let target = format!("{TAKE_BACK}{}", notice.target);
    go_on(core, op, notice, target, delivered(core, op, request, detail)).await
}

/// What was told is not over with that: it is looked at again as `target`.
async fn go_on(
    core: &Arc<Core>,
    op: &OpContext,
    notice: StoredNotice,
    target: String,
    event: Change,
) -> Result<()> {
    let (id, seen_attempts) = (notice.id, notice.attempts);
    let notice = StoredNotice { target, due_at: op.now(), attempts: 0, ..notice };
    let moved = Change::Notice(NoticeChange::Move { notice, seen_attempts });
    core.settle_unless_done(vec![moved, event]).await?;
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
    if let Some(request) = request.as_ref().filter(|request| waits(request)) {
        let look = request.expires_at.max(core.now() + LOOK);
        core.deadlines.add([(look, Ending::Notice(id))]);
        return Ok(());
    }
    if let Err(free) = core.paces.turn(target, core.now()) {
        core.deadlines.add([(free, Ending::Notice(id))]);
        return Ok(());
    }
    let taken = match target.parse::<NoticeTarget>() {
        Ok(to) => core.notifier.take_back(&to, about).await,
        Err(error) => Err(NotDelivered::ever(error.to_string())),
    };
    let op = OpContext::system("notify", core.now());
    let mut changes = vec![Change::Notice(NoticeChange::End(id))];
    match taken {
        Ok(()) => core.paces.told(target),
        Err(NotDelivered { why, again, rest, .. }) => {
            let next = core.paces.failed(target, rest, op.now());
            if again && notice.attempts < MOST_TAKING_BACK {
                tracing::warn!(target, %why, "somebody is not let go yet");
                return later(core, notice, next).await;
            }
            let mut event = core.event(&op, EventType::NoticeFailed);
            if let Some(request) = &request {
                access_requests::describe(&mut event, request);
            }
            event.detail = Some(format!("{target}: who was woken is not let go: {why}"));
            changes.push(Change::Record(event));
        }
    }
    core.settle_unless_done(changes).await?;
    core.told.forget(about, id);
    Ok(())
}

/// It is at `target`: that is all, or the beginning.
async fn arrived(
    core: &Arc<Core>,
    op: &OpContext,
    notice: StoredNotice,
    (request, grants): (&AccessRequest, &[Grant]),
    target: NoticeTarget,
) -> Result<()> {
    if target.tells_outcome() {
        let stage = outcome::stage(request, grants);
        return outcome::told(core, op, notice, request, (stage, target)).await;
    }
    if target.stands() {
        return stands(core, op, notice, request, target.in_short()).await;
    }
    let told = delivered(core, op, request, target.in_short());
    core.settle_unless_done(vec![Change::Notice(NoticeChange::End(notice.id)), told]).await
}

fn delivered(core: &Core, op: &OpContext, request: &AccessRequest, detail: String) -> Change {
    let mut event = core.event(op, EventType::NoticeDelivered);
    access_requests::describe(&mut event, request);
    event.detail = Some(detail);
    Change::Record(event)
}

/// Nobody is told any more: that goes on record, and what was to be told is set aside.
async fn failed(
    core: &Arc<Core>,
    op: &OpContext,
    notice: &StoredNotice,
    request: &AccessRequest,
    why: String,
) -> Result<()> {
    let receiver = notice.target.parse::<NoticeTarget>().map(|target| target.in_short());
    let receiver = receiver.unwrap_or_default();
    let mut event = core.event(op, EventType::NoticeFailed);
    access_requests::describe(&mut event, request);
    event.detail = Some(format!("{receiver}: {why}"));
    let ended = vec![Change::Notice(NoticeChange::End(notice.id)), Change::Record(event)];
    let aside = undelivered::notice(core, op, notice, receiver, why);
    undelivered::if_there_is_room(core, ended, aside).await
}

/// Tries again, less and less often.
async fn later(core: &Arc<Core>, notice: StoredNotice, due_at: Timestamp) -> Result<()> {
    let (id, seen_attempts) = (notice.id, notice.attempts);
    let notice = StoredNotice { due_at, attempts: seen_attempts.saturating_add(1), ..notice };
    core.settle_unless_done(vec![Change::Notice(NoticeChange::Move { notice, seen_attempts })])
        .await?;
    core.deadlines.add([(due_at, Ending::Notice(id))]);
    Ok(())
}

/// What `target` is told of `request` as it is now, and as what it is followed once that has arrived, if there may
/// be more to tell.
pub(super) async fn message(
    core: &Core,
    op: &OpContext,
    id: NoticeId,
    request: &AccessRequest,
    target: &NoticeTarget,
) -> Result<(Notice, Option<String>)> {
    let grants = outcome::grants(core, request).await?;
    let stage = outcome::stage(request, &grants);
    let follows = target.tells_outcome().then(|| outcome::follows(stage, target)).flatten();
    Ok((written(core, op, id, (request, &grants)), follows))
}

fn written(
    core: &Core,
    op: &OpContext,
    id: NoticeId,
    (request, grants): (&AccessRequest, &[Grant]),
) -> Notice {
    let queries = request.queries.iter().map(|query| {
        serde_json::json!({
            "operation": query.operation,
            "instance": query.instance,
            "rule": query.way.rule,
            "to_be_checked": query.way.to_be_checked,
        })
    });
    let reviewers = rights::reviewers_of(core, op, request);
    let summary = Summary::new(request, grants, &reviewers, &core.settings.base_url);
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
            "reviewers": reviewers,
        },
    });
    Notice { id, about: request.id, body: body.to_string(), summary }
}

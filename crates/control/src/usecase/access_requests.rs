//! Seeing, withdrawing and expiring access requests.

pub(crate) mod list;

use std::sync::Arc;

use portcullis_model::{
    AccessRequest, AccessRequestId, AccessRequestState, Event, EventType, ShownBody,
    access_request::InvalidTransition,
};
use portcullis_policy::Snapshot;
use portcullis_store::{AccessRequests, Change};

use super::{principals, refusals};
use crate::{
    ControlError, OpContext,
    core::Core,
    rights::{self, Right},
    settle::{Settlement, Unsettled},
    views::AccessRequestView,
};

/// Of those that wait, so many are looked at.
const LISTED: u32 = 500;
/// Of those that requests wait for, so many are looked at.
const HELD: usize = 100;
/// How many earlier ones are looked through for what a reviewer is shown.
const EARLIER: u32 = 50;
const NOT_FOUND: ControlError = ControlError::NotFound("the access request");

type Result<T> = std::result::Result<T, ControlError>;

/// Whether somebody is yet to answer it.
fn waits(request: &AccessRequest) -> bool {
    request.state == AccessRequestState::Pending || request.waits_for_review_afterwards()
}

/// Who could answer it, if it waits.
fn reviewers(core: &Core, op: &OpContext, request: &AccessRequest) -> Vec<String> {
    if waits(request) { rights::reviewers_of(core, op, request) } else { Vec::new() }
}

/// Those that a request at the gate waits for now, as far as the caller may know of them, newest first.
pub(crate) async fn held(core: &Core, op: &OpContext) -> Result<Vec<AccessRequest>> {
    rights::caller(op)?;
    let mut found = Vec::new();
    for id in core.holds.newest(HELD) {
        match visible(core, op, id).await {
            Ok(request) => found.push(request),
            Err(ControlError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

pub(crate) async fn one(
    core: &Core,
    op: &OpContext,
    id: AccessRequestId,
) -> Result<AccessRequestView> {
    let request = visible(core, op, id).await?;
    let body = body(core, &request).await?;
    Ok(AccessRequestView { body, ..view(core, op, request) })
}

/// What its requester asked for before and the caller may see as well, newest first.
pub(crate) async fn earlier(
    core: &Core,
    op: &OpContext,
    id: AccessRequestId,
) -> Result<Vec<AccessRequest>> {
    let request = visible(core, op, id).await?;
    let snapshot = core.snapshot();
    let of = AccessRequests::Of(request.requester.clone(), Some(id));
    let all = core.store.access_requests(of, EARLIER).await?.into_iter();
    let before = all.filter(|other| may_see(core, &snapshot, op, other));
    Ok(before.collect())
}

/// The body of the request that it is about: of the one that waits, or of the refused one.
async fn body(core: &Core, request: &AccessRequest) -> Result<Option<ShownBody>> {
    if let Some(sealed) = core.holds.body(request.id) {
        return Ok(refusals::opened(core, &request.id.to_string(), &sealed));
    }
    let Some(id) = &request.refusal else { return Ok(None) };
    let refusal = core.store.refusal(&request.requester, id).await?;
    Ok(refusal.and_then(|refusal| refusals::body(core, &refusal)))
}

/// The access request, if the caller may know that it exists.
pub(crate) async fn visible(
    core: &Core,
    op: &OpContext,
    id: AccessRequestId,
) -> Result<AccessRequest> {
    let found = core.store.access_request(id).await?.ok_or(NOT_FOUND)?;
    if may_see(core, &core.snapshot(), op, &found) { Ok(found) } else { Err(NOT_FOUND) }
}

/// One that the caller is known to be allowed to see.
pub(crate) async fn view_of(
    core: &Core,
    op: &OpContext,
    id: AccessRequestId,
) -> Result<AccessRequestView> {
    let found = core.store.access_request(id).await?.ok_or(NOT_FOUND)?;
    Ok(view(core, op, found))
}

pub(crate) fn view(core: &Core, op: &OpContext, request: AccessRequest) -> AccessRequestView {
    let names = reviewers(core, op, &request);
    view_with(core, op, request, names)
}

fn view_with(
    core: &Core,
    op: &OpContext,
    request: AccessRequest,
    reviewers: Vec<String>,
) -> AccessRequestView {
    let snapshot = core.snapshot();
    let right = right_to_review(core, &snapshot, op, &request);
    let requester = principals::known_as(core, &request.requester);
    let incident = request.incident().and_then(|id| snapshot.incident(id)).cloned();
    AccessRequestView {
        request,
        requester,
        can_review: right != Right::None,
        needs_passkey: right == Right::WithPasskey,
        reviewers,
        incident,
        body: None,
    }
}

/// The requester, whoever reviewed or could review, and auditors.
fn may_see(core: &Core, snapshot: &Snapshot, op: &OpContext, request: &AccessRequest) -> bool {
    let person = op.caller().and_then(|caller| caller.principal().person);
    let reviewed = request.reviews.iter().any(|review| Some(review.person) == person);
    reviewed
        || rights::is_own(snapshot, op, request)
        || rights::may_review(core, snapshot, op, request)
        || rights::may_view_audit(snapshot, op)
}

fn can_review(core: &Core, snapshot: &Snapshot, op: &OpContext, request: &AccessRequest) -> bool {
    right_to_review(core, snapshot, op, request) != Right::None
}

/// Whether the caller could answer it now, and how.
fn right_to_review(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    request: &AccessRequest,
) -> Right {
    let person = op.caller().and_then(|caller| caller.principal().person);
    let pending = request.state == AccessRequestState::Pending && op.now() < request.expires_at;
    let is_open = pending || request.waits_for_review_afterwards();
    if is_open && !request.reviews.iter().any(|review| Some(review.person) == person) {
        rights::review(core, snapshot, op, request)
    } else {
        Right::None
    }
}

pub(crate) async fn withdraw(
    core: &Arc<Core>,
    op: &OpContext,
    id: AccessRequestId,
) -> Result<AccessRequestView> {
    loop {
        let request = visible(core, op, id).await?;
        if !rights::is_own(&core.snapshot(), op, &request) {
            let why = "only the requester withdraws an access request; decline it instead";
            return Err(ControlError::Denied(why.into()));
        }
        let seen = request.reviews.len();
        let over = |error: InvalidTransition| ControlError::Conflict(error.to_string());
        let withdrawn = request.withdraw(op.now()).map_err(over)?;
        match end(core, op, withdrawn, seen).await {
            Err(Unsettled::Conflict) => {}
            other => return other.map(|ended| view(core, op, ended)).map_err(Into::into),
        }
    }
}

pub(crate) async fn expire(core: &Arc<Core>, op: &OpContext, id: AccessRequestId) -> Result<()> {
    end_pending(core, op, id, |request| request.expire(op.now())).await
}

/// Withdraws what nobody waits for any more.
pub(crate) async fn take_back(
    core: &Arc<Core>,
    op: &OpContext,
    id: AccessRequestId,
    why: &'static str,
) -> Result<()> {
    end_pending(core, op, id, |request| request.abandon(op.now(), why.to_owned())).await
}

async fn end_pending(
    core: &Arc<Core>,
    op: &OpContext,
    id: AccessRequestId,
    how: impl Fn(AccessRequest) -> std::result::Result<AccessRequest, InvalidTransition>,
) -> Result<()> {
    loop {
        let request = core.store.access_request(id).await?.ok_or(NOT_FOUND)?;
        let seen = request.reviews.len();
        let over = |error: InvalidTransition| ControlError::Conflict(error.to_string());
        let ended = how(request).map_err(over)?;
        match end(core, op, ended, seen).await {
            Err(Unsettled::Conflict) => {}
            other => return other.map(drop).map_err(Into::into),
        }
    }
}

async fn end(
    core: &Arc<Core>,
    op: &OpContext,
    request: AccessRequest,
    seen_reviews: usize,
) -> std::result::Result<AccessRequest, Unsettled> {
    let changes = ending(core, op, &request, seen_reviews).into();
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    Ok(request)
}

/// What the end of an access request changes.
pub(crate) fn ending(
    core: &Core,
    op: &OpContext,
    ended: &AccessRequest,
    seen_reviews: usize,
) -> [Change; 2] {
    let moved = Change::MoveAccessRequest { request: ended.clone(), seen_reviews };
    [moved, Change::Record(ended_event(core, op, ended))]
}

/// The event of an access request that is over, however it ended.
pub(crate) fn ended_event(core: &Core, op: &OpContext, request: &AccessRequest) -> Event {
    let mut event = core.event(op, EventType::AccessRequestEnded);
    describe(&mut event, request);
    event.decision = Some(request.state.as_str().into());
    match &request.state {
        AccessRequestState::Declined { why, .. } => event.detail = Some(why.clone()),
        AccessRequestState::Withdrawn { why, .. } => event.detail.clone_from(why),
        AccessRequestState::Pending
        | AccessRequestState::Approved { .. }
        | AccessRequestState::Expired { .. } => {}
    }
    event
}

/// What every event about an access request says.
pub(crate) fn describe(event: &mut Event, request: &AccessRequest) {
    event.service = Some(request.service.clone());
    event.access_request = Some(request.id);
    event.request = request.held.as_ref().map(|held| held.request);
    event.incident = request.incident().cloned();
    event.policies = request.queries.iter().map(|query| query.way.rule.clone()).collect();
    if let [only] = request.queries.as_slice() {
        event.operation = Some(only.operation.clone());
        event.instance.clone_from(&only.instance);
    }
}

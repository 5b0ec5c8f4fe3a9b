//! Listing access requests: one's own, those to be answered, and all that one may see.

use portcullis_model::{AccessRequest, AccessRequestId};
use portcullis_store::AccessRequests;

use super::{LISTED, Result, can_review, may_see, reviewers, view_with, waits};
use crate::{
    OpContext,
    core::Core,
    rights,
    usecase::part::{self, Part},
    views::{AccessRequestFilter, AccessRequestView},
};

/// In lists with more that wait, who could review is said by operation.
const EXACTLY_NAMED: usize = 10;

/// A part of the list, newest first, after `before`.
pub(crate) async fn part(
    core: &Core,
    op: &OpContext,
    filter: AccessRequestFilter,
    before: Option<AccessRequestId>,
    limit: usize,
) -> Result<Part<AccessRequestView, AccessRequestId>> {
    let (found, next) = match filter {
        AccessRequestFilter::Mine => mine(core, op, before, limit).await?,
        AccessRequestFilter::MineWaiting => (mine_waiting(core, op).await?, None),
        AccessRequestFilter::ToReview => {
            let which = vec![AccessRequests::Pending, AccessRequests::ToReviewAfterwards];
            to_review(core, op, which, before, limit).await?
        }
        AccessRequestFilter::ToReviewAfterwards => {
            to_review(core, op, vec![AccessRequests::ToReviewAfterwards], before, limit).await?
        }
        AccessRequestFilter::All => all(core, op, before, limit).await?,
    };
    let waiting = found.iter().filter(|request| waits(request)).count();
    let views = found.into_iter().map(|request| {
        let people = if waiting > EXACTLY_NAMED {
            named_by_operation(core, &request)
        } else {
            reviewers(core, op, &request)
        };
        view_with(core, op, request, people)
    });
    Ok((views.collect(), next))
}

/// How many wait for the caller's answer; no more than `most` are counted.
pub(crate) async fn count_to_review(core: &Core, op: &OpContext, most: usize) -> Result<usize> {
    let which = vec![AccessRequests::Pending, AccessRequests::ToReviewAfterwards];
    Ok(to_review(core, op, which, None, most).await?.0.len())
}

fn id(request: &AccessRequest) -> AccessRequestId {
    request.id
}

async fn mine(
    core: &Core,
    op: &OpContext,
    before: Option<AccessRequestId>,
    limit: usize,
) -> Result<Part<AccessRequest, AccessRequestId>> {
    let own = &rights::caller(op)?.id;
    let read = |before, at_most| {
        core.store.access_requests(AccessRequests::Of(own.clone(), before), at_most)
    };
    part::walk(before, limit, id, |_| true, read).await
}

/// The caller's own that somebody is yet to answer.
async fn mine_waiting(core: &Core, op: &OpContext) -> Result<Vec<AccessRequest>> {
    let own = &rights::caller(op)?.id;
    let pending = AccessRequests::PendingOf(own.clone());
    let mut found = core.store.access_requests(pending, LISTED).await?;
    let afterwards = core.store.access_requests(AccessRequests::ToReviewAfterwards, LISTED).await?;
    found.extend(afterwards.into_iter().filter(|request| request.requester == *own));
    found.sort_by_key(|request| std::cmp::Reverse(request.id));
    Ok(found)
}

/// Those that wait for an answer that the caller could give. No more are decided about than are wanted.
async fn to_review(
    core: &Core,
    op: &OpContext,
    which: Vec<AccessRequests>,
    before: Option<AccessRequestId>,
    limit: usize,
) -> Result<Part<AccessRequest, AccessRequestId>> {
    rights::caller(op)?;
    let mut waiting = Vec::new();
    for which in which {
        waiting.extend(core.store.access_requests(which, LISTED).await?);
    }
    waiting.sort_by_key(|request| std::cmp::Reverse(request.id));
    let snapshot = core.snapshot();
    let wanted = |request: &AccessRequest| {
        before.is_none_or(|before| request.id < before) && can_review(core, &snapshot, op, request)
    };
    let found = waiting.into_iter().filter(wanted).take(limit.saturating_add(1)).collect();
    Ok(part::cut(found, limit, id))
}

async fn all(
    core: &Core,
    op: &OpContext,
    before: Option<AccessRequestId>,
    limit: usize,
) -> Result<Part<AccessRequest, AccessRequestId>> {
    let own = &rights::caller(op)?.id;
    let snapshot = core.snapshot();
    let seen = |request: &AccessRequest| {
        request.requester != *own && may_see(core, &snapshot, op, request)
    };
    let read =
        |before, at_most| core.store.access_requests(AccessRequests::Newest(before), at_most);
    let others = part::walk(before, limit, id, seen, read).await?;
    let own = mine(core, op, before, limit).await?;
    Ok(part::both(own, others, limit, id))
}

/// Who could answer one for its first operation, whoever asks: remembered, so that a long list costs no decision
/// for each of its requests and each person.
fn named_by_operation(core: &Core, request: &AccessRequest) -> Vec<String> {
    let first = request.queries.first().filter(|_| waits(request));
    let names = first.map(|query| core.reviewers(&query.operation)).unwrap_or_default();
    names.into_iter().filter(|name| *name != request.requester_name).collect()
}

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
/// Of one principal's that wait for an answer afterwards, so many are looked at.
const TOGETHER: usize = 500;
/// So often it is read on where a part has nothing for the caller.
const READ_ON: usize = 16;
/// So many parts are counted, at most: a count stands on a page that has to be there at once.
const COUNTED: usize = 2;

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
            to_review(core, op, Waiting::All, before, limit, READ_ON).await?
        }
        AccessRequestFilter::ToReviewAfterwards => {
            to_review(core, op, Waiting::Afterwards, before, limit, READ_ON).await?
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

/// How many wait for the caller's answer; no more than `most` are counted, and none behind some thousand newer
/// ones: those are in the list.
pub(crate) async fn count_to_review(core: &Core, op: &OpContext, most: usize) -> Result<usize> {
    let (mut count, mut before) = (0, None);
    for _ in 0..COUNTED {
        let left = most.saturating_sub(count);
        let (found, next) = to_review(core, op, Waiting::All, before, left, 1).await?;
        count += found.len();
        before = next;
        if before.is_none() || count >= most {
            break;
        }
    }
    Ok(count)
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

/// The caller's own that somebody is yet to answer. There are few of them, among whatever many of others.
async fn mine_waiting(core: &Core, op: &OpContext) -> Result<Vec<AccessRequest>> {
    let own = &rights::caller(op)?.id;
    let pending = AccessRequests::PendingOf(own.clone());
    let mut found = core.store.access_requests(pending, LISTED).await?;
    let read = |before, at_most| {
        core.store
            .access_requests(AccessRequests::ToReviewAfterwardsOf(own.clone(), before), at_most)
    };
    found.extend(part::walk(None, TOGETHER, id, |_| true, read).await?.0);
    found.sort_by_key(|request| std::cmp::Reverse(request.id));
    Ok(found)
}

/// What waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// For a first one, or for one afterwards.
    All,
    /// For one afterwards.
    Afterwards,
}

/// Those that wait for an answer that the caller could give. Whoever may answer what is old does not have to page
/// through what is new and for others: a part without any is the last one, or comes after some thousands.
async fn to_review(
    core: &Core,
    op: &OpContext,
    which: Waiting,
    mut before: Option<AccessRequestId>,
    limit: usize,
    read_on: usize,
) -> Result<Part<AccessRequest, AccessRequestId>> {
    rights::caller(op)?;
    let snapshot = core.snapshot();
    // Nobody else pays for what waits.
    if !rights::could_ever_review(&snapshot, op) {
        return Ok((Vec::new(), None));
    }
    let wanted = |request: &AccessRequest| can_review(core, &snapshot, op, request);
    for _ in 0..read_on {
        let read = |before, at_most| {
            core.store.access_requests(AccessRequests::ToReviewAfterwards(before), at_most)
        };
        let mut found = part::walk(before, limit, id, wanted, read).await?;
        if which == Waiting::All {
            let read = |before, at_most| {
                core.store.access_requests(AccessRequests::Pending(before), at_most)
            };
            let pending = part::walk(before, limit, id, wanted, read).await?;
            found = part::both(found, pending, limit, id);
        }
        if !found.0.is_empty() || found.1.is_none() {
            return Ok(found);
        }
        before = found.1;
    }
    Ok((Vec::new(), before))
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

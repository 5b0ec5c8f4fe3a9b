//! What came of an access request, told where a message that asked cannot be changed: once somebody has
//! answered, and once more when it is all over.
//!
//! Promises: whoever was asked is told how it ended, at least once, also after a restart; whoever could not be
//! reached meanwhile is told how things are then, in one message. Nobody is told of what they were not asked.

use std::sync::Arc;

use portcullis_model::{AccessRequest, AccessRequestState, Grant, GrantState};
use portcullis_policy::notice::NoticeTarget;
use portcullis_store::{Change, NoticeChange, StoredNotice};

use super::{LOOK, MOST_TAKING_BACK, Result, delivered, failed, go_on, later, written};
use crate::{OpContext, core::Core, expiry::Ending, ports::NotDelivered};

/// What a stored notice's target begins with when it was told; behind it stands what is known there.
const OUTCOME: &str = "outcome ";
/// All is over.
const FINAL: u8 = 2;

/// What is known there, and where, if `target` is of what was told.
pub(super) fn of(target: &str) -> Option<(u8, NoticeTarget)> {
    let (stage, target) = target.strip_prefix(OUTCOME)?.split_once(' ')?;
    Some((stage.parse().ok()?, target.parse().ok()?))
}

/// The grants that came of it.
pub(crate) async fn grants(core: &Core, request: &AccessRequest) -> Result<Vec<Grant>> {
    let mut grants = Vec::new();
    if let AccessRequestState::Approved { grants: ids, .. } = &request.state {
        for id in ids {
            grants.extend(core.store.grant(*id).await?);
        }
    }
    Ok(grants)
}

/// How much there is to tell: it waits, it is answered, all is over. Of an emergency it is the end and the
/// review afterwards, in either order.
pub(super) fn stage(request: &AccessRequest, grants: &[Grant]) -> u8 {
    let ended = grants.iter().all(|grant| grant.state != GrantState::InForce);
    match &request.state {
        AccessRequestState::Pending => 0,
        AccessRequestState::Approved { .. } if request.is_emergency() => {
            u8::from(ended) + u8::from(!request.waits_for_review_afterwards())
        }
        AccessRequestState::Approved { .. } => 1 + u8::from(ended),
        AccessRequestState::Declined { .. }
        | AccessRequestState::Withdrawn { .. }
        | AccessRequestState::Expired { .. } => FINAL,
    }
}

/// As what `target` is looked at again once `stage` is known there, unless all is over.
pub(super) fn follows(stage: u8, target: &NoticeTarget) -> Option<String> {
    (stage < FINAL).then(|| format!("{OUTCOME}{stage} {target}"))
}

/// `stage` is known there now.
pub(super) async fn told(
    core: &Arc<Core>,
    op: &OpContext,
    notice: StoredNotice,
    request: &AccessRequest,
    (stage, target): (u8, NoticeTarget),
) -> Result<()> {
    let event = delivered(core, op, request, target.in_short());
    if let Some(follows) = follows(stage, &target) {
        return go_on(core, op, notice, follows, event).await;
    }
    let (id, about) = (notice.id, notice.access_request);
    core.settle_unless_done(vec![Change::Notice(NoticeChange::End(id)), event]).await?;
    core.told.forget(about, id);
    Ok(())
}

/// Tells there what has come of it since, if anything has.
pub(super) async fn look(
    core: &Arc<Core>,
    notice: StoredNotice,
    known: u8,
    target: NoticeTarget,
) -> Result<()> {
    let (id, about) = (notice.id, notice.access_request);
    // Before it is looked at: whoever changes it from here on finds it.
    core.told.stands(about, id);
    let Some(request) = core.store.access_request(about).await? else {
        core.settle_unless_done(vec![Change::Notice(NoticeChange::End(id))]).await?;
        core.told.forget(about, id);
        return Ok(());
    };
    let grants = grants(core, &request).await?;
    let stage = stage(&request, &grants);
    if stage <= known {
        core.deadlines.add([(core.now() + LOOK, Ending::Notice(id))]);
        return Ok(());
    }
    let receiver = target.in_short();
    if let Err(free) = core.paces.turn(&receiver, core.now()) {
        core.deadlines.add([(free, Ending::Notice(id))]);
        return Ok(());
    }
    let op = OpContext::system("notify", core.now());
    let message = written(core, &op, id, (&request, &grants));
    let answer = core.notifier.deliver(&target, &message).await;
    let op = OpContext::system("notify", core.now());
    match answer {
        Ok(()) => {
            core.paces.told(&receiver);
            told(core, &op, notice, &request, (stage, target)).await
        }
        Err(NotDelivered { why, again, rest, .. }) => {
            let next = core.paces.failed(&receiver, rest, op.now());
            if again && notice.attempts < MOST_TAKING_BACK {
                tracing::warn!(target = receiver, %why, "what came of it is not told yet");
                return later(core, notice, next).await;
            }
            let notice = StoredNotice { target: target.to_string(), ..notice };
            failed(core, &op, &notice, &request, format!("what came of it: {why}")).await?;
            core.told.forget(about, id);
            Ok(())
        }
    }
}

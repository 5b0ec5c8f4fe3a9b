//! Seeing grants, and ending them.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{Event, EventType, Grant, GrantEnd, GrantId, GrantState};
use portcullis_policy::ControlAction;
use portcullis_store::{Change, Grants};

use super::{issue, principals, sealed};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    views::grant::GrantView,
};

const LISTED: u32 = 500;
const NOT_FOUND: ControlError = ControlError::NotFound("the grant");

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<Grant>> {
    let caller = rights::caller(op)?;
    let mut found = core.store.grants(Grants::Of(caller.id.clone()), LISTED).await?;
    let others = core.store.grants(Grants::Newest, LISTED).await?;
    found.extend(
        others.into_iter().filter(|grant| !rights::holds(op, grant) && sees(core, op, grant)),
    );
    found.sort_by_key(|grant| std::cmp::Reverse(grant.id));
    Ok(found)
}

pub(crate) async fn one(core: &Core, op: &OpContext, id: GrantId) -> Result<Grant> {
    let found = core.store.grant(id).await?.ok_or(NOT_FOUND)?;
    if rights::holds(op, &found) || sees(core, op, &found) { Ok(found) } else { Err(NOT_FOUND) }
}

/// One grant with what the caller can do about it.
pub(crate) async fn closer(core: &Core, op: &OpContext, id: GrantId) -> Result<GrantView> {
    let grant = one(core, op, id).await?;
    Ok(GrantView {
        holder: principals::known_as(core, &grant.principal),
        is_mine: rights::holds(op, &grant),
        may_revoke: may_revoke(core, op, &grant),
        connections: core.connections.of_grant(id).len(),
        grant,
    })
}

fn sees(core: &Core, op: &OpContext, grant: &Grant) -> bool {
    let snapshot = core.snapshot();
    may_revoke(core, op, grant) || rights::may_view_audit(&snapshot, op)
}

fn may_revoke(core: &Core, op: &OpContext, grant: &Grant) -> bool {
    let service = &grant.resource.service;
    rights::may_on_service(&core.snapshot(), op, ControlAction::Revoke, service)
}

/// Ends somebody's grant; one's own is given back instead, which needs no right.
pub(crate) async fn revoke(core: &Arc<Core>, op: &OpContext, id: GrantId) -> Result<Grant> {
    let grant = one(core, op, id).await?;
    if may_revoke(core, op, &grant) {
        return end_grant(core, op, id, GrantEnd::Revoked).await;
    }
    if rights::holds(op, &grant) {
        return end_grant(core, op, id, GrantEnd::GivenBack).await;
    }
    let service = &grant.resource.service;
    Err(ControlError::Denied(format!("no policy lets you revoke grants of `{service}`")))
}

pub(crate) async fn give_back(core: &Arc<Core>, op: &OpContext, id: GrantId) -> Result<Grant> {
    let grant = one(core, op, id).await?;
    if !rights::holds(op, &grant) {
        let why = "only its holder gives a grant back; revoke it instead";
        return Err(ControlError::Denied(why.into()));
    }
    end_grant(core, op, id, GrantEnd::GivenBack).await
}

/// The window of a grant that ended at `at` is over, by the wall clock or by the one that nobody sets.
/// If its end moved since, nothing is over: its new end is awaited as well.
pub(crate) async fn expire(
    core: &Arc<Core>,
    op: &OpContext,
    id: GrantId,
    at: Timestamp,
) -> Result<()> {
    let grant = core.store.grant(id).await?.ok_or(NOT_FOUND)?;
    if grant.state == GrantState::InForce && grant.expires_at > at {
        core.deadlines.add([expiry::grant_end(&grant)]);
        return Ok(());
    }
    end_grant(core, op, id, GrantEnd::Expired).await.map(drop)
}

/// Ends a grant. When this returns, it opens nothing in this process any more.
pub(crate) async fn end_grant(
    core: &Arc<Core>,
    op: &OpContext,
    id: GrantId,
    why: GrantEnd,
) -> Result<Grant> {
    // Somebody may be spending a use at this moment: then the version has moved, and we look again.
    loop {
        let grant = core.store.grant(id).await?.ok_or(NOT_FOUND)?;
        let seen_version = grant.version;
        let by = op.caller().and_then(|caller| caller.principal().person);
        let ended = match grant.clone().end(op.now(), why, by) {
            Ok(ended) => ended,
            Err(over) => {
                // An earlier end may have been stored by a commit whose answer was lost.
                core.publisher.publish(vec![Effect::Grant(grant)], core.now());
                return Err(ControlError::Conflict(over.to_string()));
            }
        };
        let mut settlement = Settlement {
            changes: changes(core, op, &ended, seen_version, why),
            at_once: vec![Effect::Grant(ended.clone())],
            ..Settlement::default()
        };
        if matches!(why, GrantEnd::Revoked | GrantEnd::GivenBack) {
            sealed::end_with(core, op, &ended, &mut settlement).await?;
        }
        match core.settle(settlement).await {
            Ok(()) => return Ok(ended),
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
}

/// What the end of a grant changes in the store.
pub(crate) fn changes(
    core: &Core,
    op: &OpContext,
    ended: &Grant,
    seen_version: u32,
    why: GrantEnd,
) -> Vec<Change> {
    let moved = Change::MoveGrant { grant: ended.clone(), seen_version };
    vec![moved, Change::Record(self::ended(core, op, ended, why))]
}

/// The event of a grant that is over.
pub(crate) fn ended(core: &Core, op: &OpContext, grant: &Grant, why: GrantEnd) -> Event {
    let mut event = core.event(op, EventType::GrantEnded);
    issue::describe(&mut event, grant);
    event.decision = Some(word(why).into());
    let holder = &grant.principal;
    event.detail = Some(format!("the grant of {holder} {}", why.in_words()));
    event
}

/// The word of the record, the same as in the grant's own JSON.
fn word(why: GrantEnd) -> &'static str {
    match why {
        GrantEnd::Expired => "expired",
        GrantEnd::Revoked => "revoked",
        GrantEnd::UsedUp => "used_up",
        GrantEnd::GivenBack => "given_back",
        GrantEnd::Idle => "idle",
        GrantEnd::RuleGone => "rule_gone",
        GrantEnd::IncidentResolved => "incident_resolved",
        GrantEnd::HolderGone => "holder_gone",
    }
}

//! Seeing grants, and ending them.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use portcullis_model::{
    Event, EventType, Grant, GrantEnd, GrantId, GrantState, IncidentId, ServiceName,
};
use portcullis_policy::ControlAction;
use portcullis_store::{Change, Grants};

use super::{
    access_requests, issue,
    part::{self, Part},
    principals, sealed,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    views::grant::{Closer, GrantView, HeldGrant},
};

/// Of those for one incident, so many are looked at.
const MOST_FOR_INCIDENT: u32 = 500;
const NOT_FOUND: ControlError = ControlError::NotFound("the grant");

type Result<T> = std::result::Result<T, ControlError>;

/// A part of the grants that the caller may see, newest first, after `before`.
pub(crate) async fn part(
    core: &Core,
    op: &OpContext,
    before: Option<GrantId>,
    limit: usize,
) -> Result<Part<Grant, GrantId>> {
    let holder = &rights::caller(op)?.id;
    let id = |grant: &Grant| grant.id;
    let read = |before, at_most| core.store.grants(Grants::Of(holder.clone(), before), at_most);
    let own = part::walk(before, limit, id, |_| true, read).await?;
    let sight = Sight::of(core, op);
    if sight.sees_nothing() {
        return Ok(own);
    }
    let seen = |grant: &Grant| !rights::holds(op, grant) && sight.sees(grant);
    let read = |before, at_most| core.store.grants(Grants::Newest(before), at_most);
    let others = part::walk(before, limit, id, seen, read).await?;
    Ok(part::both(own, others, limit, id))
}

/// The caller's own that open something now, as gates know them; the first to end first.
pub(crate) fn own(core: &Core, op: &OpContext) -> Result<Vec<Grant>> {
    let (holder, now) = (&rights::caller(op)?.id, op.now());
    let snapshot = core.snapshot();
    let held = snapshot.grants_of(holder).filter(|grant| grant.in_force(now));
    let mut own: Vec<Grant> = held.map(|grant| Grant::clone(grant)).collect();
    own.sort_by_key(|grant| (grant.expires_at, grant.id));
    Ok(own)
}

/// Those for one incident that open something now and that the caller may see, newest first.
pub(crate) async fn for_incident(
    core: &Core,
    op: &OpContext,
    incident: &IncidentId,
) -> Result<Vec<Grant>> {
    rights::caller(op)?;
    let mut found =
        core.store.grants(Grants::InForceFor(incident.clone()), MOST_FOR_INCIDENT).await?;
    let sight = Sight::of(core, op);
    found.retain(|grant| {
        grant.in_force(op.now()) && (rights::holds(op, grant) || sight.sees(grant))
    });
    Ok(found)
}

/// Whose grants a caller sees besides their own: decided once, however many grants there are.
struct Sight {
    audits: bool,
    /// Where they may `revoke`.
    services: BTreeSet<ServiceName>,
}

impl Sight {
    fn of(core: &Core, op: &OpContext) -> Self {
        let snapshot = core.snapshot();
        let services = snapshot.bundle().catalog().services().map(|one| &one.source().name);
        let revokes = |name: &&ServiceName| {
            rights::may_on_service(&snapshot, op, ControlAction::Revoke, name)
        };
        let audits = rights::may_view_audit(&snapshot, op);
        Self { audits, services: services.filter(revokes).cloned().collect() }
    }

    fn sees_nothing(&self) -> bool {
        !self.audits && self.services.is_empty()
    }

    fn sees(&self, grant: &Grant) -> bool {
        self.audits || self.services.contains(&grant.resource.service)
    }
}

pub(crate) async fn one(core: &Core, op: &OpContext, id: GrantId) -> Result<Grant> {
    let found = core.store.grant(id).await?.ok_or(NOT_FOUND)?;
    if rights::holds(op, &found) || sees(core, op, &found) { Ok(found) } else { Err(NOT_FOUND) }
}

/// Each of `grants`, with what the caller can do about it and where they can look closer.
pub(crate) async fn held(
    core: &Core,
    op: &OpContext,
    grants: Vec<Grant>,
) -> Result<Vec<HeldGrant>> {
    let mut held = Vec::with_capacity(grants.len());
    let audits = rights::may_view_audit(&core.snapshot(), op);
    for grant in grants {
        let may_revoke = may_revoke(core, op, &grant);
        // As [`one`] has it.
        let closer = if rights::holds(op, &grant) || may_revoke || audits {
            Closer::Grant
        } else {
            match access_requests::visible(core, op, grant.access_request).await {
                Ok(_) => Closer::AccessRequest,
                Err(ControlError::NotFound(_)) => Closer::Nowhere,
                Err(error) => return Err(error),
            }
        };
        held.push(HeldGrant { grant, closer, may_revoke });
    }
    Ok(held)
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

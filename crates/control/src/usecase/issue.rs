//! Issuing grants: the same for automatic ways and for those that people approved.
//!
//! Nobody holds two grants for the very same. Where a grant is held already, what is approved moves its
//! end, and never past the longest window that it may have as a whole.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{
    AccessQuery, AccessRequest, EventType, Grant, GrantId, GrantKind, GrantState, Resource, Way,
    Window,
};
use portcullis_policy::Snapshot;
use portcullis_store::Change;

use super::idle;
use crate::{OpContext, core::Core, expiry, publisher::Effect, settle::Settlement};

/// One query with the way to it as policy has it now.
#[derive(Debug)]
pub(crate) struct Issuable {
    pub(crate) query: AccessQuery,
    pub(crate) way: Way,
    /// What the requester holds of it already.
    pub(crate) held: Option<Arc<Grant>>,
}

/// What an approval comes to, for one query.
#[derive(Debug)]
pub(crate) enum Issue {
    /// A new grant.
    New(Grant),
    /// A grant whose end moves.
    Extended { grant: Grant, seen_version: u32 },
    /// A grant that is as long as it can be already.
    Held(GrantId),
}

impl Issue {
    pub(crate) fn id(&self) -> GrantId {
        match self {
            Self::New(grant) | Self::Extended { grant, .. } => grant.id,
            Self::Held(id) => *id,
        }
    }
}

/// One grant per query. Its clock starts now, and its window is what was agreed, or less where
/// policy has become stricter.
pub(crate) fn issue(
    core: &Core,
    op: &OpContext,
    snapshot: &Snapshot,
    request: &AccessRequest,
    issuable: Vec<Issuable>,
    approvals: usize,
) -> Vec<Issue> {
    let agreed = request.agreed_duration();
    let approvals = u8::try_from(approvals).unwrap_or(u8::MAX);
    let one = |one: Issuable| {
        let reviews = approvals.max(one.way.reviews);
        match &one.held {
            None => Issue::New(grant(core, op, request, one, agreed, reviews)),
            Some(held) => prolonged(op, snapshot, held, &one.way, agreed, reviews),
        }
    };
    issuable.into_iter().map(one).collect()
}

fn grant(
    core: &Core,
    op: &OpContext,
    request: &AccessRequest,
    Issuable { query, way, held: _ }: Issuable,
    agreed: Window,
    reviews: u8,
) -> Grant {
    let window = agreed.min(way.max_duration);
    Grant {
        id: GrantId::new(op.now(), core.entropy.as_ref()),
        version: 0,
        access_request: request.id,
        principal: request.requester.clone(),
        rule: way.rule,
        kind: way.kind,
        reviews,
        operation: query.operation,
        resource: Resource { service: request.service.clone(), instance: query.instance },
        incident: way.incident,
        digest: query.digest,
        starts_at: op.now(),
        expires_at: op.now() + window.signed(),
        max_uses: way.max_uses,
        uses: 0,
        idle: way.idle,
        state: GrantState::InForce,
    }
}

fn prolonged(
    op: &OpContext,
    snapshot: &Snapshot,
    held: &Arc<Grant>,
    way: &Way,
    agreed: Window,
    reviews: u8,
) -> Issue {
    let window = agreed.min(way.max_duration);
    let until = (op.now() + window.signed()).min(longest(snapshot, held, way));
    // Fewer people than stand behind it now do not prolong what it is.
    if until <= held.expires_at || reviews < held.reviews {
        return Issue::Held(held.id);
    }
    let seen_version = held.version;
    match Grant::clone(held).extend(until, way.kind, reviews, op.now()) {
        Ok(grant) => Issue::Extended { grant, seen_version },
        Err(_) => Issue::Held(held.id),
    }
}

/// When `grant` ends at the latest, however often it is extended. What people approve anew each time
/// may become as long as the service's longest grant; what nobody approved never becomes longer
/// than its rule says.
pub(crate) fn longest(snapshot: &Snapshot, grant: &Grant, way: &Way) -> Timestamp {
    let service = snapshot.bundle().catalog().service(&grant.resource.service);
    let of_service = service.map_or(way.max_duration, |service| service.source().max_grant);
    let window = match way.kind {
        GrantKind::Automatic | GrantKind::Emergency => way.max_duration.min(of_service),
        GrantKind::Review => of_service,
    };
    grant.starts_at + window.signed()
}

/// Adds what `issues` change. With `once`, a grant that somebody else issued for the same at this
/// moment is a conflict; without, only for grants that do not count uses.
pub(crate) fn start(
    core: &Core,
    op: &OpContext,
    issues: Vec<Issue>,
    once: bool,
    into: &mut Settlement,
) {
    for issue in issues {
        match issue {
            Issue::Held(_) => {}
            Issue::New(grant) => {
                let event = event(core, op, EventType::GrantStarted, &grant);
                let add = if once || grant.max_uses.is_none() {
                    Change::AddGrantOnce(grant.clone())
                } else {
                    Change::AddGrant(grant.clone())
                };
                into.changes.extend([add, Change::Record(event)]);
                begin(grant, op.now(), into);
            }
            Issue::Extended { grant, seen_version } => {
                let event = event(core, op, EventType::GrantExtended, &grant);
                let moved = Change::MoveGrant { grant: grant.clone(), seen_version };
                into.changes.extend([moved, Change::Record(event)]);
                begin(grant, op.now(), into);
            }
        }
    }
}

fn event(core: &Core, op: &OpContext, kind: EventType, grant: &Grant) -> portcullis_model::Event {
    let mut event = core.event(op, kind);
    describe(&mut event, grant);
    // The principal of this event is the holder; who approved is in the reviews before it.
    event.principal = Some(grant.principal.clone());
    event.decision = Some(grant.kind.as_str().into());
    event.detail = Some(format!("until {}", grant.expires_at));
    event
}

fn begin(grant: Grant, now: Timestamp, into: &mut Settlement) {
    into.deadlines.push(expiry::grant_end(&grant));
    into.deadlines.extend(idle::unused(&grant, now));
    into.once_recorded.push(Effect::Grant(grant));
}

/// What every event about a grant says.
pub(crate) fn describe(event: &mut portcullis_model::Event, grant: &Grant) {
    event.service = Some(grant.resource.service.clone());
    event.instance.clone_from(&grant.resource.instance);
    event.operation = Some(grant.operation.clone());
    event.policies = vec![grant.rule.clone()];
    event.grant = Some(grant.id);
    event.incident.clone_from(&grant.incident);
    event.access_request = Some(grant.access_request);
}

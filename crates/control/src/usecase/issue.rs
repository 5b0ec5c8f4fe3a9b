//! Issuing grants: the same for automatic ways and for those that people approved.

use portcullis_model::{
    AccessQuery, AccessRequest, EventType, Grant, GrantId, GrantState, Resource, Way, Window,
};
use portcullis_store::Change;

use crate::{OpContext, core::Core, expiry::Ending, publisher::Effect, settle::Settlement};

/// One query with the way to it as policy has it now.
#[derive(Debug)]
pub(crate) struct Issuable<'a> {
    pub(crate) query: &'a AccessQuery,
    pub(crate) way: Way,
}

/// One grant per query. Its clock starts now, and its window is what was agreed, or less where
/// policy has become stricter.
pub(crate) fn grants(
    core: &Core,
    op: &OpContext,
    request: &AccessRequest,
    issuable: &[Issuable<'_>],
    approvals: usize,
) -> Vec<Grant> {
    let agreed = request.agreed_duration();
    issuable.iter().map(|one| grant(core, op, request, one, agreed, approvals)).collect()
}

fn grant(
    core: &Core,
    op: &OpContext,
    request: &AccessRequest,
    Issuable { query, way }: &Issuable<'_>,
    agreed: Window,
    approvals: usize,
) -> Grant {
    let window = agreed.min(way.max_duration);
    Grant {
        id: GrantId::new(op.now(), core.entropy.as_ref()),
        version: 0,
        access_request: request.id,
        principal: request.requester.clone(),
        rule: way.rule.clone(),
        kind: way.kind,
        reviews: u8::try_from(approvals).unwrap_or(u8::MAX).max(way.reviews),
        operation: query.operation.clone(),
        resource: Resource { service: request.service.clone(), instance: query.instance.clone() },
        incident: way.incident.clone(),
        digest: query.digest.clone(),
        starts_at: op.now(),
        expires_at: op.now() + window.signed(),
        max_uses: way.max_uses,
        uses: 0,
        state: GrantState::InForce,
    }
}

/// Adds what starting `grants` changes; `add` says under which guard.
pub(crate) fn start(
    core: &Core,
    op: &OpContext,
    grants: Vec<Grant>,
    add: fn(Grant) -> Change,
    into: &mut Settlement,
) {
    for grant in grants {
        let mut event = core.event(op, EventType::GrantStarted);
        describe(&mut event, &grant);
        // The principal of this event is the holder; who approved is in the reviews before it.
        event.principal = Some(grant.principal.clone());
        event.decision = Some(grant.kind.as_str().into());
        event.detail = Some(format!("until {}", grant.expires_at));
        into.changes.push(add(grant.clone()));
        into.changes.push(Change::Record(event));
        into.deadlines.push((grant.expires_at, Ending::Grant(grant.id)));
        into.once_recorded.push(Effect::Grant(grant));
    }
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

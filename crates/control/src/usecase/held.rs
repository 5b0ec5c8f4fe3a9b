//! What somebody holds already of what they ask for: no second grant is issued for it.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{AccessQuery, AccessRequest, Grant, PrincipalId};
use portcullis_policy::Snapshot;
use portcullis_store::Grants;

use crate::{ControlError, core::Core, publisher::Effect, settle};

/// For each query, a grant of `principal` in force that covers it.
pub(crate) fn covering(
    snapshot: &Snapshot,
    principal: &PrincipalId,
    queries: &[AccessQuery],
    now: Timestamp,
) -> Vec<Option<Arc<Grant>>> {
    let covers = |query: &AccessQuery, grant: &Grant| {
        let instance = &grant.resource.instance;
        grant.in_force(now)
            && grant.rule == query.way.rule
            && grant.incident == query.way.incident
            && grant.operation == query.operation
            && (instance.is_none() || *instance == query.instance)
            && (grant.digest.is_none() || grant.digest == query.digest)
    };
    let covered = |query: &AccessQuery| {
        let mut own = snapshot.grants_of(principal);
        own.find(|grant| covers(query, grant)).cloned()
    };
    queries.iter().map(covered).collect()
}

/// The last of them, if there is one for each query.
pub(crate) fn all(held: &[Option<Arc<Grant>>]) -> Option<&Arc<Grant>> {
    if held.iter().all(Option::is_some) { held.last()?.as_ref() } else { None }
}

/// The grant that a new one for `query` would be a second of: for the very same, without counting.
pub(crate) fn same(
    snapshot: &Snapshot,
    request: &AccessRequest,
    query: &AccessQuery,
    now: Timestamp,
) -> Option<Arc<Grant>> {
    let mut own = snapshot.grants_of(&request.requester);
    own.find(|grant| {
        grant.in_force(now)
            && grant.max_uses.is_none()
            && grant.rule == query.way.rule
            && grant.incident == query.way.incident
            && grant.operation == query.operation
            && grant.resource.instance == query.instance
            && grant.digest == query.digest
    })
    .cloned()
}

/// Publishes what the store has of somebody's grants and the snapshot may not have yet.
pub(crate) async fn catch_up(core: &Core, principal: &PrincipalId) -> Result<(), ControlError> {
    let grants = core.store.grants(Grants::InForceOf(principal.clone()), u32::MAX).await?;
    // INVARIANT: on record first. The start of each was committed before it could be read.
    core.outbox.drain().await.map_err(|_| settle::no_record())?;
    let now = core.now();
    let in_force = grants.into_iter().filter(|grant| grant.in_force(now));
    core.publisher.publish(in_force.map(Effect::Grant).collect(), now);
    Ok(())
}

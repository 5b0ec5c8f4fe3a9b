//! The people and workloads that were seen, for those who review and audit.

use std::collections::HashMap;

use portcullis_model::{PrincipalId, PrincipalKind, SignIn, SignInId};
use portcullis_store::Grants;

use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    views::{KnownAs, PrincipalView},
};

/// Everybody, newest first. Takes `viewAudit`, or the right to review something.
pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<PrincipalView>, ControlError> {
    rights::caller(op)?;
    if !rights::may_view_audit(&core.snapshot(), op) && !rights::may_review_anything(core, op) {
        let why = "seeing who there is takes `viewAudit`, or the right to review something";
        return Err(ControlError::Denied(why.into()));
    }
    let mut sign_ins: HashMap<PrincipalId, Vec<SignIn>> = HashMap::new();
    for stored in core.store.sign_ins().await? {
        let SignIn { principal, .. } = &stored.sign_in;
        sign_ins.entry(workload_of(principal)).or_default().push(stored.sign_in);
    }
    let mut grants: HashMap<PrincipalId, Vec<_>> = HashMap::new();
    for grant in core.store.grants(Grants::InForce, u32::MAX).await? {
        if grant.in_force(op.now()) {
            grants.entry(workload_of(&grant.principal)).or_default().push(grant);
        }
    }
    let seen = core.store.seen().await?;
    let seen = seen.into_iter().filter(|seen| !is_run(&seen.principal.id));
    let view = |seen: portcullis_store::SeenPrincipal| {
        let principal = core.publisher.as_known(&seen.principal);
        let (active, is_provisioned) = core.publisher.directory(|directory| {
            (!directory.bars(&principal), directory.user_of(&principal).is_some())
        });
        PrincipalView {
            sign_ins: sign_ins.remove(&principal.id).unwrap_or_default(),
            grants: grants.remove(&principal.id).unwrap_or_default(),
            last_sign_in: seen.at,
            active,
            is_provisioned,
            principal,
        }
    };
    let mut all: Vec<_> = seen.map(view).collect();
    all.sort_by(|one, other| {
        (other.last_sign_in, &one.principal.id).cmp(&(one.last_sign_in, &other.principal.id))
    });
    Ok(all)
}

/// What a principal is called; a run that is over is called as its job is.
pub(crate) fn known_as(core: &Core, id: &PrincipalId) -> KnownAs {
    let known = core.publisher.known_as(id);
    known.or_else(|| core.publisher.known_as(&workload_of(id))).unwrap_or_default()
}

/// A run belongs to the job that it is one of.
fn workload_of(id: &PrincipalId) -> PrincipalId {
    match (id.kind, id.id.rsplit_once('#')) {
        (PrincipalKind::Workload, Some((job, _))) if is_run(id) => {
            PrincipalId { kind: id.kind, id: job.into() }
        }
        _ => id.clone(),
    }
}

pub(crate) fn is_run(id: &PrincipalId) -> bool {
    let run = id.id.rsplit_once('#').map(|(_, run)| run.parse::<SignInId>());
    id.kind == PrincipalKind::Workload && matches!(run, Some(Ok(_)))
}

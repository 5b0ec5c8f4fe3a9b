//! The people and workloads that were seen, for those who review and audit.

use std::collections::{BTreeSet, HashMap};

use portcullis_model::{Principal, PrincipalId, PrincipalKind, SignIn, SignInId};
use portcullis_store::{Grants, SeenPrincipal};

use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    views::{KnownAs, PrincipalView},
};

/// Everybody, newest first. Takes `viewAudit`, or the right to review something.
pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<PrincipalView>, ControlError> {
    allowed(core, op)?;
    let mut sign_ins = sign_ins(core).await?;
    let mut grants: HashMap<PrincipalId, Vec<_>> = HashMap::new();
    for grant in core.store.grants(Grants::InForce, u32::MAX).await? {
        if grant.in_force(op.now()) {
            grants.entry(workload_of(&grant.principal)).or_default().push(grant);
        }
    }
    let seen = core.store.seen().await?;
    let seen = seen.into_iter().filter(|seen| !is_run(&seen.principal.id));
    let whole = |seen: SeenPrincipal| {
        let sign_ins = sign_ins.remove(&seen.principal.id).unwrap_or_default();
        let grants = grants.remove(&seen.principal.id).unwrap_or_default();
        PrincipalView { sign_ins, grants, ..view(core, &seen) }
    };
    let mut all: Vec<_> = seen.map(whole).collect();
    all.sort_by(|one, other| {
        (other.last_sign_in, &one.principal.id).cmp(&(one.last_sign_in, &other.principal.id))
    });
    Ok(all)
}

/// A part of them, the last seen first: of those with `name` in their name or id, and seen before `cursor`. With
/// the cursor of the next part, if there is one. Looks at the grants of those only that it shows.
pub(crate) async fn part(
    core: &Core,
    op: &OpContext,
    name: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<PrincipalView>, Option<String>), ControlError> {
    allowed(core, op)?;
    let name = name.trim().to_lowercase();
    let is_called = |principal: &Principal| {
        name.is_empty()
            || principal.name.to_lowercase().contains(&name)
            || principal.id.id.to_lowercase().contains(&name)
    };
    let seen = core.store.seen().await?.into_iter();
    let mut seen: Vec<_> = seen
        .filter(|seen| !is_run(&seen.principal.id) && is_called(&seen.principal))
        .map(|seen| (place(&seen), seen))
        .filter(|(place, _)| cursor.is_none_or(|cursor| place.as_str() < cursor))
        .collect();
    seen.sort_unstable_by(|one, other| other.0.cmp(&one.0));
    let more = seen.len() > limit;
    seen.truncate(limit);
    let next = seen.last().filter(|_| more).map(|(place, _)| place.clone());
    let mut sign_ins = sign_ins(core).await?;
    let whole = |(_, seen): (String, SeenPrincipal)| {
        let sign_ins = sign_ins.remove(&seen.principal.id).unwrap_or_default();
        with_grants(core, op, view(core, &seen), sign_ins)
    };
    Ok((seen.into_iter().map(whole).collect(), next))
}

/// The one with this id.
pub(crate) async fn one(
    core: &Core,
    op: &OpContext,
    id: &str,
) -> Result<PrincipalView, ControlError> {
    allowed(core, op)?;
    let seen = core.store.seen().await?.into_iter();
    let found =
        seen.filter(|seen| !is_run(&seen.principal.id)).find(|seen| *seen.principal.id.id == *id);
    let seen = found.ok_or(ControlError::NotFound("the person"))?;
    let sign_ins = sign_ins(core).await?.remove(&seen.principal.id).unwrap_or_default();
    Ok(with_grants(core, op, view(core, &seen), sign_ins))
}

fn allowed(core: &Core, op: &OpContext) -> Result<(), ControlError> {
    rights::caller(op)?;
    if !rights::may_view_audit(&core.snapshot(), op) && !rights::may_review_anything(core, op) {
        let why = "seeing who there is takes `viewAudit`, or the right to review something";
        return Err(ControlError::Denied(why.into()));
    }
    Ok(())
}

/// Sorts by time, then by name.
fn place(seen: &SeenPrincipal) -> String {
    format!("{:020}-{}", seen.at.as_microsecond(), seen.principal.id)
}

async fn sign_ins(core: &Core) -> Result<HashMap<PrincipalId, Vec<SignIn>>, ControlError> {
    let mut sign_ins: HashMap<PrincipalId, Vec<SignIn>> = HashMap::new();
    for stored in core.store.sign_ins().await? {
        let SignIn { principal, .. } = &stored.sign_in;
        sign_ins.entry(workload_of(principal)).or_default().push(stored.sign_in);
    }
    Ok(sign_ins)
}

/// With the grants in force that gates know: theirs, and those of their runs.
fn with_grants(
    core: &Core,
    op: &OpContext,
    view: PrincipalView,
    sign_ins: Vec<SignIn>,
) -> PrincipalView {
    let snapshot = core.snapshot();
    let runs = sign_ins.iter().map(|sign_in| &sign_in.principal);
    let holders: BTreeSet<_> = runs.chain([&view.principal.id]).collect();
    let held = holders.into_iter().flat_map(|holder| snapshot.grants_of(holder));
    let grants = held.filter(|grant| grant.in_force(op.now())).map(|grant| (**grant).clone());
    PrincipalView { grants: grants.collect(), sign_ins, ..view }
}

/// Somebody as they are known now, without what they hold.
fn view(core: &Core, seen: &SeenPrincipal) -> PrincipalView {
    let principal = core.publisher.as_known(&seen.principal);
    let (active, is_provisioned) = core.publisher.directory(|directory| {
        (!directory.bars(&principal), directory.user_of(&principal).is_some())
    });
    PrincipalView {
        sign_ins: Vec::new(),
        grants: Vec::new(),
        last_sign_in: seen.at,
        active,
        is_provisioned,
        principal,
    }
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

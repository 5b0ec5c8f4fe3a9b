//! The people and workloads that were seen, for those who review and audit.
//!
//! Lists come in parts, and a part costs no more where there are many people: it reads whom it shows, and their
//! grants as gates know them. Of those, a reader sees what they could review, what is of services where they may
//! revoke, and their own; all of it with `viewAudit` or `administer`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use portcullis_model::{
    Grant, OperationName, Principal, PrincipalId, PrincipalKind, ServiceName, SignIn, SignInId,
};
use portcullis_policy::{ControlAction, Snapshot};
use portcullis_store::{SeenPlace, SeenPrincipal};

use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    views::{KnownAs, PrincipalView},
};

/// People of one reading.
const TOGETHER: u32 = 128;
/// Readings of one part, at most; the next part goes on from there.
const READINGS: usize = 64;
/// If no more are called so, they are looked up one by one.
const FEW: usize = 1_000;

type Result<T> = std::result::Result<T, ControlError>;

/// A part of everybody, the last seen first: of those with `name` in their name or id, and after `cursor`. With the
/// cursor of the next part, if there may be one. Takes `viewAudit`, or the right to review something.
pub(crate) async fn part(
    core: &Core,
    op: &OpContext,
    name: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<PrincipalView>, Option<String>)> {
    allowed(core, op)?;
    let name = name.trim().to_lowercase();
    let before = cursor.map(place).transpose()?;
    let few = if name.is_empty() { None } else { core.publisher.called(&name, FEW) };
    let (seen, next) = match few {
        Some(ids) => few_of(core, &ids, before.as_ref(), limit).await?,
        None => newest(core, &name, before, limit).await?,
    };
    let views = whole(core, op, &seen);
    Ok((views, next.map(|place| format!("{:020}-{}", place.at.as_microsecond(), place.id))))
}

/// The one with this id; takes the same.
pub(crate) async fn one(core: &Core, op: &OpContext, id: &str) -> Result<PrincipalView> {
    allowed(core, op)?;
    let kinds = [PrincipalKind::User, PrincipalKind::Workload];
    let ids = kinds.map(|kind| PrincipalId { kind, id: id.into() });
    let mut seen = core.store.seen_of(&ids).await?;
    seen.retain(|seen| !is_run(&seen.principal.id));
    seen.truncate(1);
    whole(core, op, &seen).pop().ok_or(ControlError::NotFound("the person"))
}

/// A place, as a cursor has it.
fn place(cursor: &str) -> Result<SeenPlace> {
    let read = |(at, id): (&str, &str)| {
        let at = Timestamp::from_microsecond(at.parse().ok()?).ok()?;
        Some(SeenPlace { at, id: id.to_owned() })
    };
    let message = "this is not a cursor that a list returned as `next`";
    let wrong = || ControlError::Invalid { field: "cursor", message: message.to_owned() };
    cursor.split_once('-').and_then(read).ok_or_else(wrong)
}

type Seen = (Vec<SeenPrincipal>, Option<SeenPlace>);

async fn few_of(
    core: &Core,
    ids: &[PrincipalId],
    before: Option<&SeenPlace>,
    limit: usize,
) -> Result<Seen> {
    let mut seen = core.store.seen_of(ids).await?;
    seen.retain(|seen| before.is_none_or(|before| seen.place() < *before));
    seen.sort_by_cached_key(|seen| std::cmp::Reverse(seen.place()));
    Ok(cut(seen, limit))
}

async fn newest(
    core: &Core,
    name: &str,
    mut before: Option<SeenPlace>,
    limit: usize,
) -> Result<Seen> {
    let mut found = Vec::new();
    for _ in 0..READINGS {
        let read = core.store.seen_before(before.as_ref(), TOGETHER).await?;
        let Some(last) = read.last() else { return Ok(cut(found, limit)) };
        before = Some(last.place());
        let wanted =
            |seen: &SeenPrincipal| !is_run(&seen.principal.id) && is_called(&seen.principal, name);
        found.extend(read.into_iter().filter(wanted));
        if found.len() > limit {
            return Ok(cut(found, limit));
        }
    }
    Ok((found, before))
}

fn cut(mut seen: Vec<SeenPrincipal>, limit: usize) -> Seen {
    let more = seen.len() > limit;
    seen.truncate(limit);
    let next = seen.last().filter(|_| more).map(SeenPrincipal::place);
    (seen, next)
}

/// Whether somebody's name or id has `name` in it, which is in lower case.
pub(crate) fn is_called(principal: &Principal, name: &str) -> bool {
    name.is_empty()
        || principal.name.to_lowercase().contains(name)
        || principal.id.id.to_lowercase().contains(name)
}

/// Each with sign-ins and grants.
fn whole(core: &Core, op: &OpContext, seen: &[SeenPrincipal]) -> Vec<PrincipalView> {
    let ids: BTreeSet<_> = seen.iter().map(|seen| &seen.principal.id).collect();
    let mut sign_ins: HashMap<PrincipalId, Vec<SignIn>> = HashMap::new();
    let theirs = |sign_in: &SignIn| ids.contains(&workload_of(&sign_in.principal));
    for sign_in in core.publisher.sign_ins_where(theirs) {
        let holder = workload_of(&sign_in.principal);
        sign_ins.entry(holder).or_default().push(SignIn::clone(&sign_in));
    }
    let mut sight = Sight::of(core, op);
    let view = |seen: &SeenPrincipal| {
        let mut sign_ins = sign_ins.remove(&seen.principal.id).unwrap_or_default();
        sign_ins.sort_by_key(|sign_in| sign_in.id);
        with_grants(&mut sight, view(core, seen), sign_ins)
    };
    seen.iter().map(view).collect()
}

fn allowed(core: &Core, op: &OpContext) -> Result<()> {
    rights::caller(op)?;
    if !rights::may_view_audit(&core.snapshot(), op) && !rights::may_review_anything(core, op) {
        let why = "seeing who there is takes `viewAudit`, or the right to review something";
        return Err(ControlError::Denied(why.into()));
    }
    Ok(())
}

/// With the grants in force that gates know and that the reader sees: theirs, and those of their runs.
fn with_grants(sight: &mut Sight<'_>, view: PrincipalView, sign_ins: Vec<SignIn>) -> PrincipalView {
    let (snapshot, now) = (Arc::clone(&sight.snapshot), sight.op.now());
    let runs = sign_ins.iter().map(|sign_in| &sign_in.principal);
    let holders: BTreeSet<_> = runs.chain([&view.principal.id]).collect();
    let held = holders.into_iter().flat_map(|holder| snapshot.grants_of(holder));
    let in_force = held.filter(|grant| grant.in_force(now));
    let grants = in_force.filter(|grant| sight.sees(grant)).map(|grant| (**grant).clone());
    let grants = grants.collect();
    PrincipalView { sign_ins, grants, ..view }
}

/// Which grants a reader sees: decided once for each service and operation, and only for those that it comes to.
struct Sight<'a> {
    core: &'a Core,
    op: &'a OpContext,
    snapshot: Arc<Snapshot>,
    sees_all: bool,
    revokes: HashMap<ServiceName, bool>,
    reviews: HashMap<OperationName, bool>,
}

impl<'a> Sight<'a> {
    fn of(core: &'a Core, op: &'a OpContext) -> Self {
        let snapshot = core.snapshot();
        let sees_all = rights::may_oversee(&snapshot, op);
        let (revokes, reviews) = (HashMap::new(), HashMap::new());
        Self { core, op, snapshot, sees_all, revokes, reviews }
    }

    fn sees(&mut self, grant: &Grant) -> bool {
        self.sees_all
            || rights::holds(self.op, grant)
            || self.revokes(&grant.resource.service)
            || self.reviews(&grant.operation)
    }

    fn revokes(&mut self, service: &ServiceName) -> bool {
        if let Some(known) = self.revokes.get(service) {
            return *known;
        }
        let may = rights::may_on_service(&self.snapshot, self.op, ControlAction::Revoke, service);
        self.revokes.insert(service.clone(), may);
        may
    }

    fn reviews(&mut self, operation: &OperationName) -> bool {
        if let Some(known) = self.reviews.get(operation) {
            return *known;
        }
        let may = rights::may_review_operation(self.core, &self.snapshot, self.op, operation);
        self.reviews.insert(operation.clone(), may);
        may
    }
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

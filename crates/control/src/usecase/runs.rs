//! Runs: a CI job exchanges its token, once, for a sign-in that lives as long as the job does.
//!
//! Each run is a principal of its own, named after the job and the run. Two jobs of one repository
//! may carry different claims at the same moment: neither must lend the other its groups, and a
//! grant that one of them was given must not open anything for the other.

use std::{net::IpAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{AuthError, Job};
use portcullis_model::{
    Audience, EventType, Held, Principal, PrincipalId, PrincipalKind, Run, SignIn, SignInEnd,
    SignInId, TokenKind,
};
use portcullis_store::Change;

use super::{record, sign_in};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    views::{Beat, NewRun},
};

const REPLAYED: &str = "the job's token has been exchanged already; a job does that once";
const NOT_FOUND: ControlError = ControlError::NotFound("the run");

type Result<T> = std::result::Result<T, ControlError>;

/// Exchanges `token`. The token is spent, the sign-in made and the event written together.
pub(crate) async fn start(core: &Arc<Core>, token: Option<&str>, source: IpAddr) -> Result<NewRun> {
    let now = core.now();
    let op = OpContext::signing_in(source, now);
    let job = core.workloads.job(token.ok_or(AuthError::Missing)?, now).await?;
    let sign_in = made(core, &job, now)?;
    let (workload, principal) = (job.authenticated.principal(), named(&job, &sign_in));
    let heartbeat_by = heartbeat_end(&sign_in, now).unwrap_or(sign_in.expires_at);
    let secret = TokenKind::SignIn.issue(core.entropy.as_ref());
    let mut settlement = Settlement::default();
    settlement.changes.push(Change::SpendJobToken { key: job.replay_key, until: job.ends_at, now });
    // The directory knows the job by its name; the run is forgotten with its end.
    for principal in [Principal::clone(workload), principal.clone()] {
        settlement.changes.push(Change::SeePrincipal { principal, at: now });
    }
    settlement.once_recorded.push(Effect::Principal(principal));
    sign_in::add(core, &op, &secret, &sign_in, &mut settlement);
    settlement.deadlines.push((heartbeat_by, Ending::Silence(sign_in.id)));
    core.heartbeats.heard(sign_in.id, heartbeat_by);
    match core.settle(settlement).await {
        Ok(()) => Ok(NewRun { token: secret, sign_in, heartbeat_by }),
        Err(Unsettled::Conflict) => {
            core.heartbeats.over(sign_in.id);
            replayed(core, &op, &workload.id).await
        }
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// The sign-in of a new run.
fn made(core: &Core, job: &Job, now: Timestamp) -> Result<SignIn> {
    let id = SignInId::new(now, core.entropy.as_ref());
    let span = |span| SignedDuration::try_from(span).unwrap_or(SignedDuration::ZERO);
    let origin = job.authenticated.origin().map(|origin| origin.as_ref().clone());
    let heartbeat = u32::try_from(job.jobs.heartbeat.as_secs()).unwrap_or(u32::MAX);
    let longest = span(job.jobs.longest.min(portcullis_identity::ci::LONGEST_RUN));
    let expires_at = now.checked_add(longest);
    Ok(SignIn {
        id,
        audience: Audience::Control,
        principal: run_name(&job.authenticated.principal().id, id),
        person: None,
        authenticated_at: job.authenticated.authenticated_at().min(now),
        created_at: now,
        expires_at: expires_at.map_err(|error| ControlError::Internal(Box::new(error)))?,
        parent: None,
        service: None,
        held: Held::Token,
        provider_session: None,
        run: Some(Box::new(Run { heartbeat, origin: origin.unwrap_or_default() })),
    })
}

/// `builds:ci:shop/cart#01J…`.
fn run_name(workload: &PrincipalId, run: SignInId) -> PrincipalId {
    PrincipalId { kind: PrincipalKind::Workload, id: format!("{}#{run}", workload.id).into() }
}

fn named(job: &Job, sign_in: &SignIn) -> Principal {
    let workload = Principal::clone(job.authenticated.principal());
    Principal { id: sign_in.principal.clone(), ..workload }
}

/// Somebody has this token a second time: that is worth knowing.
async fn replayed<T>(core: &Arc<Core>, op: &OpContext, workload: &PrincipalId) -> Result<T> {
    let mut event = core.event(op, EventType::SignInRefused);
    event.principal = Some(workload.clone());
    event.decision = Some("replayed".into());
    event.detail = Some(REPLAYED.into());
    record::note(core, event).await?;
    Err(AuthError::Bad(REPLAYED).into())
}

/// The caller's own run goes on.
pub(crate) fn beat(core: &Core, op: &OpContext, id: SignInId) -> Result<Beat> {
    let run = own(core, op, id)?;
    let by = heartbeat_end(&run, op.now()).ok_or(NOT_FOUND)?;
    core.heartbeats.heard(id, by);
    Ok(Beat { heartbeat_by: by, expires_at: run.expires_at })
}

/// Ends the caller's own run, and everything that it opened.
pub(crate) async fn finish(core: &Arc<Core>, op: &OpContext, id: SignInId) -> Result<()> {
    own(core, op, id)?;
    sign_in::end(core, op, id, SignInEnd::SignedOut).await
}

/// Ends a run that has not been heard of, or looks again when it must be.
pub(crate) async fn silence(core: &Arc<Core>, op: &OpContext, id: SignInId) -> Result<()> {
    match core.heartbeats.until(id) {
        Some(by) if by > op.now() => {
            core.deadlines.add([(by, Ending::Silence(id))]);
            Ok(())
        }
        Some(_) => sign_in::end(core, op, id, SignInEnd::Silent).await,
        None => Ok(()),
    }
}

/// When a run has to be heard of again; `None` for what is no run.
pub(crate) fn heartbeat_end(sign_in: &SignIn, now: Timestamp) -> Option<Timestamp> {
    let run = sign_in.run.as_ref().filter(|_| sign_in.parent.is_none())?;
    Some((now + SignedDuration::from_secs(i64::from(run.heartbeat))).min(sign_in.expires_at))
}

/// Somebody else's run is one that does not exist.
fn own(core: &Core, op: &OpContext, id: SignInId) -> Result<Arc<SignIn>> {
    let caller = rights::caller(op)?;
    let found = core.publisher.sign_in(id);
    found
        .filter(|run| run.principal == caller.id && run.run.is_some() && run.parent.is_none())
        .ok_or(NOT_FOUND)
}

//! Sign-ins: made from others, listed, ended.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use portcullis_model::{
    Audience, EventType, Held, Secret, ServiceName, SignIn, SignInEnd, SignInId, TokenHash,
    TokenKind,
};
use portcullis_store::{Change, StoredSignIn};

use super::{idle, parting};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    views::GateSignIn,
};

/// The most gate sign-ins that live under one control sign-in.
const MOST_CHILDREN: usize = 256;
const NOT_FOUND: ControlError = ControlError::NotFound("the sign-in");

type Result<T> = std::result::Result<T, ControlError>;

/// Makes a sign-in for the gate. It ends with its parent, at the latest.
pub(crate) async fn for_gate(
    core: &Arc<Core>,
    op: &OpContext,
    service: Option<ServiceName>,
) -> Result<GateSignIn> {
    let parent = own_sign_in(core, op)?;
    if let Some(name) = &service {
        let snapshot = core.snapshot();
        let known = snapshot.bundle().catalog().service(name);
        known.ok_or(ControlError::NotFound("the service"))?;
    }
    // What a run does at the gate takes as long as the run does, and its heartbeat ends both.
    let ends = match parent.run {
        Some(_) => parent.expires_at,
        None => op.now() + core.settings.gate_sign_in.signed(),
    };
    made(core, op, &parent, service, ends).await
}

/// Makes one for a single service that ends when its parent does: a stream or a connection lives no longer than
/// the sign-in that opened it. Whoever steals the token gets that one service, until the person signs out.
pub(crate) async fn lasting(
    core: &Arc<Core>,
    op: &OpContext,
    service: ServiceName,
) -> Result<GateSignIn> {
    let parent = own_sign_in(core, op)?;
    {
        let snapshot = core.snapshot();
        let known = snapshot.bundle().catalog().service(&service);
        known.ok_or(ControlError::NotFound("the service"))?;
    }
    made(core, op, &parent, Some(service), parent.expires_at).await
}

async fn made(
    core: &Arc<Core>,
    op: &OpContext,
    parent: &SignIn,
    service: Option<ServiceName>,
    ends: Timestamp,
) -> Result<GateSignIn> {
    check_children(core, parent.id)?;
    let sign_in = SignIn {
        id: SignInId::new(op.now(), core.entropy.as_ref()),
        audience: Audience::Gate,
        principal: parent.principal.clone(),
        person: parent.person,
        authenticated_at: parent.authenticated_at,
        created_at: op.now(),
        expires_at: ends.min(parent.expires_at),
        parent: Some(parent.id),
        service,
        held: Held::Token,
        provider_session: None,
        run: parent.run.clone(),
    };
    let token = TokenKind::SignIn.issue(core.entropy.as_ref());
    let mut settlement = Settlement::default();
    add(core, op, &token, &sign_in, &mut settlement);
    match core.settle(settlement).await {
        Ok(()) => Ok(GateSignIn { token, sign_in }),
        // The parent ended at this very moment.
        Err(Unsettled::Conflict) => Err(NOT_FOUND),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// Refuses one more child of `parent` where too many live.
pub(crate) fn check_children(core: &Core, parent: SignInId) -> Result<()> {
    if core.publisher.children_of(parent).len() < MOST_CHILDREN {
        return Ok(());
    }
    let message = format!("{MOST_CHILDREN} sign-ins were made from yours and still live");
    Err(ControlError::Limited { message, retry_after: 60 })
}

/// Adds what a new sign-in changes.
pub(crate) fn add(
    core: &Core,
    op: &OpContext,
    token: &Secret,
    sign_in: &SignIn,
    into: &mut Settlement,
) {
    let hash = TokenHash::of(token.expose());
    let mut event = core.event(op, EventType::SignedIn);
    event.principal = Some(sign_in.principal.clone());
    event.sign_in = Some(sign_in.id);
    event.service.clone_from(&sign_in.service);
    event.detail = Some(format!(
        "for {} until {}",
        match sign_in.audience {
            Audience::Gate => "the gate",
            Audience::Control => "control",
        },
        sign_in.expires_at
    ));
    let stored = StoredSignIn { hash, sign_in: sign_in.clone(), seen_at: None };
    into.changes.push(Change::AddSignIn(stored));
    into.changes.push(Change::Record(event));
    into.deadlines.push((sign_in.expires_at, Ending::SignIn(sign_in.id)));
    into.deadlines.extend(idle::deadline(core, sign_in, sign_in.created_at));
    into.once_recorded.push(Effect::SignIn(hash, sign_in.clone()));
}

pub(crate) fn list(core: &Core, op: &OpContext) -> Result<Vec<SignIn>> {
    let own = core.publisher.sign_ins_of(&rights::caller(op)?.id);
    Ok(own.iter().map(|sign_in| SignIn::clone(sign_in)).collect())
}

pub(crate) async fn sign_out(core: &Arc<Core>, op: &OpContext) -> Result<()> {
    let own = own_sign_in(core, op)?;
    end(core, op, own.id, SignInEnd::SignedOut).await
}

/// Ends one of the caller's own. Somebody else's id is an id that does not exist.
pub(crate) async fn end_own(core: &Arc<Core>, op: &OpContext, id: SignInId) -> Result<()> {
    let caller = rights::caller(op)?;
    let own = core.publisher.sign_in(id).filter(|sign_in| sign_in.principal == caller.id);
    own.ok_or(NOT_FOUND)?;
    end(core, op, id, SignInEnd::SignedOut).await
}

/// Ends a sign-in and all that were made from it.
pub(crate) async fn end(
    core: &Arc<Core>,
    op: &OpContext,
    id: SignInId,
    why: SignInEnd,
) -> Result<()> {
    // Somebody may be spending a use of a run's grant at this moment: then we look again.
    for _ in 0..parting::ROUNDS {
        let sign_in = core.publisher.sign_in(id).ok_or(NOT_FOUND)?;
        let is_run = sign_in.run.is_some() && sign_in.parent.is_none();
        let mut settlement = Settlement::default();
        ending(core, op, &sign_in, why, &mut settlement);
        if is_run {
            let (who, why) = (&sign_in.principal, "the run that asked has ended");
            parting::end_all(core, op, who, why, &mut settlement).await?;
            settlement.changes.push(Change::ForgetPrincipal(sign_in.principal.clone()));
            settlement.at_once.push(Effect::ForgetPrincipal(sign_in.principal.clone()));
        }
        match core.settle(settlement).await {
            Ok(()) => {
                core.heartbeats.over(id);
                return Ok(());
            }
            Err(Unsettled::Conflict) if is_run => {}
            Err(Unsettled::Conflict) => return Err(NOT_FOUND),
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(ControlError::Unavailable("the run is busy; it ends in a moment".into()))
}

/// Adds what the end of a sign-in changes, and of all that were made from it.
pub(crate) fn ending(
    core: &Core,
    op: &OpContext,
    sign_in: &SignIn,
    why: SignInEnd,
    into: &mut Settlement,
) {
    into.changes.extend([Change::EndSignIn(sign_in.id), ended(core, op, sign_in, why)]);
    let children = core.publisher.children_of(sign_in.id);
    let children = children.iter().map(|child| ended(core, op, child, SignInEnd::ParentEnded));
    into.changes.extend(children);
    into.at_once.push(Effect::EndSignIn(sign_in.id));
}

/// Ends the whole of a browser's sign-in from a gate: what it was made from, and all else that was.
pub(crate) async fn sign_out_everywhere(
    core: &Arc<Core>,
    id: SignInId,
    source: IpAddr,
) -> Result<()> {
    let op = OpContext::signing_out(source, core.now());
    let own = core.publisher.sign_in(id).filter(|own| own.held.by_browser()).ok_or(NOT_FOUND)?;
    end(core, &op, own.parent.unwrap_or(id), SignInEnd::SignedOut).await
}

fn ended(core: &Core, op: &OpContext, sign_in: &SignIn, why: SignInEnd) -> Change {
    let mut event = core.event(op, EventType::SignInEnded);
    event.principal = Some(sign_in.principal.clone());
    event.sign_in = Some(sign_in.id);
    event.decision = Some(why.as_str().into());
    Change::Record(event)
}

/// The control sign-in that the caller acts under.
pub(crate) fn own_sign_in(core: &Core, op: &OpContext) -> Result<Arc<SignIn>> {
    let id = op.caller().and_then(portcullis_identity::Authenticated::sign_in);
    let none = "a workload that is no CI run has no sign-in; it presents its own token everywhere";
    let id = id.ok_or_else(|| ControlError::Denied(none.into()))?;
    let found = core.publisher.sign_in(id).filter(|own| own.audience == Audience::Control);
    found.ok_or(NOT_FOUND)
}

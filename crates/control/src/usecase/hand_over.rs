//! From control to a gate: a code that is good once, for a minute, at one origin, in one browser.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_identity::{AuthError, browser::return_path};
use portcullis_model::{Audience, EventType, Held, Secret, SignIn, SignInId, TokenHash, TokenKind};
use portcullis_store::{Change, StoredCode};

use super::{browser, sign_in};
use crate::{
    ControlError, OpContext,
    browser::{Exchange, GateWish},
    core::Core,
    expiry,
    settle::{Settlement, Unsettled},
    views::GateSignIn,
};

const LIVES: SignedDuration = SignedDuration::from_secs(60);
const BAD: AuthError =
    AuthError::Bad("the sign-in was begun elsewhere, was finished before, or has lapsed");

type Result<T> = std::result::Result<T, ControlError>;

/// Makes a code for the gate that sent the caller's browser.
pub(crate) async fn code(core: &Arc<Core>, op: &OpContext, wish: &GateWish) -> Result<Secret> {
    let parent = sign_in::own_sign_in(core, op)?;
    if !parent.held.by_browser() {
        return Err(ControlError::Denied("only a browser's sign-in leads a browser on".into()));
    }
    if !serves(core, &wish.origin) {
        return Err(ControlError::NotFound("a service at this address"));
    }
    sign_in::check_children(core, parent.id)?;
    let made = TokenKind::Code.issue(core.entropy.as_ref());
    let expires_at = op.now() + LIVES;
    let (origin, challenge) = (wish.origin.clone(), wish.challenge.clone());
    let stored = StoredCode { parent: parent.id, origin, challenge, expires_at };
    let changes = vec![Change::AddCode { hash: TokenHash::of(made.expose()), code: stored }];
    let deadlines = vec![expiry::leftover(expires_at)];
    core.settle(Settlement { changes, deadlines, ..Settlement::default() }).await?;
    Ok(made)
}

/// Whether a gate of ours answers at `origin`. A code leads to nowhere else.
fn serves(core: &Core, origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_fits = match port {
        None => true,
        Some(port) => port.parse().is_ok_and(|port: u16| core.settings.gate_ports.contains(&port)),
    };
    let scheme_fits = scheme == "https" || (scheme == "http" && core.settings.cleartext);
    scheme_fits && port_fits && core.snapshot().bundle().catalog().has_host(host)
}

/// Whether `address` is a page that a gate of ours serves: a browser may be led there, and nowhere else.
pub(crate) fn leads_back(core: &Core, address: &str) -> bool {
    let authority = address.find("://").map_or(0, |at| at + 3);
    let path = address.get(authority..).and_then(|rest| rest.find('/'));
    let Some((origin, path)) = path.and_then(|at| address.split_at_checked(authority + at)) else {
        return false;
    };
    serves(core, origin) && return_path(path) == path
}

/// Exchanges a code for a sign-in at the gate.
pub(crate) async fn exchange(core: &Arc<Core>, asked: Exchange<'_>) -> Result<GateSignIn> {
    let op = OpContext::signing_in(asked.source, core.now());
    let hash = TokenHash::of(asked.code);
    let stored = core.store.code(&hash).await?;
    let stored = stored.filter(|code| op.now() < code.expires_at).ok_or(BAD)?;
    let fits =
        stored.origin == asked.origin && stored.challenge == browser::challenge(asked.verifier);
    // INVARIANT: a code is gone with the first attempt, right or wrong.
    let (true, Some(parent)) = (fits, core.publisher.sign_in(stored.parent)) else {
        return burnt(core, &op, hash).await;
    };
    let sign_in = gate_sign_in(core, &op, &parent, asked.origin);
    let token = TokenKind::SignIn.issue(core.entropy.as_ref());
    let mut settlement = Settlement::default();
    settlement.changes.push(Change::EndCode(hash));
    sign_in::add(core, &op, &token, &sign_in, &mut settlement);
    match core.settle(settlement).await {
        Ok(()) => {}
        Err(Unsettled::Conflict) => return Err(BAD.into()),
        Err(Unsettled::Failed(error)) => return Err(error),
    }
    if let Some(before) = &asked.replaces {
        browser::replace(core, &op, before, Audience::Gate, asked.origin).await?;
    }
    Ok(GateSignIn { token, sign_in })
}

fn gate_sign_in(core: &Core, op: &OpContext, parent: &SignIn, origin: &str) -> SignIn {
    SignIn {
        id: SignInId::new(op.now(), core.entropy.as_ref()),
        audience: Audience::Gate,
        created_at: op.now(),
        parent: Some(parent.id),
        held: Held::Cookie { origin: origin.to_owned() },
        ..parent.clone()
    }
}

async fn burnt<T>(core: &Arc<Core>, op: &OpContext, hash: TokenHash) -> Result<T> {
    let mut event = core.event(op, EventType::SignInRefused);
    event.detail = Some("a code was presented by another gate or browser, or too late".into());
    let changes = vec![Change::EndCode(hash), Change::Record(event)];
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        Ok(()) | Err(Unsettled::Conflict) => Err(BAD.into()),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

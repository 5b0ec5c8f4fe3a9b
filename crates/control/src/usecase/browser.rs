//! Signing people in with a browser: the code flow with PKCE, with control as the provider's only
//! client.
//!
//! Nothing is stored before somebody has proven who they are. What a sign-in under way has to remember
//! travels in its `state`, sealed with what the browser holds in a cookie, so that another browser can
//! do nothing with it (RFC 9700, 4.7); nonce and verifier are made from both. That it is used once is
//! stored with the sign-in that results.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::AuthError;
use portcullis_model::{Audience, EventType, Held, Secret, SignIn, SignInEnd, TokenHash};
use portcullis_store::Change;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    device,
    enter::{self, Entering},
    sign_in,
};
use crate::{
    ControlError, OpContext,
    browser::{Answer, Begin, Entered, Wish},
    core::Core,
    expiry,
    ports::{AuthorizationRequest, NotVouched, Returned},
    seal::{self, Purpose},
    settle::{Settlement, Unsettled},
};

/// From the first page to the last.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);
const USED: AuthError =
    AuthError::Bad("the sign-in was finished before, or has lapsed; begin again");

type Result<T> = std::result::Result<T, ControlError>;

/// What a sign-in under way has to remember.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    provider: String,
    wish: Wish,
    began_at: Timestamp,
}

/// Where to send the browser.
pub(crate) async fn begin(core: &Arc<Core>, begin: Begin<'_>) -> Result<String> {
    let provider = device::chosen(core, begin.provider)?;
    let (name, fresh) = (provider.name().to_owned(), begin.wish.fresh);
    let state = State { provider: name, wish: begin.wish, began_at: core.now() };
    let text = serde_json::to_string(&state);
    let text = text.map_err(|error| ControlError::Internal(Box::new(error)))?;
    let state = seal::seal_one_of(Purpose::State, begin.browser, "", &text, core.entropy.as_ref())?;
    let asked = AuthorizationRequest {
        redirect_uri: begin.redirect_uri.to_owned(),
        nonce: derived("nonce", begin.browser, &state),
        challenge: challenge(&derived("verifier", begin.browser, &state)),
        state,
        fresh,
    };
    provider.authorize(asked).await.map_err(|error| device::unavailable(&error))
}

/// Signs whoever came back in.
pub(crate) async fn finish(core: &Arc<Core>, answer: Answer<'_>) -> Result<Entered> {
    let now = core.now();
    let op = OpContext::signing_in(answer.source, now);
    let state = seal::open_one_of(Purpose::State, answer.browser, "", answer.state)?;
    let opened: State = serde_json::from_str(state.expose()).map_err(|_| USED)?;
    let age = now.duration_since(opened.began_at);
    if age >= LONGEST || age.is_negative() {
        return Err(USED.into());
    }
    let provider = device::chosen(core, Some(&opened.provider))?;
    let guard = Change::SeeOnce {
        hash: TokenHash::of(&format!("state {}", answer.state)),
        until: opened.began_at + LONGEST,
    };
    // First of all: an error, too, may be another provider's (RFC 9207, 2.4).
    let checked = provider.check_issuer(answer.issuer).await;
    let presented = match (checked, answer.code) {
        (Ok(()), Ok(presented)) => presented,
        (Ok(()), Err(error)) => {
            let why = format!("the identity provider says `{}`", showable(error));
            return refused(core, &op, guard, why).await;
        }
        (Err(error), _) => return not_vouched(core, &op, guard, error).await,
    };
    let returned = Returned {
        code: Secret::new(presented),
        issuer: answer.issuer.map(str::to_owned),
        redirect_uri: answer.redirect_uri.to_owned(),
        verifier: Secret::new(derived("verifier", answer.browser, answer.state)),
        nonce: derived("nonce", answer.browser, answer.state),
        fresh_since: opened.wish.fresh.then_some(opened.began_at),
    };
    let claims = match provider.redeem(returned).await {
        Ok(claims) => claims,
        Err(error) => return not_vouched(core, &op, guard, error).await,
    };
    let held = Held::Cookie { origin: answer.origin.to_owned() };
    let entering = Entering { provider: provider.as_ref(), claims: &claims, guard, held };
    let (token, sign_in) = match enter::enter(core, &op, &entering).await {
        Ok(entered) => entered,
        Err(Unsettled::Conflict) => return Err(USED.into()),
        Err(Unsettled::Failed(error)) => return Err(error),
    };
    core.deadlines.add([expiry::leftover(opened.began_at + LONGEST)]);
    if let Some(before) = answer.replaces {
        replace(core, &op, before, Audience::Control, answer.origin).await?;
    }
    Ok(Entered { token, sign_in, wish: opened.wish })
}

/// What the same browser held before is over: nobody who learned it goes on with it.
pub(super) async fn replace(
    core: &Arc<Core>,
    op: &OpContext,
    token: &Secret,
    audience: Audience,
    origin: &str,
) -> Result<()> {
    let snapshot = core.snapshot();
    let own = |known: &&Arc<SignIn>| {
        known.audience == audience
            && matches!(&known.held, Held::Cookie { origin: own } if own == origin)
    };
    let before = snapshot.sign_in(&TokenHash::of(token.expose())).filter(own);
    let Some(before) = before else { return Ok(()) };
    match sign_in::end(core, op, before.id, SignInEnd::Replaced).await {
        Err(ControlError::NotFound(_)) => Ok(()),
        other => other,
    }
}

async fn not_vouched<T>(
    core: &Arc<Core>,
    op: &OpContext,
    guard: Change,
    error: NotVouched,
) -> Result<T> {
    match error {
        NotVouched::Refused(why) => refused(core, op, guard, why).await,
        NotVouched::Unavailable(error) => Err(device::unavailable(&error)),
    }
}

async fn refused<T>(core: &Arc<Core>, op: &OpContext, guard: Change, why: String) -> Result<T> {
    let mut event = core.event(op, EventType::SignInRefused);
    event.detail = Some(why.clone());
    let changes = vec![guard, Change::Record(event)];
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        Ok(()) => Err(ControlError::Denied(why)),
        Err(Unsettled::Conflict) => Err(USED.into()),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// 256 bits that only whoever holds both can know, as text.
fn derived(what: &str, browser: &Secret, state: &str) -> String {
    let digest = Sha256::new().chain_update(b"portcullis ").chain_update(what).chain_update(b"\0");
    let digest = digest.chain_update(browser.expose()).chain_update(b"\0").chain_update(state);
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

/// RFC 7636, 4.2: S256.
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// An OAuth error code, or that it is none.
fn showable(error: &str) -> &str {
    let plain = error.len() <= 64 && error.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { error } else { "something unreadable" }
}

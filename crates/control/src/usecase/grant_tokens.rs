//! Tokens for tools that cannot sign in. A holder gets a one-time token, hands it over, and whoever
//! redeems it first has a grant token, which opens that grant and nothing else. Both are stored as
//! hashes and end with the grant.

use std::{net::IpAddr, sync::Arc};

use jiff::SignedDuration;
use portcullis_identity::{AuthError, dpop};
use portcullis_model::{
    BoundTo, Event, EventType, Grant, GrantId, OneTimeToken, Secret, TokenHash, TokenKind,
};
use portcullis_store::{Change, TokenChange};

use super::{issue, sign_in};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    views::{NewGrantToken, NewOneTimeToken, ToolKey},
};

const LIVES: SignedDuration = SignedDuration::from_secs(60);
/// One-time tokens of one grant in the time that one of them lives.
const MOST: u32 = 8;
/// Grant tokens of one grant.
const MOST_EVER: u32 = 64;
/// One text for all that is wrong with a one-time token: whoever guesses learns nothing.
const BAD: AuthError = AuthError::Bad(
    "the one-time token is unknown, was redeemed before, or has lapsed with its minute or its \
     grant; ask the holder of the grant for another",
);
const NOT_FOUND: ControlError = ControlError::NotFound("the grant");

type Result<T> = std::result::Result<T, ControlError>;

/// Makes a one-time token for the caller's own grant.
pub(crate) async fn issue(
    core: &Arc<Core>,
    op: &OpContext,
    id: GrantId,
) -> Result<NewOneTimeToken> {
    let grant = super::grants::one(core, op, id).await?;
    if !rights::holds(op, &grant) {
        return Err(ControlError::Denied("only its holder gets tokens for a grant".into()));
    }
    let own = sign_in::own_sign_in(core, op)?;
    check_in_force(op, &grant)?;
    // INVARIANT: a token reaches the gates after its grant.
    if core.snapshot().grant(id).is_none() {
        let why = "the grant waits for the record and opens nothing yet; try again in a moment";
        return Err(ControlError::Unavailable(why.into()));
    }
    let expires_at = (op.now() + LIVES).min(grant.expires_at);
    let token = OneTimeToken { grant: id, authenticated_at: own.authenticated_at, expires_at };
    let secret = TokenKind::Once.issue(core.entropy.as_ref());
    let hash = TokenHash::of(secret.expose());
    let mut event = event(core, op, EventType::TokenIssued, &grant);
    event.detail = Some(format!("a one-time token until {expires_at}"));
    let (at_most, at_most_ever, now) = (MOST, MOST_EVER, op.now());
    let add = TokenChange::AddOneTime { hash, token, at_most, at_most_ever, now };
    let settlement = Settlement {
        changes: vec![Change::Token(add), Change::Record(event)],
        deadlines: vec![expiry::leftover(expires_at)],
        ..Settlement::default()
    };
    match core.settle(settlement).await {
        Ok(()) => Ok(NewOneTimeToken { token: secret, expires_at, grant }),
        Err(Unsettled::Conflict) => Err(too_many_or_over(core, op, id).await?),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

fn check_in_force(op: &OpContext, grant: &Grant) -> Result<()> {
    if grant.in_force(op.now()) {
        return Ok(());
    }
    Err(ControlError::Conflict("the grant has ended; ask for access again".into()))
}

/// Which guard it was.
async fn too_many_or_over(core: &Core, op: &OpContext, id: GrantId) -> Result<ControlError> {
    let grant = core.store.grant(id).await?.ok_or(NOT_FOUND)?;
    check_in_force(op, &grant)?;
    let message = format!(
        "{MOST} one-time tokens were made for this grant within a minute, or {MOST_EVER} in all"
    );
    Ok(ControlError::Limited { message, retry_after: 60 })
}

/// Redeems a one-time token. Of all who try, one has a grant token.
pub(crate) async fn redeem(
    core: &Arc<Core>,
    presented: &Secret,
    key: Option<ToolKey<'_>>,
    source: IpAddr,
) -> Result<NewGrantToken> {
    let op = OpContext::redeeming(source, core.now());
    // INVARIANT: a proof that does not hold spends nothing, and never ends in a token without a key.
    let bound_to = key.map(|key| bound_to(&key, &op)).transpose()?;
    if !TokenKind::Once.fits(presented.expose()) {
        return Err(BAD.into());
    }
    let hash = TokenHash::of(presented.expose());
    let known = core.store.one_time_token(&hash).await?.ok_or(BAD)?;
    let grant = core.store.grant(known.token.grant).await?.ok_or(BAD)?;
    if known.redeemed {
        return again(core, &op, hash, &grant, known.again).await;
    }
    if op.now() >= known.token.expires_at || !grant.in_force(op.now()) {
        return Err(BAD.into());
    }
    let secret = TokenKind::Grant.issue(core.entropy.as_ref());
    let redeemed = (TokenHash::of(secret.expose()), known.token.redeemed(bound_to));
    let mut event = event(core, &op, EventType::TokenRedeemed, &grant);
    let bound = bound_to.map_or_else(String::new, said);
    event.detail = Some(format!("a grant token until {}{bound}", grant.expires_at));
    let now = op.now();
    let changes = vec![
        Change::Token(TokenChange::RedeemOneTime { hash, now }),
        Change::Token(TokenChange::AddGrantToken { hash: redeemed.0, token: redeemed.1, now }),
        Change::Record(event),
    ];
    let once_recorded = vec![Effect::GrantToken(redeemed.0, redeemed.1)];
    match core.settle(Settlement { changes, once_recorded, ..Settlement::default() }).await {
        Ok(()) => Ok(NewGrantToken { token: secret, bound_to, grant }),
        // Somebody else was faster, or the grant ended at this very moment.
        Err(Unsettled::Conflict) => again(core, &op, hash, &grant, false).await,
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// What the token will be bound to. Of a certificate the thumbprint is told and no more: who names one
/// that they have not has a token that is worth nothing.
fn bound_to(key: &ToolKey<'_>, op: &OpContext) -> Result<BoundTo> {
    match key {
        ToolKey::Proof { proof, asked } => {
            Ok(BoundTo::Key(dpop::verify(proof, asked, op.now())?.key))
        }
        ToolKey::Certificate(thumbprint) => Ok(BoundTo::Certificate(*thumbprint)),
    }
}

fn said(bound_to: BoundTo) -> String {
    match bound_to {
        BoundTo::Key(key) => format!(", bound to the key {key}"),
        BoundTo::Certificate(certificate) => format!(", bound to the certificate {certificate}"),
    }
}

/// Puts a second attempt on record, once for each token: whoever repeats it fills no disk.
async fn again<T>(
    core: &Arc<Core>,
    op: &OpContext,
    hash: TokenHash,
    grant: &Grant,
    noted: bool,
) -> Result<T> {
    if noted {
        return Err(BAD.into());
    }
    let mut event = event(core, op, EventType::TokenRefused, grant);
    event.detail = Some("a one-time token was presented again after it was redeemed".into());
    let changes = vec![Change::Token(TokenChange::NoteAgain(hash)), Change::Record(event)];
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        Ok(()) | Err(Unsettled::Conflict) => Err(BAD.into()),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// The principal of such an event is the holder; who redeemed is known by address only.
fn event(core: &Core, op: &OpContext, kind: EventType, grant: &Grant) -> Event {
    let mut event = core.event(op, kind);
    issue::describe(&mut event, grant);
    event.principal = Some(grant.principal.clone());
    event
}

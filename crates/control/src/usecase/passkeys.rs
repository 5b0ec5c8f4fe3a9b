//! Passkeys of reviewers: registered, listed, deleted. Each belongs to one principal.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_identity::{
    Authenticated, RelyingParty,
    passkey::{
        self, CreationOptions, Registered, RegistrationResponse, Rejected, User, challenge_of,
    },
};
use portcullis_model::{
    Base64Url, EventType, Passkey, PasskeyId, Principal, PrincipalKind, TokenHash,
};
use portcullis_store::{ChallengePurpose, Change, StoredChallenge};
use sha2::{Digest, Sha256};

use super::text;
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry, rights,
    settle::{Settlement, Unsettled},
};

/// How long a challenge may be answered: as long as people take at an authenticator (Web
/// Authentication Level 3, 15.1).
pub(super) const ANSWER_WITHIN: SignedDuration = SignedDuration::from_mins(5);
/// The oldest sign-in that may register.
const RECENT: SignedDuration = SignedDuration::from_mins(10);
const MOST_PASSKEYS: u32 = 10;
const LONGEST_NAME: usize = 64;

type Result<T> = std::result::Result<T, ControlError>;

/// What a browser needs to make a new passkey, and the challenge for it.
pub(crate) async fn begin(core: &Arc<Core>, op: &OpContext) -> Result<CreationOptions> {
    let party = relying_party(core)?;
    let owner = owner(op)?;
    recent(op, RECENT)?;
    let known = core.store.passkeys(&owner.id).await?;
    if known.len() >= MOST_PASSKEYS as usize {
        return Err(ControlError::Conflict(too_many()));
    }
    let challenge = random(core);
    ask(core, op, owner, &challenge, ChallengePurpose::Register).await?;
    let user = User {
        id: Base64Url(Sha256::digest(owner.id.to_string()).to_vec()),
        name: owner.email.clone().unwrap_or_else(|| owner.id.id.to_string()),
        display_name: owner.name.clone(),
    };
    Ok(CreationOptions::new(party, user, challenge, &known, milliseconds()))
}

/// Keeps the passkey that a browser made. Whatever is wrong with it, its challenge is spent.
pub(crate) async fn finish(
    core: &Arc<Core>,
    op: &OpContext,
    name: &str,
    response: &RegistrationResponse,
) -> Result<Passkey> {
    let party = relying_party(core)?;
    let owner = owner(op)?;
    recent(op, RECENT + ANSWER_WITHIN)?;
    let name = named(name)?;
    let (hash, challenge) = asked(core, op, owner, &response.response.client_data)
        .await?
        .filter(|(_, stored, _)| stored.purpose == ChallengePurpose::Register)
        .map(|(hash, _, challenge)| (hash, challenge))
        .ok_or_else(|| invalid(UNKNOWN))?;
    match passkey::register(party, &challenge.0, response) {
        Ok(made) => add(core, op, hash, passkey_of(core, op, owner, name, made, response)).await,
        Err(why) => refuse(core, op, hash, why).await,
    }
}

pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<Passkey>> {
    Ok(core.store.passkeys(&owner(op)?.id).await?)
}

/// Deletes one of the caller's own. What it has signed stays signed.
pub(crate) async fn remove(core: &Arc<Core>, op: &OpContext, id: PasskeyId) -> Result<()> {
    const NOT_FOUND: ControlError = ControlError::NotFound("the passkey");
    let owner = owner(op)?;
    let own = core.store.passkeys(&owner.id).await?;
    let own = own.into_iter().find(|own| own.id == id).ok_or(NOT_FOUND)?;
    let mut event = core.event(op, EventType::PasskeyRemoved);
    event.detail = Some(described(&own));
    let removed = Change::RemovePasskey { id, principal: owner.id.clone() };
    let changes = vec![removed, Change::Record(event)];
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        Err(Unsettled::Conflict) => Err(NOT_FOUND),
        settled => settled.map_err(ControlError::from),
    }
}

pub(super) const UNKNOWN: Rejected =
    Rejected("its challenge is unknown, answered already or too old; begin again");

/// Who may have passkeys: people, under a sign-in.
fn owner(op: &OpContext) -> Result<&Arc<Principal>> {
    let caller = rights::caller(op)?;
    if caller.id.kind == PrincipalKind::User {
        return Ok(caller);
    }
    Err(ControlError::Denied("a workload has no passkeys".into()))
}

pub(super) fn relying_party(core: &Core) -> Result<&RelyingParty> {
    let why = "there are no passkeys here: browsers want control.url to be https with the name of a \
               host, or http://localhost; tell the operator";
    core.settings.relying_party.as_ref().ok_or_else(|| ControlError::Conflict(why.into()))
}

fn recent(op: &OpContext, limit: SignedDuration) -> Result<()> {
    let since = op.caller().map(Authenticated::authenticated_at);
    if since.is_some_and(|since| op.now().duration_since(since) <= limit) {
        return Ok(());
    }
    let minutes = RECENT.as_mins();
    let why = format!(
        "registering a passkey takes a sign-in of the last {minutes} minutes; sign in again with \
         `portcullis login`"
    );
    Err(ControlError::Denied(why))
}

fn named(name: &str) -> Result<String> {
    let name = text::checked("name", name)?;
    if name.chars().count() <= LONGEST_NAME {
        return Ok(name);
    }
    let message = format!("is longer than {LONGEST_NAME} characters");
    Err(ControlError::Invalid { field: "name", message })
}

fn passkey_of(
    core: &Core,
    op: &OpContext,
    owner: &Principal,
    name: String,
    made: Registered,
    response: &RegistrationResponse,
) -> Passkey {
    Passkey {
        id: PasskeyId::new(op.now(), core.entropy.as_ref()),
        principal: owner.id.clone(),
        name,
        credential: made.credential,
        public_key: made.public_key,
        counter: made.counter,
        backup_eligible: made.backup_eligible,
        transports: response.transports(),
        created_at: op.now(),
        last_used_at: None,
    }
}

async fn add(
    core: &Arc<Core>,
    op: &OpContext,
    hash: TokenHash,
    passkey: Passkey,
) -> Result<Passkey> {
    let mut event = core.event(op, EventType::PasskeyRegistered);
    event.detail = Some(described(&passkey));
    let at_most = MOST_PASSKEYS;
    let changes = vec![
        Change::EndChallenge(hash),
        Change::AddPasskey { passkey: passkey.clone(), at_most },
        Change::Record(event),
    ];
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        Ok(()) => Ok(passkey),
        Err(Unsettled::Conflict) => Err(ControlError::Conflict(format!(
            "this passkey is registered already, its challenge was answered, or {}",
            too_many()
        ))),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

async fn refuse(
    core: &Arc<Core>,
    op: &OpContext,
    hash: TokenHash,
    why: Rejected,
) -> Result<Passkey> {
    let mut event = core.event(op, EventType::ControlRefused);
    event.detail = Some(format!("a passkey was not registered: {why}"));
    let changes = vec![Change::EndChallenge(hash), Change::Record(event)];
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    Err(invalid(why))
}

/// Keeps a challenge for `owner` to answer, once.
pub(super) async fn ask(
    core: &Arc<Core>,
    op: &OpContext,
    owner: &Principal,
    challenge: &Base64Url,
    purpose: ChallengePurpose,
) -> Result<()> {
    let expires_at = op.now() + ANSWER_WITHIN;
    let hash = TokenHash::of(&challenge.to_string());
    let stored = StoredChallenge { principal: owner.id.clone(), purpose, expires_at };
    let changes = vec![Change::AddChallenge { hash, challenge: stored, now: op.now() }];
    let deadlines = vec![expiry::leftover(expires_at)];
    Ok(core.settle(Settlement { changes, deadlines, ..Settlement::default() }).await?)
}

/// The challenge that `client_data` answers, if `owner` may still answer it.
pub(super) async fn asked(
    core: &Core,
    op: &OpContext,
    owner: &Principal,
    client_data: &Base64Url,
) -> Result<Option<(TokenHash, StoredChallenge, Base64Url)>> {
    let Ok(challenge) = challenge_of(&client_data.0) else { return Ok(None) };
    let hash = TokenHash::of(&challenge.to_string());
    let stored = core.store.challenge(&hash).await?;
    let stored =
        stored.filter(|stored| stored.principal == owner.id && op.now() < stored.expires_at);
    Ok(stored.map(|stored| (hash, stored, challenge)))
}

pub(super) fn random(core: &Core) -> Base64Url {
    let mut bytes = vec![0; 32];
    core.entropy.fill(&mut bytes);
    Base64Url(bytes)
}

pub(super) fn milliseconds() -> u64 {
    u64::try_from(ANSWER_WITHIN.as_millis()).unwrap_or(0)
}

fn described(passkey: &Passkey) -> String {
    format!("passkey {} ({})", passkey.id, passkey.name)
}

fn too_many() -> String {
    format!("you have {MOST_PASSKEYS} passkeys already; delete one first")
}

fn invalid(why: Rejected) -> ControlError {
    ControlError::Invalid { field: "credential", message: why.to_string() }
}

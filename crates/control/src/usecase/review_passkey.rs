//! Reviewing by passkey: what is to be signed, and whether it was.
//!
//! The challenge is the digest of what the reviewer answers, with a nonce of ours: a signature over
//! one answer is worth nothing for another, nor a second time. It stays in the record, with all that
//! it takes to check it without us.

use std::sync::Arc;

use portcullis_identity::passkey::{self, AuthenticationResponse, Rejected, RequestOptions};
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, Base64Url, Decision, GrantId, Passkey,
    PasskeyProof, PrincipalId, Review, Scope, ServiceName, TokenHash, Way, Window,
};
use portcullis_store::{ChallengePurpose, Change};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::passkeys::{ANSWER_WITHIN, UNKNOWN, ask, asked, milliseconds, random, relying_party};
use crate::{ControlError, OpContext, core::Core, rights, views::PasskeyChallenge};

/// What the challenge's digest begins with, so that no other digest of ours is ever one.
const DOMAIN: &[u8] = b"portcullis review by passkey\0";
/// Longer statements could not be kept whole in the record.
const LONGEST: usize = 24 * 1024;

type Result<T> = std::result::Result<T, ControlError>;

/// A review that a passkey signed.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) proof: PasskeyProof,
    /// Spends the challenge and moves the passkey's counter; for the review's own transaction.
    pub(super) changes: Vec<Change>,
}

/// Why a signature does not count, and the challenge that it has spent.
#[derive(Debug)]
pub(super) struct Unsigned {
    pub(super) why: Rejected,
    pub(super) spent: Option<TokenHash>,
}

/// What is signed: the answer and everything that it is an answer to.
#[derive(Debug, Serialize)]
struct Statement<'a> {
    access_request: AccessRequestId,
    requester: &'a PrincipalId,
    service: &'a ServiceName,
    queries: Vec<AccessQuery>,
    reason: &'a str,
    reviewer: &'a PrincipalId,
    decision: Decision,
    duration: Window,
    #[serde(skip_serializing_if = "Scope::is_whole")]
    scope: &'a Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    extends: Option<GrantId>,
    note: Option<&'a str>,
}

/// Asks for a signature over `review`; there is no answer without one.
pub(super) async fn needed(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    review: &Review,
) -> ControlError {
    match challenge(core, op, request, review).await {
        Ok(challenge) => ControlError::PasskeyNeeded(challenge.map(Box::new)),
        Err(error) => error,
    }
}

async fn challenge(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    review: &Review,
) -> Result<Option<PasskeyChallenge>> {
    let party = relying_party(core)?;
    let reviewer = rights::caller(op)?;
    let passkeys = core.store.passkeys(&reviewer.id).await?;
    if passkeys.is_empty() {
        return Ok(None);
    }
    let statement = statement(request, review)?;
    let nonce = random(core);
    let challenge = digest(&nonce, &statement);
    let purpose = ChallengePurpose::Review { access_request: request.id, nonce };
    ask(core, op, reviewer, &challenge, purpose).await?;
    let options = RequestOptions::new(party, challenge, &passkeys, milliseconds());
    let expires_at = op.now() + ANSWER_WITHIN;
    Ok(Some(PasskeyChallenge { options, statement, expires_at }))
}

/// Checks that one of the caller's passkeys signed exactly this review.
pub(super) async fn signed(
    core: &Core,
    op: &OpContext,
    request: &AccessRequest,
    review: &Review,
    response: &AuthenticationResponse,
) -> Result<std::result::Result<Signed, Unsigned>> {
    let party = relying_party(core)?;
    let reviewer = rights::caller(op)?;
    let client_data = &response.response.client_data;
    let Some((hash, stored, _)) = asked(core, op, reviewer, client_data).await? else {
        return Ok(Err(Unsigned { why: UNKNOWN, spent: None }));
    };
    let unsigned = |why| Ok(Err(Unsigned { why, spent: Some(hash) }));
    let ChallengePurpose::Review { access_request, nonce } = stored.purpose else {
        return unsigned(Rejected("its challenge was for registering"));
    };
    if access_request != request.id {
        return unsigned(Rejected("its challenge was for another access request"));
    }
    let own = core.store.passkeys(&reviewer.id).await?;
    let Some(known) = own.into_iter().find(|known| known.credential == response.raw_id) else {
        return unsigned(Rejected("it is none of your passkeys"));
    };
    let statement = statement(request, review)?;
    // Not the challenge that came back, but the one that this answer would have had.
    let expected = digest(&nonce, &statement);
    let verified = match passkey::verify(party, &expected.0, &known, response) {
        Ok(verified) => verified,
        Err(why) => return unsigned(why),
    };
    let proof = PasskeyProof {
        passkey: known.id,
        credential: known.credential.clone(),
        public_key: known.public_key.clone(),
        relying_party: party.id().to_owned(),
        origin: party.origin().to_owned(),
        statement,
        nonce,
        authenticator_data: response.response.authenticator_data.clone(),
        client_data: client_data.clone(),
        signature: response.response.signature.clone(),
    };
    let seen_counter = known.counter;
    let counter = verified.counter;
    let passkey = Passkey { counter, last_used_at: Some(op.now()), ..known };
    let spend = Change::SpendPasskey { passkey, seen_counter };
    Ok(Ok(Signed { proof, changes: vec![Change::EndChallenge(hash), spend] }))
}

/// The text that is signed. The same answer to the same access request is the same text.
fn statement(request: &AccessRequest, review: &Review) -> Result<String> {
    // Names of possible reviewers come and go, and are nothing that anybody approves.
    let bare = |query: &AccessQuery| {
        let way = Way { reviewers: Vec::new(), ..query.way.clone() };
        AccessQuery { way, ..query.clone() }
    };
    let statement = Statement {
        access_request: request.id,
        requester: &request.requester,
        service: &request.service,
        queries: request.queries.iter().map(bare).collect(),
        reason: &request.reason,
        reviewer: &review.reviewer,
        decision: review.decision,
        duration: review.duration.unwrap_or(request.duration),
        scope: &review.scope,
        extends: request.extends,
        note: review.note.as_deref(),
    };
    let text = serde_json::to_string(&statement);
    let text = text.map_err(|error| ControlError::Internal(Box::new(error)))?;
    if text.len() <= LONGEST {
        return Ok(text);
    }
    let why = "the access request is too long to be signed as a whole; ask for less at once";
    Err(ControlError::Conflict(why.into()))
}

/// INVARIANT: the nonce is as long as ever, so that two parts never read as two others.
fn digest(nonce: &Base64Url, statement: &str) -> Base64Url {
    let digest = Sha256::new().chain_update(DOMAIN).chain_update(nonce);
    Base64Url(digest.chain_update(statement).finalize().to_vec())
}

//! Proofs of possession (`DPoP`, RFC 9449): whoever presents a token that is bound to a key signs, for
//! each request, what the request is.
//!
//! A proof is good for one method at one address, with one token, for about a minute, once. It says
//! nothing about who somebody is: the key that it brings along is believed to be its signer's and no
//! more, and the token must be bound to that very key.

mod key;
mod replays;

use jiff::{SignedDuration, Timestamp};
use portcullis_model::Thumbprint;
use sha2::{Digest, Sha256};
use url::Url;

pub use self::{
    key::{KeyUnusable, ProofKey},
    replays::Replays,
};
use crate::{AuthError, jwks::Key, jws::Unproven};

/// What a server that takes proofs says in `WWW-Authenticate` (RFC 9449, 5.1 and 7.1).
pub const CHALLENGE: &str = "DPoP algs=\"ES256 ES384 EdDSA RS256 PS256\"";

/// The scheme of a token that comes with a proof.
pub const SCHEME: &str = "DPoP";

/// How old a proof may be.
const OLDEST: SignedDuration = SignedDuration::from_secs(60);
/// How far ahead the clock of whoever made it may be.
const AHEAD: SignedDuration = SignedDuration::from_secs(30);
const LONGEST_ID: usize = 256;

/// What a proof must be about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its address, in every form that the client may know it by.
    pub urls: &'a [Url],
    /// The token that comes with it, if one does.
    pub token: Option<&'a str>,
}

/// A proof that holds, as far as it can be seen without knowing the proofs before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that signed it.
    pub key: Thumbprint,
    /// Which proof of this key it is.
    pub(crate) id: [u8; 32],
    pub(crate) made: Timestamp,
}

/// Checks `proof` by RFC 9449, section 4.3, all but whether it came before: see [`Replays`].
pub fn verify(proof: &str, asked: &Asked<'_>, now: Timestamp) -> Result<Proof, AuthError> {
    let proof = Unproven::parse(proof).map_err(|_| bad("the DPoP proof is not a signed JWT"))?;
    if proof.typ.as_deref() != Some("dpop+jwt") {
        return Err(bad("the DPoP proof is not of the type `dpop+jwt`"));
    }
    let jwk = proof.jwk.clone().ok_or(bad("the DPoP proof brings no key along"))?;
    // A private key that travels is not its owner's alone.
    let secret = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    if secret.iter().any(|member| jwk.get(member).is_some()) {
        return Err(bad("the DPoP proof holds a private key: make another key"));
    }
    let key = Key::brought(jwk).ok_or(bad("the DPoP proof's key is not for any algorithm here"))?;
    key.verify(&proof).map_err(|_| bad("the DPoP proof's signature is not its key's"))?;
    let made = check_claims(&proof, asked, now)?;
    let id = text(&proof, "jti").filter(|id| (1..=LONGEST_ID).contains(&id.len()));
    let id = id.ok_or(bad("the DPoP proof has no `jti`"))?;
    let key = key.thumbprint();
    let mut hash = Sha256::new_with_prefix(key.0);
    hash.update(id);
    Ok(Proof { key, id: hash.finalize().into(), made })
}

fn check_claims(
    proof: &Unproven<'_>,
    asked: &Asked<'_>,
    now: Timestamp,
) -> Result<Timestamp, AuthError> {
    if text(proof, "htm") != Some(asked.method) {
        return Err(bad("the DPoP proof is for another method (`htm`)"));
    }
    if !text(proof, "htu").is_some_and(|told| asked.urls.iter().any(|own| is_at(told, own))) {
        return Err(bad("the DPoP proof is for another address (`htu`)"));
    }
    if let Some(token) = asked.token
        && text(proof, "ath") != Some(Thumbprint::of(token.as_bytes()).to_string().as_str())
    {
        return Err(bad("the DPoP proof is for another token (`ath`)"));
    }
    let made = proof.claims.get("iat").and_then(serde_json::Value::as_i64);
    let made = made.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let made = made.ok_or(bad("the DPoP proof does not say when it was made (`iat`)"))?;
    let age = now.duration_since(made);
    if age > OLDEST || age < -AHEAD {
        return Err(bad("the DPoP proof was not made just now (`iat`): make one for each request"));
    }
    Ok(made)
}

/// Query and fragment do not count (RFC 9449, 4.3, 9).
fn is_at(told: &str, own: &Url) -> bool {
    let Ok(told) = Url::parse(told) else { return false };
    told.username().is_empty()
        && told.password().is_none()
        && told.scheme() == own.scheme()
        && told.host_str() == own.host_str()
        && told.port_or_known_default() == own.port_or_known_default()
        && told.path() == own.path()
}

fn text<'a>(proof: &'a Unproven<'_>, claim: &str) -> Option<&'a str> {
    proof.claims.get(claim).and_then(serde_json::Value::as_str)
}

const fn bad(why: &'static str) -> AuthError {
    AuthError::Bad(why)
}

#[cfg(test)]
mod tests;

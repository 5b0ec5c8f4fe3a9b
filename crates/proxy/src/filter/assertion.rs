//! The signed identity that upstreams get: a short JWT for one principal, service and grant.
//!
//! Signing costs more than everything else on the path, so each core makes one per minute and
//! reuses it; it lives for two.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use portcullis_model::{GrantId, Principal, ServiceName};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// How long an assertion may be reused before a new one is made, in seconds.
pub(crate) const REUSE_SECONDS: i64 = 60;
const LIFETIME_SECONDS: i64 = 120;

/// A key that cannot sign assertions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the assertion key is not a P-256 private key in PKCS#8")]
pub struct InvalidKey;

/// Signs assertions with ES256. Prints as nothing.
pub struct AssertionSigner {
    key: EcdsaKeyPair,
    issuer: String,
    key_id: String,
    header: String,
    random: SystemRandom,
}

impl fmt::Debug for AssertionSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionSigner({})", self.key_id)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    kind: &'a str,
    name: &'a str,
    groups: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    iat: i64,
    exp: i64,
}

impl AssertionSigner {
    /// Signs with the P-256 key `pkcs8` (DER) as `issuer`, the control URL.
    pub fn new(pkcs8: &[u8], issuer: &str) -> Result<Self, InvalidKey> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|_| InvalidKey)?;
        // RFC 7638 wants a canonical JWK; the digest of the point names the key as well.
        let digest = Sha256::digest(key.public_key().as_ref());
        let key_id = URL_SAFE_NO_PAD.encode(digest.get(..12).unwrap_or_default());
        let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{key_id}"}}"#);
        let header = URL_SAFE_NO_PAD.encode(header);
        let issuer = issuer.trim_end_matches('/').to_owned();
        Ok(Self { key, issuer, key_id, header, random: SystemRandom::new() })
    }

    /// The public key as a JWK (RFC 7517), for control to publish.
    pub fn jwk(&self) -> serde_json::Value {
        let point = self.key.public_key().as_ref();
        let coordinate =
            |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
        serde_json::json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id,
            "x": coordinate(1), "y": coordinate(33),
        })
    }

    /// An assertion that `principal` may be at `service` under `grant`; `None` if signing fails.
    pub(crate) fn sign(
        &self,
        principal: &Principal,
        service: &ServiceName,
        grant: Option<GrantId>,
        now: Timestamp,
    ) -> Option<String> {
        let claims = Claims {
            iss: &self.issuer,
            aud: service.as_str(),
            sub: &principal.id.id,
            kind: principal.id.kind.as_str(),
            name: &principal.name,
            groups: principal.groups.iter().map(AsRef::as_ref).collect(),
            grant: grant.map(|grant| grant.to_string()),
            iat: now.as_second(),
            exp: now.as_second() + LIFETIME_SECONDS,
        };
        let mut token = self.header.clone();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(&claims).ok()?, &mut token);
        let signature = self.key.sign(&self.random, token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

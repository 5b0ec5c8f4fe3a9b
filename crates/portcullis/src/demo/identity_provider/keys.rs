//! The provider's key: ES256, made at start.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A private key with the public half as a JWK (RFC 7517).
pub(super) struct SigningKey {
    key: EncodingKey,
    id: String,
    x: String,
    y: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    pub(super) fn generate() -> Result<Self> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // SEC 1, 2.3.3: an uncompressed point is 0x04, then X and Y of 32 bytes each.
        let point = pair.public_key_raw().strip_prefix(&[4]).context("an uncompressed point")?;
        let (x, y) = point.split_at_checked(32).context("a P-256 point")?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(point));
        Ok(Self {
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            id,
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        })
    }

    pub(super) fn jwk(&self) -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
            "kid": self.id, "x": self.x, "y": self.y,
        })
    }

    pub(super) fn sign(&self, claims: &Value) -> Result<String> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        Ok(jsonwebtoken::encode(&header, claims, &self.key)?)
    }
}

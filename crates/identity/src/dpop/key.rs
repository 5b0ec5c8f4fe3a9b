//! The other side: a tool's own key, and the proofs that it makes.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use portcullis_model::{Entropy, Thumbprint};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Map, Value, json};
use url::Url;

/// A file that holds no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no private key on P-256 in PKCS #8; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out tool.key`"
)]
pub struct KeyUnusable;

/// A private key on P-256 that signs proofs.
pub struct ProofKey {
    pair: EcdsaKeyPair,
    jwk: Value,
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofKey(…)")
    }
}

impl ProofKey {
    /// Reads PKCS #8 in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyUnusable> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyUnusable)?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.secret_pkcs8_der());
        let pair = pair.map_err(|_| KeyUnusable)?;
        // An uncompressed point: 4, x, y.
        let (x, y) = match pair.public_key().as_ref() {
            [4, point @ ..] if point.len() == 64 => point.split_at(32),
            _ => return Err(KeyUnusable),
        };
        let encoded = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let jwk = json!({"crv": "P-256", "kty": "EC", "x": encoded(x), "y": encoded(y)});
        Ok(Self { pair, jwk })
    }

    /// A proof for one request: its method, its address, and the token that comes with it, if one does.
    pub fn prove(
        &self,
        method: &str,
        url: &Url,
        token: Option<&str>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<String, KeyUnusable> {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        let mut address = url.clone();
        address.set_query(None);
        address.set_fragment(None);
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk});
        let mut claims = Map::new();
        claims.insert("jti".to_owned(), URL_SAFE_NO_PAD.encode(id).into());
        claims.insert("htm".to_owned(), method.into());
        claims.insert("htu".to_owned(), address.as_str().into());
        claims.insert("iat".to_owned(), now.as_second().into());
        if let Some(token) = token {
            let hash = Thumbprint::of(token.as_bytes()).to_string();
            claims.insert("ath".to_owned(), hash.into());
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims.into()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.map_err(|_| KeyUnusable)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

//! Tokens, sound and defective.

use std::sync::Arc;

use aws_lc_rs::hmac;
use serde_json::{Map, Value, json};

use super::keys::{SigningKey, base64};

/// A token to be minted. Starts sound; every method makes it different in one respect.
#[derive(Debug, Clone)]
pub struct TokenDraft {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    raw_header: Option<String>,
    raw_claims: Option<String>,
    key: Arc<SigningKey>,
}

impl TokenDraft {
    pub(super) fn new(issuer: &str, key: Arc<SigningKey>, now: i64) -> Self {
        let header = json!({"alg": key.alg(), "kid": key.kid(), "typ": "JWT"});
        let claims = json!({
            "iss": issuer, "aud": "portcullis", "sub": "builder",
            "iat": now, "nbf": now, "exp": now + 300,
        });
        Self {
            header: object(header),
            claims: object(claims),
            raw_header: None,
            raw_claims: None,
            key,
        }
    }

    /// Sets a claim, to a value of any type.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a header parameter.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a header parameter out.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Puts `json` in the place of all claims, letter by letter.
    #[must_use]
    pub fn raw_claims(mut self, json: &str) -> Self {
        self.raw_claims = Some(json.to_owned());
        self
    }

    /// Puts `json` in the place of the header, letter by letter.
    #[must_use]
    pub fn raw_header(mut self, json: &str) -> Self {
        self.raw_header = Some(json.to_owned());
        self
    }

    /// The claims as JSON text, to be edited and given to [`Self::raw_claims`].
    pub fn claims_json(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }

    /// Signed by the issuer's current key.
    pub fn mint(&self) -> String {
        self.signed_by(&self.key)
    }

    /// Signed by another key, whatever the header says.
    pub fn signed_by(&self, key: &SigningKey) -> String {
        let message = self.message();
        let signature = key.sign(message.as_bytes());
        format!("{message}.{}", base64(&signature))
    }

    /// Signed by HMAC-SHA-256 with `secret`, whatever the header says.
    pub fn hmac_signed(&self, secret: &[u8]) -> String {
        let message = self.message();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("{message}.{}", base64(hmac::sign(&key, message.as_bytes()).as_ref()))
    }

    /// With an empty signature.
    pub fn unsigned(&self) -> String {
        format!("{}.", self.message())
    }

    fn message(&self) -> String {
        let part = |raw: &Option<String>, sound: &Map<String, Value>| {
            let text = raw.clone().unwrap_or_else(|| Value::Object(sound.clone()).to_string());
            base64(text.as_bytes())
        };
        format!("{}.{}", part(&self.raw_header, &self.header), part(&self.raw_claims, &self.claims))
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

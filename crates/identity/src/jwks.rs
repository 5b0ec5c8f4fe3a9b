//! A key set (RFC 7517), reduced to what may verify a token.
//!
//! Each key is good for one algorithm, which the key names or its type implies, and never the
//! token. Keys for other uses, of other kinds, and shared secrets are left out; so is everything
//! past the cap.

use jsonwebtoken::{Algorithm, DecodingKey};
use portcullis_model::Thumbprint;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{AuthError, jws::Unproven};

/// More keys than any issuer has, and few enough to be searched one by one.
const MAX_KEYS: usize = 64;

/// The keys of one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

/// A public key and its only algorithm.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    jwk: Jwk,
    alg: &'static str,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.jwk == other.jwk
    }
}

impl Eq for Key {}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    public_key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// No key of the set has the token's `kid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyUnknown;

impl KeySet {
    /// Reads a key set; `None` if it is none. Keys that are not understood are no error
    /// (RFC 7517, 5).
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        Self::parse_for(json, "sig")
    }

    /// Reads the bundle of a trust domain, leaving out what is for certificates (SPIFFE Trust Domain
    /// and Bundle, 4.2.2) and the algorithms that its tokens cannot have (JWT-SVID, 2.1).
    pub(crate) fn parse_svid_keys(json: &[u8]) -> Option<Self> {
        let mut set = Self::parse_for(json, "jwt-svid")?;
        set.keys.retain(|key| key.algorithm != Algorithm::EdDSA);
        Some(set)
    }

    fn parse_for(json: &[u8], purpose: &str) -> Option<Self> {
        let document: Document = serde_json::from_slice(json).ok()?;
        let mut keys: Vec<Key> = Vec::new();
        for key in document.keys.into_iter().filter_map(|key| Key::parse(key, purpose)) {
            // INVARIANT: one `kid`, one key. The first stands, so that no token has a choice.
            if keys.len() < MAX_KEYS && !keys.iter().any(|known| known.jwk.kid == key.jwk.kid) {
                keys.push(key);
            }
        }
        Some(Self { keys })
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Checks the signature of `token`.
    pub(crate) fn verify(&self, token: &Unproven<'_>) -> Result<Result<(), AuthError>, KeyUnknown> {
        Ok(self.lookup(token.kid.as_deref()).ok_or(KeyUnknown)?.verify(token))
    }

    /// The key named `kid`; without a name, the only key there is.
    fn lookup(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|key| key.jwk.kid.as_deref() == Some(kid)),
        }
    }
}

impl Key {
    /// The public key that came along with a proof.
    pub(crate) fn brought(jwk: Value) -> Option<Self> {
        Self::parse(jwk, "sig")
    }

    /// Checks the signature of `token`.
    pub(crate) fn verify(&self, token: &Unproven<'_>) -> Result<(), AuthError> {
        if token.alg != self.alg {
            return Err(AuthError::Bad("the token's algorithm is not its key's"));
        }
        let message = token.message.as_bytes();
        let (key, algorithm) = (&self.decoding, self.algorithm);
        match jsonwebtoken::crypto::verify(token.signature, message, key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(AuthError::Bad("the token's signature is not sound")),
        }
    }

    /// RFC 7638: of the members that make it this key, in the order of their names.
    pub(crate) fn thumbprint(&self) -> Thumbprint {
        let Jwk { kty, crv, x, y, n, e, .. } = &self.jwk;
        // Written in order, which every kind of map keeps; members that a key has not are null.
        let mut members = json!({"crv": crv, "e": e, "kty": kty, "n": n, "x": x, "y": y});
        if let Some(members) = members.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        Thumbprint::of(members.to_string().as_bytes())
    }

    fn parse(value: Value, purpose: &str) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let verifies = jwk.public_key_use.as_deref().is_none_or(|said| said == purpose)
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !verifies {
            return None;
        }
        let (alg, algorithm) = jwk.algorithm()?;
        let decoding = jwk.decoding_key()?;
        Some(Self { jwk, alg, algorithm, decoding })
    }
}

impl Jwk {
    /// The algorithm that the key is for. An RSA key that names none is for RS256, the default of
    /// OpenID Connect; the others leave no choice.
    fn algorithm(&self) -> Option<(&'static str, Algorithm)> {
        let named = self.alg.as_deref();
        match (self.kty.as_str(), self.crv.as_deref(), named) {
            ("EC", Some("P-256"), None | Some("ES256")) => Some(("ES256", Algorithm::ES256)),
            ("EC", Some("P-384"), None | Some("ES384")) => Some(("ES384", Algorithm::ES384)),
            ("OKP", Some("Ed25519"), None | Some("EdDSA")) => Some(("EdDSA", Algorithm::EdDSA)),
            ("RSA", None, None | Some("RS256")) => Some(("RS256", Algorithm::RS256)),
            ("RSA", None, Some("PS256")) => Some(("PS256", Algorithm::PS256)),
            _ => None,
        }
    }

    fn decoding_key(&self) -> Option<DecodingKey> {
        let key = match self.kty.as_str() {
            "EC" => DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?),
            "OKP" => DecodingKey::from_ed_components(self.x.as_deref()?),
            "RSA" => DecodingKey::from_rsa_components(self.n.as_deref()?, self.e.as_deref()?),
            _ => return None,
        };
        key.ok()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::SigningKey;
    use serde_json::json;

    use super::*;

    fn set(keys: &[Value]) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn keys_that_cannot_verify_are_left_out() {
        let good = SigningKey::generate("a", "ES256").jwk();
        let with = |name: &str, value: Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            jwk
        };
        let useless = [
            json!({"kty": "oct", "k": "AAAA", "kid": "secret", "alg": "HS256"}),
            with("use", json!("enc")),
            with("key_ops", json!(["sign"])),
            with("alg", json!("RS256")),
            with("alg", json!("none")),
            with("crv", json!("P-521")),
            with("x", json!("!")),
            with("kid", json!(7)),
            json!("not a key"),
        ];
        assert_eq!(set(&useless).len(), 0);
        assert_eq!(set(&[good]).len(), 1);
    }

    #[test]
    fn of_two_keys_with_one_name_the_first_stands() {
        let (one, two) = (SigningKey::generate("k", "ES256"), SigningKey::generate("k", "EdDSA"));
        assert_eq!(set(&[one.jwk(), two.jwk()]), set(&[one.jwk()]));
        assert_ne!(set(&[one.jwk()]), set(&[two.jwk()]));
    }

    #[test]
    fn no_more_than_64_keys_are_kept() {
        let jwk = SigningKey::generate("k", "EdDSA").jwk();
        let many: Vec<_> = (0..100)
            .map(|at| {
                let mut jwk = jwk.clone();
                jwk["kid"] = json!(format!("k{at}"));
                jwk
            })
            .collect();
        assert_eq!(set(&many).len(), MAX_KEYS);
    }

    #[test]
    fn what_is_no_key_set_is_none() {
        for bad in ["", "[]", "{}", "{\"keys\": 1}", "<html>"] {
            assert!(KeySet::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}

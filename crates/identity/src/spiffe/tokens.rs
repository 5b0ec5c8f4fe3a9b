//! Tokens of trust domains (JWT-SVID).

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use serde_json::Value;

use super::{Mesh, SpiffeId, TrustDomain};
use crate::{
    AuthError, Authenticated, ConfigError, Unverified,
    claims::{self, Life},
    jwks::KeySet,
    jws::Unproven,
    key_source::KeysVersion,
    workloads::Verified,
};

/// A trust domain whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvidTokens {
    /// Its workloads.
    pub mesh: Arc<Mesh>,
    /// What `aud` must be or hold.
    pub audience: String,
}

/// Whether `json` holds keys that could verify a JWT-SVID.
pub fn check_key_set(json: &[u8]) -> bool {
    KeySet::parse_svid_keys(json).is_some_and(|keys| keys.len() > 0)
}

/// All of them, with the keys as they are known now.
#[derive(Debug)]
pub(crate) struct TokenDomains {
    domains: HashMap<TrustDomain, Tokens>,
    version: Arc<KeysVersion>,
}

#[derive(Debug)]
struct Tokens {
    config: SvidTokens,
    keys: ArcSwapOption<KeySet>,
}

impl TokenDomains {
    pub(crate) fn new(
        accepted: Vec<SvidTokens>,
        version: Arc<KeysVersion>,
    ) -> Result<Self, ConfigError> {
        let mut domains = HashMap::new();
        for config in accepted {
            let domain = config.mesh.domain.clone();
            let tokens = Tokens { config, keys: ArcSwapOption::empty() };
            if let Some(known) = domains.insert(domain, tokens) {
                return Err(ConfigError::DuplicateIssuer(known.config.mesh.domain.to_string()));
            }
        }
        Ok(Self { domains, version })
    }

    /// Puts the keys of `domain` in force; false if `json` holds none that could be used, and then
    /// the keys stay as they were.
    pub(crate) fn replace_keys(&self, domain: &TrustDomain, json: &[u8]) -> bool {
        let Some(tokens) = self.domains.get(domain) else { return false };
        let Some(keys) = KeySet::parse_svid_keys(json).filter(|keys| keys.len() > 0) else {
            return false;
        };
        if tokens.keys.load().as_deref() != Some(&keys) {
            let count = keys.len();
            tokens.keys.store(Some(Arc::new(keys)));
            // After the store: who sees the new number sees the new keys too.
            self.version.advance();
            tracing::info!(trust_domain = %domain, keys = count, "keys.changed");
        }
        true
    }

    /// The names of the trust domains whose keys are not known.
    pub(crate) fn unavailable(&self) -> impl Iterator<Item = &str> {
        let without = self.domains.values().filter(|tokens| tokens.keys.load().is_none());
        without.map(|tokens| tokens.config.mesh.name.as_str())
    }

    /// The answer to a token whose subject is a SPIFFE ID of a domain that is configured here.
    pub(crate) fn verify(
        &self,
        token: &Unproven<'_>,
        now: Timestamp,
    ) -> Option<Result<Verified, Unverified>> {
        let id: SpiffeId = token.claims.get("sub").and_then(Value::as_str)?.parse().ok()?;
        let tokens = self.domains.get(id.domain())?;
        Some(tokens.verify(&id, token, now))
    }
}

impl Tokens {
    /// JWT-SVID, 2 to 4: the algorithm from the key, `aud` and `exp` required.
    fn verify(
        &self,
        id: &SpiffeId,
        token: &Unproven<'_>,
        now: Timestamp,
    ) -> Result<Verified, Unverified> {
        if !matches!(token.media_type().as_deref(), None | Some("jwt" | "jose")) {
            return Err(AuthError::Bad("the token was made for another purpose").into());
        }
        claims::check_purpose(None, &token.claims)?;
        let SvidTokens { mesh, audience } = &self.config;
        let keys = self.keys.load();
        let keys = keys.as_ref();
        let keys = keys.ok_or_else(|| AuthError::IssuerUnavailable(mesh.name.clone()))?;
        let unknown = AuthError::Bad("the token's key is not one of its trust domain's");
        keys.verify(token).map_err(|_| unknown)??;
        claims::check_audience(&token.claims, audience)?;
        let life = Life::check(&token.claims, now)?;
        let since = life.issued_at.unwrap_or(now);
        let principal = mesh.principal(id);
        let origin = mesh.origin(&principal);
        let authenticated = Authenticated::by_jwt(principal, origin, since, life.ends_at);
        Ok(Verified { authenticated, good_until: life.ends_at })
    }
}

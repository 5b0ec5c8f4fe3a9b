//! Workloads: callers that present a JWT of a configured issuer or trust domain, or an opaque token.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use portcullis_model::Clock;
use tokio::runtime::Handle;

use crate::{
    AuthError, Authenticated, ConfigError, Job, JwtIssuer, OpaqueIssuer, Pace, ProviderClient, ci,
    claims::{self, Life},
    introspection::Introspectors,
    jws::Unproven,
    key_source::{KeySource, KeysVersion, Prospect},
    provider::Provider,
    spiffe::{SvidTokens, TokenDomains, TrustDomain},
};

/// All issuers of workload tokens.
#[derive(Debug)]
pub struct Workloads {
    issuers: HashMap<String, Issuer>,
    domains: TokenDomains,
    opaque: Introspectors,
    version: Arc<KeysVersion>,
}

#[derive(Debug)]
struct Issuer {
    config: JwtIssuer,
    keys: Arc<KeySource>,
}

/// Why [`Workloads::try_authenticate`] has no answer, or a bad one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unverified {
    /// It is an answer: refuse.
    Refused(AuthError),
    /// Only the issuer can tell, by its keys or its answer: await [`Workloads::authenticate`].
    IssuerNeeded,
}

impl From<AuthError> for Unverified {
    fn from(error: AuthError) -> Self {
        Self::Refused(error)
    }
}

/// A token that is proven, until its end or until its key must be confirmed.
pub(crate) struct Verified {
    pub(crate) authenticated: Authenticated,
    pub(crate) good_until: Timestamp,
}

impl Workloads {
    /// Accepts the tokens of `issuers`, whose keys are fetched on `control` at `pace`, or as often as
    /// an issuer says.
    pub fn new(
        issuers: Vec<JwtIssuer>,
        client: &ProviderClient,
        clock: &Arc<dyn Clock>,
        pace: Pace,
        control: &Handle,
    ) -> Result<Self, ConfigError> {
        let version = Arc::new(KeysVersion::new());
        let mut by_url: HashMap<String, Issuer> = HashMap::new();
        for config in issuers {
            if by_url.values().any(|known| known.config.name == config.name) {
                return Err(ConfigError::DuplicateName(config.name));
            }
            let provider = Provider {
                issuer: config.issuer.clone(),
                endpoint_hosts: config.endpoint_hosts.clone(),
                client: client.clone(),
            };
            let refresh_every = config.refresh_every.unwrap_or(pace.refresh_every);
            let pace = Pace { refresh_every, ..pace };
            let (clock, control, version) =
                (Arc::clone(clock), control.clone(), Arc::clone(&version));
            let keys = KeySource::new(provider, pace, clock, control, version);
            let url = config.issuer.as_str().to_owned();
            if let Some(known) = by_url.insert(url, Issuer { config, keys }) {
                return Err(ConfigError::DuplicateIssuer(known.config.issuer.to_string()));
            }
        }
        let domains = TokenDomains::new(Vec::new(), Arc::clone(&version))?;
        Ok(Self { issuers: by_url, domains, opaque: Introspectors::default(), version })
    }

    /// Also accepts the tokens of `domains` (JWT-SVID), whose keys are put in by
    /// [`Self::replace_svid_keys`].
    pub fn with_svids(self, domains: Vec<SvidTokens>) -> Result<Self, ConfigError> {
        let domains = TokenDomains::new(domains, Arc::clone(&self.version))?;
        Ok(Self { domains, ..self })
    }

    /// Also accepts opaque tokens of `issuers`, who are asked on `control`.
    pub fn with_opaque(
        self,
        issuers: Vec<OpaqueIssuer>,
        client: &ProviderClient,
        clock: &Arc<dyn Clock>,
        control: &Handle,
    ) -> Result<Self, ConfigError> {
        let opaque = Introspectors::new(issuers, client, clock, control)?;
        let known = |name: &&str| self.issuers.values().any(|issuer| issuer.config.name == *name);
        if let Some(twice) = opaque.names().find(known) {
            return Err(ConfigError::DuplicateName(twice.to_owned()));
        }
        Ok(Self { opaque, ..self })
    }

    /// Puts the keys of `domain`, a JWKS, in force. False if none of them could be used; then what
    /// was known stays.
    pub fn replace_svid_keys(&self, domain: &TrustDomain, jwks: &[u8]) -> bool {
        self.domains.replace_keys(domain, jwks)
    }

    /// Starts to fetch all keys, at once and again and again, until this value is dropped.
    pub fn keep_fresh(&self) {
        for issuer in self.issuers.values() {
            issuer.keys.keep_fresh();
        }
    }

    /// Who presents `token`, waiting for its issuer if that may help.
    pub async fn authenticate(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Authenticated, AuthError> {
        if let Some(found) = self.opaque.authenticate(token, now).await {
            return found;
        }
        let unproven = Unproven::parse(token)?;
        let issuer = match self.issuer_of(&unproven) {
            Ok(issuer) => issuer,
            Err(error) => return self.of_domain(&unproven, error, now),
        };
        issuer.check_presented()?;
        Ok(issuer.verify_waiting(&unproven, now).await?.authenticated)
    }

    /// Which CI job presents `token` to exchange it, waiting for the issuer's keys if they may help.
    pub async fn job(&self, token: &str, now: Timestamp) -> Result<Job, AuthError> {
        let unproven = Unproven::parse(token)?;
        let issuer = self.issuer_of(&unproven)?;
        let not_ci = AuthError::Bad("the token is not of a CI system, so it is not exchanged");
        let jobs = issuer.config.ci.ok_or(not_ci)?;
        let verified = issuer.verify_waiting(&unproven, now).await?;
        let replay_key = ci::replay_key(&unproven, &issuer.config.name)?;
        let authenticated = verified.authenticated;
        Ok(Job { replay_key, ends_at: authenticated.ends_at(), authenticated, jobs })
    }

    /// Who presents `token`, without waiting for anything.
    pub fn try_authenticate(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Authenticated, Unverified> {
        self.try_verify(token, now).map(|verified| verified.authenticated)
    }

    /// Changes whenever a token that was accepted might no longer be. Never the same for two
    /// values of this type.
    pub fn keys_version(&self) -> u64 {
        self.version.current()
    }

    /// The names of the issuers whose tokens cannot be checked at `now`.
    pub fn unavailable(&self, now: Timestamp) -> Vec<&str> {
        let without = self.issuers.values().filter(|issuer| issuer.keys.held(now).is_none());
        let without = without.map(|issuer| issuer.config.name.as_str());
        without.chain(self.domains.unavailable()).chain(self.opaque.unavailable()).collect()
    }

    pub(crate) fn try_verify(&self, token: &str, now: Timestamp) -> Result<Verified, Unverified> {
        if let Some(found) = self.opaque.try_verify(token, now) {
            return found;
        }
        let unproven = Unproven::parse(token)?;
        match self.issuer_of(&unproven) {
            Ok(issuer) => {
                issuer.check_presented()?;
                issuer.verify(&unproven, now)
            }
            Err(error) => {
                self.domains.verify(&unproven, now).unwrap_or(Err(Unverified::Refused(error)))
            }
        }
    }

    /// A token that names no issuer of ours may be of a trust domain of ours.
    fn of_domain(
        &self,
        token: &Unproven<'_>,
        otherwise: AuthError,
        now: Timestamp,
    ) -> Result<Authenticated, AuthError> {
        match self.domains.verify(token, now) {
            Some(Ok(verified)) => Ok(verified.authenticated),
            Some(Err(Unverified::Refused(error))) => Err(error),
            // Their keys are put in by others: there is nothing to wait for.
            Some(Err(Unverified::IssuerNeeded)) | None => Err(otherwise),
        }
    }

    fn issuer_of(&self, token: &Unproven<'_>) -> Result<&Issuer, AuthError> {
        let claimed = token.claims.get("iss").and_then(|claimed| claimed.as_str());
        let claimed = claimed.ok_or(AuthError::Bad("the token names no issuer"))?;
        self.issuers.get(claimed).ok_or(AuthError::Bad("the token's issuer is not configured"))
    }
}

impl Issuer {
    /// Refuses a CI job's token wherever it is presented instead of being exchanged.
    fn check_presented(&self) -> Result<(), AuthError> {
        if self.config.ci.is_none() {
            return Ok(());
        }
        Err(AuthError::Bad(
            "a CI job's token is exchanged once, at control, and only its run is accepted",
        ))
    }

    async fn verify_waiting(
        &self,
        token: &Unproven<'_>,
        now: Timestamp,
    ) -> Result<Verified, AuthError> {
        match self.verify(token, now) {
            Ok(verified) => return Ok(verified),
            Err(Unverified::Refused(error)) => return Err(error),
            Err(Unverified::IssuerNeeded) => self.keys.refresh().await,
        }
        match self.verify(token, now) {
            Ok(verified) => Ok(verified),
            Err(Unverified::Refused(error)) => Err(error),
            // Waited once already: whoever waits again could be made to wait for ever.
            Err(Unverified::IssuerNeeded) => Err(self.unavailable()),
        }
    }

    fn verify(&self, token: &Unproven<'_>, now: Timestamp) -> Result<Verified, Unverified> {
        claims::check_purpose(token.media_type().as_deref(), &token.claims)?;
        let Some(held) = self.keys.held(now) else {
            return Err(match self.keys.prospect(now) {
                Prospect::Fetch => Unverified::IssuerNeeded,
                Prospect::None | Prospect::Unavailable => self.unavailable().into(),
            });
        };
        let Ok(signature) = held.keys.verify(token) else {
            return Err(match self.keys.prospect(now) {
                Prospect::Fetch => Unverified::IssuerNeeded,
                Prospect::None => {
                    AuthError::Bad("the token's key is not one of its issuer's").into()
                }
                Prospect::Unavailable => self.unavailable().into(),
            });
        };
        signature?;
        claims::check_audience(&token.claims, &self.config.audience)?;
        let life = Life::check(&token.claims, now)?;
        let (principal, origin) = claims::principal(
            &self.config.name,
            self.config.issuer.as_str(),
            &self.config.mapping,
            &token.claims,
        )?;
        let authenticated_at = life.issued_at.unwrap_or(now);
        let authenticated =
            Authenticated::by_jwt(Arc::new(principal), origin, authenticated_at, life.ends_at);
        Ok(Verified { authenticated, good_until: life.ends_at.min(held.good_until) })
    }

    fn unavailable(&self) -> AuthError {
        AuthError::IssuerUnavailable(self.config.name.clone())
    }
}

//! A provider that vouches for people by ID tokens (OpenID Connect Core 1.0).

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::Clock;
use tokio::{runtime::Handle, sync::Mutex};
use url::Url;

use super::{Registration, Vouched, id_token};
use crate::{
    AuthError, IssuerUrl, Pace, ProviderClient, ProviderError,
    jws::Unproven,
    key_source::{KeySource, KeysVersion},
    provider::{Metadata, Provider},
};

/// Where a provider is asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// RFC 6749, 3.1.
    Authorization,
    /// RFC 6749, 3.2.
    Token,
    /// RFC 8628, 3.1.
    Device,
}

/// How a token came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// From the provider's own endpoint.
    FromProvider,
    /// From anybody who says that they are the provider.
    FromAnybody,
}

/// See the module.
#[derive(Debug)]
pub(super) struct OpenId {
    issuer: IssuerUrl,
    clock: Arc<dyn Clock>,
    keys: Arc<KeySource>,
    known: Mutex<Option<(Metadata, Timestamp)>>,
}

impl OpenId {
    pub(super) fn new(
        issuer: IssuerUrl,
        endpoint_hosts: Vec<String>,
        client: &ProviderClient,
        clock: &Arc<dyn Clock>,
        pace: Pace,
        control: &Handle,
    ) -> Self {
        let provider = Provider { issuer: issuer.clone(), endpoint_hosts, client: client.clone() };
        let version = Arc::new(KeysVersion::new());
        let keys = KeySource::new(provider, pace, Arc::clone(clock), control.clone(), version);
        Self { issuer, clock: Arc::clone(clock), keys, known: Mutex::default() }
    }

    pub(super) fn issuer(&self) -> &IssuerUrl {
        &self.issuer
    }

    /// Checks an ID token that came from the provider (OpenID Connect Core 1.0, 3.1.3.7), and reads
    /// the person from it.
    pub(super) async fn vouched(
        &self,
        registration: &Registration,
        id_token: &str,
        nonce: Option<&str>,
    ) -> Result<Vouched, AuthError> {
        let token = self.proven(id_token, Came::FromProvider).await?;
        if nonce.is_some() && id_token::text(&token.claims, "nonce") != nonce {
            return Err(AuthError::Bad("it was made for another sign-in"));
        }
        let Registration { client_id, reads, .. } = registration;
        let person = id_token::person(&self.issuer, client_id, reads, &token, self.clock.now())?;
        Ok(Vouched { person, acr: id_token::text(&token.claims, "acr").map(str::to_owned) })
    }

    /// Checks a token's signature, and nothing else.
    ///
    /// A provider that has just changed its keys signs with one that is not known here yet. Where it
    /// handed the token over itself, its keys are fetched however lately they were: whoever signs in
    /// at that moment must not be refused for it, and nobody else can cause it.
    pub(super) async fn proven<'a>(
        &self,
        token: &'a str,
        came: Came,
    ) -> Result<Unproven<'a>, AuthError> {
        let token = Unproven::parse(token)?;
        let now = self.clock.now();
        let proven = || self.keys.held(now).map(|held| held.keys.verify(&token));
        // A fetch that was under way already may have been answered before the key was there.
        for _ in 0..2 {
            if let Some(Ok(signature)) = proven() {
                signature?;
                return Ok(token);
            }
            match came {
                Came::FromProvider => self.keys.refresh_at_once().await,
                Came::FromAnybody => self.keys.refresh().await,
            }
        }
        let unavailable = || AuthError::IssuerUnavailable(self.issuer.to_string());
        match proven().ok_or_else(unavailable)? {
            Ok(signature) => signature.map(|()| token),
            Err(_) if self.keys.is_failing() => Err(unavailable()),
            Err(_) => Err(AuthError::Bad("its key is not one of the provider's")),
        }
    }

    pub(super) async fn endpoint(&self, wanted: Endpoint) -> Result<Url, ProviderError> {
        let metadata = self.metadata().await?;
        let provider = self.keys.provider();
        let found = match wanted {
            Endpoint::Authorization => provider.authorization_endpoint(&metadata),
            Endpoint::Token => provider.token_endpoint(&metadata),
            Endpoint::Device => provider.device_endpoint(&metadata),
        };
        if found.is_err() {
            // A document that lacks what is needed is not kept: it may have been put right meanwhile.
            *self.known.lock().await = None;
        }
        found
    }

    /// Where claims are asked for, where that is possible.
    pub(super) async fn userinfo(&self) -> Result<Option<Url>, ProviderError> {
        self.keys.provider().userinfo_endpoint(&self.metadata().await?)
    }

    /// The discovery document, read again from time to time.
    pub(super) async fn metadata(&self) -> Result<Metadata, ProviderError> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        if let Some((metadata, _)) =
            known.as_ref().filter(|(_, since)| self.keys.is_fresh(*since, now))
        {
            return Ok(metadata.clone());
        }
        let metadata = self.keys.provider().metadata().await?;
        Ok(known.insert((metadata, now)).0.clone())
    }
}

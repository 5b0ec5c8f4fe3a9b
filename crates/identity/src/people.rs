//! People: who they are, as the organisation's identity provider says.
//!
//! The client of one OpenID provider. For browsers the code flow with PKCE; for command lines the
//! device flow (RFC 8628): a code is shown, the person confirms it in a browser, and an ID token comes
//! back. What a person may do, and which sign-in they get for it, is control's matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use portcullis_model::{AttributeValue, Clock, Group, Secret};
use reqwest::RequestBuilder;
use tokio::{runtime::Handle, sync::Mutex};
use url::{Url, form_urlencoded};

use crate::{
    AuthError, ClaimType, IssuerUrl, Pace, ProviderClient, ProviderError,
    jws::Unproven,
    key_source::{KeySource, KeysVersion},
    provider::{Metadata, Provider, exchange},
};

mod answer;
mod code;
mod email;
mod id_token;
mod logout;
mod renew;

pub use code::{AuthorizationRequest, Returned};
pub use logout::Logout;

/// The grant type of RFC 8628, 3.4.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What is configured of the identity provider for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcProvider {
    /// Its name in configuration: the first half of its principals' names.
    pub name: String,
    /// Its identifier.
    pub issuer: IssuerUrl,
    /// Who Portcullis is there.
    pub client_id: String,
    /// Proves it (`client_secret_basic`), where the provider wants that.
    pub client_secret: Option<Secret>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The claim that lists groups. If it is set, a person without it cannot sign in.
    pub groups_claim: Option<String>,
    /// Claims that policies may read.
    pub claims: BTreeMap<String, ClaimType>,
    /// Hosts, besides the issuer's own, that its discovery document may point to.
    pub endpoint_hosts: Vec<String>,
    /// How somebody is asked to authenticate anew, or better.
    pub step_up: StepUp,
    /// How often it is asked again about those who are signed in; never, if absent.
    pub recheck: Option<Duration>,
}

/// How somebody is asked to authenticate anew, or better.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepUp {
    /// What `acr` must be one of then (OpenID Connect Core 1.0, 3.1.2.1).
    pub acr_values: Vec<String>,
}

impl OidcProvider {
    /// A public client that asks for `openid email profile groups` and expects `groups`.
    pub fn new(name: impl Into<String>, issuer: IssuerUrl, client_id: impl Into<String>) -> Self {
        let scopes = ["openid", "email", "profile", "groups"];
        Self {
            name: name.into(),
            issuer,
            client_id: client_id.into(),
            client_secret: None,
            scopes: scopes.map(str::to_owned).into(),
            groups_claim: Some("groups".to_owned()),
            claims: BTreeMap::new(),
            endpoint_hosts: Vec::new(),
            step_up: StepUp::default(),
            recheck: None,
        }
    }
}

/// What to show to the person, and what to poll with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// To be given to [`People::poll_device`], and to nobody else.
    pub device_code: Secret,
    /// What the person types in.
    pub user_code: String,
    /// Where.
    pub verification_uri: Url,
    /// Where, with the code in the address already.
    pub verification_uri_complete: Option<Url>,
    /// For how many seconds.
    pub expires_in: u64,
    /// How many seconds to wait between polls.
    pub interval: u64,
}

/// What has become of a device authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// The person has not confirmed yet.
    Pending {
        /// Wait 5 seconds longer between polls from now on.
        slow_down: bool,
    },
    /// The person, or the provider, said no.
    Denied,
    /// It took too long.
    Expired,
    /// The person is who they are.
    Done(Box<SignedIn>),
}

/// Somebody who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub person: PersonClaims,
    /// What [`People::renew`] asks with; absent if the provider gave nothing that it could.
    pub renewal: Option<Secret>,
}

/// What the provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonClaims {
    /// The provider's name for them. Identity is this, and never the e-mail address.
    pub subject: String,
    /// In lower case; there only if the provider verified it and it is one plain address.
    pub email: Option<String>,
    /// What to call them.
    pub name: String,
    /// Their groups; empty if no groups claim is configured.
    pub groups: BTreeSet<Group>,
    /// Mapped claims.
    pub claims: BTreeMap<String, AttributeValue>,
    /// How they authenticated (RFC 8176).
    pub amr: BTreeSet<String>,
    /// When they authenticated, if the provider says so.
    pub auth_time: Option<Timestamp>,
    /// The session at the provider (`sid`), if it has a name.
    pub session: Option<String>,
}

/// Why somebody cannot sign in at the moment, or at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeopleError {
    /// The provider does not answer as it should.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The provider refuses what we ask; the configuration of one of the two is wrong.
    #[error("the identity provider refuses: {error}")]
    Refused {
        /// Its error code (RFC 6749, 5.2).
        error: String,
    },
    /// The provider's ID token is not acceptable.
    #[error("the identity provider's ID token is refused: {0}")]
    IdToken(#[from] AuthError),
}

/// The client of one identity provider.
#[derive(Debug)]
pub struct People {
    config: OidcProvider,
    client: ProviderClient,
    clock: Arc<dyn Clock>,
    keys: Arc<KeySource>,
    known: Mutex<Option<(Metadata, Timestamp)>>,
}

impl People {
    /// The client of `config`; keys are fetched on `control`.
    pub fn new(
        config: OidcProvider,
        client: &ProviderClient,
        clock: &Arc<dyn Clock>,
        pace: Pace,
        control: &Handle,
    ) -> Self {
        let provider = Provider {
            issuer: config.issuer.clone(),
            endpoint_hosts: config.endpoint_hosts.clone(),
            client: client.clone(),
        };
        let version = Arc::new(KeysVersion::new());
        let keys = KeySource::new(provider, pace, Arc::clone(clock), control.clone(), version);
        let (client, clock) = (client.clone(), Arc::clone(clock));
        Self { config, client, clock, keys, known: Mutex::default() }
    }

    /// How often it is asked again about those who are signed in.
    pub fn recheck(&self) -> Option<Duration> {
        self.config.recheck
    }

    /// The provider's name in configuration.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Starts a sign-in (RFC 8628, 3.1).
    pub async fn begin_device(&self) -> Result<DeviceAuthorization, PeopleError> {
        let found = self.keys.provider().device_endpoint(&self.metadata().await?);
        let url = self.unless_missing(found).await?;
        let scope = self.config.scopes.join(" ");
        let (status, body) = self.post(&url, &[("scope", &scope)]).await?;
        match status {
            StatusCode::OK => Ok(answer::device_authorization(&url, &body)?),
            _ => Err(answer::refusal(&url, status, &body)),
        }
    }

    /// Asks what has become of it (RFC 8628, 3.4 and 3.5).
    pub async fn poll_device(&self, device_code: &Secret) -> Result<Poll, PeopleError> {
        let url = self.token_endpoint().await?;
        let form = [("grant_type", DEVICE_GRANT), ("device_code", device_code.expose())];
        let (status, body) = self.post(&url, &form).await?;
        if status == StatusCode::OK {
            let tokens = answer::tokens(&url, &body)?;
            let person = self.person(tokens.id_token(&url)?.expose()).await?;
            return Ok(Poll::Done(Box::new(SignedIn { person, renewal: renew::renewal(&tokens) })));
        }
        match answer::refusal(&url, status, &body) {
            PeopleError::Refused { error } => match error.as_str() {
                "authorization_pending" => Ok(Poll::Pending { slow_down: false }),
                "slow_down" => Ok(Poll::Pending { slow_down: true }),
                "access_denied" => Ok(Poll::Denied),
                "expired_token" => Ok(Poll::Expired),
                _ => Err(PeopleError::Refused { error }),
            },
            other @ (PeopleError::Provider(_) | PeopleError::IdToken(_)) => Err(other),
        }
    }

    /// Checks an ID token (OpenID Connect Core 1.0, 3.1.3.7) and reads the person from it.
    async fn person(&self, id_token: &str) -> Result<PersonClaims, AuthError> {
        let token = self.proven(id_token).await?;
        id_token::person(&self.config, &token, self.clock.now())
    }

    /// Checks a token's signature, and nothing else.
    async fn proven<'a>(&self, token: &'a str) -> Result<Unproven<'a>, AuthError> {
        let token = Unproven::parse(token)?;
        let now = self.clock.now();
        let unavailable = || AuthError::IssuerUnavailable(self.config.name.clone());
        let proven = |token| self.keys.held(now).map(|held| held.keys.verify(token));
        let signature = if let Some(Ok(signature)) = proven(&token) {
            signature
        } else {
            self.keys.refresh().await;
            let signature = proven(&token).ok_or_else(unavailable)?;
            signature.map_err(|_| AuthError::Bad("its key is not one of the provider's"))?
        };
        signature?;
        Ok(token)
    }

    /// The discovery document, read again from time to time.
    async fn metadata(&self) -> Result<Metadata, ProviderError> {
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

    async fn token_endpoint(&self) -> Result<Url, ProviderError> {
        let found = self.keys.provider().token_endpoint(&self.metadata().await?);
        self.unless_missing(found).await
    }

    /// A document that lacks what is needed is not kept: it may have been put right meanwhile.
    async fn unless_missing(
        &self,
        found: Result<Url, ProviderError>,
    ) -> Result<Url, ProviderError> {
        if found.is_err() {
            *self.known.lock().await = None;
        }
        found
    }

    async fn post(
        &self,
        url: &Url,
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, Vec<u8>), ProviderError> {
        let client_id = ("client_id", self.config.client_id.as_str());
        let form: Vec<_> = form.iter().copied().chain([client_id]).collect();
        let request = self.identify(self.client.post(url).form(&form));
        exchange(request, url).await
    }

    /// HTTP Basic, with both halves encoded as forms are (RFC 6749, 2.3.1).
    fn identify(&self, request: RequestBuilder) -> RequestBuilder {
        let encode =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        match &self.config.client_secret {
            Some(secret) => {
                request.basic_auth(encode(&self.config.client_id), Some(encode(secret.expose())))
            }
            None => request,
        }
    }
}

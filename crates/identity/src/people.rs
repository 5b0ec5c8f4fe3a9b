//! People: who they are, as the organisation's identity provider says.
//!
//! The client of one OpenID provider, or of one that speaks OAuth 2.0 only. For browsers the code flow
//! with PKCE; for command lines the device flow (RFC 8628): a code is shown, the person confirms it in
//! a browser, and an ID token comes back, or an access token about which the provider is asked. What a
//! person may do, and which sign-in they get for it, is control's matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use portcullis_model::{AttributeValue, Clock, Group, Secret};
use tokio::runtime::Handle;
use url::Url;

use self::{
    answer::Tokens,
    id_token::Reads,
    oauth2::OAuth2,
    openid::{Endpoint, OpenId},
};
use crate::{
    AuthError, ClaimType, IssuerUrl, Pace, ProviderClient, ProviderError, Template,
    provider::{basic_auth, exchange},
};

mod answer;
mod code;
mod email;
mod id_token;
mod logout;
mod oauth2;
mod openid;
mod renew;

pub use code::{AuthorizationRequest, Returned};
pub use logout::Logout;
pub use oauth2::{OAuth2Endpoints, OAuth2Provider};

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
    /// The provider's ID token, or what it says of its access token, is not acceptable.
    #[error("what the identity provider says is refused: {0}")]
    IdToken(#[from] AuthError),
}

/// The client of one identity provider.
#[derive(Debug)]
pub struct People {
    registration: Registration,
    client: ProviderClient,
    clock: Arc<dyn Clock>,
    vouches: Vouches,
}

/// Who Portcullis is at a provider, and what it reads there.
#[derive(Debug)]
struct Registration {
    name: String,
    client_id: String,
    client_secret: Option<Secret>,
    scopes: Vec<String>,
    step_up: StepUp,
    recheck: Option<Duration>,
    reads: Reads,
}

/// How a provider says who somebody is.
#[derive(Debug)]
enum Vouches {
    /// By ID tokens.
    OpenId(OpenId),
    /// By what it answers about its access tokens.
    OAuth2(OAuth2),
}

/// A person as a provider vouches for them at one moment.
#[derive(Debug)]
struct Vouched {
    person: PersonClaims,
    /// How strongly they authenticated, if it says so.
    acr: Option<String>,
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
        let (issuer, hosts) = (config.issuer, config.endpoint_hosts);
        let vouches = OpenId::new(issuer, hosts, client, clock, pace, control);
        let registration = Registration {
            name: config.name,
            client_id: config.client_id,
            client_secret: config.client_secret,
            scopes: config.scopes,
            step_up: config.step_up,
            recheck: config.recheck,
            reads: Reads {
                subject: Template::default(),
                groups_claim: config.groups_claim,
                groups: Vec::new(),
                claims: config.claims,
            },
        };
        let (client, clock) = (client.clone(), Arc::clone(clock));
        Self { registration, client, clock, vouches: Vouches::OpenId(vouches) }
    }

    /// The client of a provider without ID tokens.
    pub fn by_introspection(
        config: OAuth2Provider,
        client: &ProviderClient,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let registration = Registration {
            name: config.name,
            client_id: config.client_id,
            client_secret: Some(config.client_secret),
            scopes: config.scopes,
            step_up: config.step_up,
            recheck: config.recheck,
            reads: Reads {
                subject: config.subject,
                groups_claim: config.groups_claim,
                groups: config.groups,
                claims: config.claims,
            },
        };
        let vouches = Vouches::OAuth2(OAuth2::new(config.issuer, config.endpoints));
        Self { registration, client: client.clone(), clock: Arc::clone(clock), vouches }
    }

    /// How often it is asked again about those who are signed in.
    pub fn recheck(&self) -> Option<Duration> {
        self.registration.recheck
    }

    /// The provider's name in configuration.
    pub fn name(&self) -> &str {
        &self.registration.name
    }

    /// Starts a sign-in (RFC 8628, 3.1).
    pub async fn begin_device(&self) -> Result<DeviceAuthorization, PeopleError> {
        let url = self.endpoint(Endpoint::Device).await?;
        let scope = self.registration.scopes.join(" ");
        let (status, body) = self.post(&url, &[("scope", &scope)]).await?;
        match status {
            StatusCode::OK => Ok(answer::device_authorization(&url, &body)?),
            _ => Err(answer::refusal(&url, status, &body)),
        }
    }

    /// Asks what has become of it (RFC 8628, 3.4 and 3.5).
    pub async fn poll_device(&self, device_code: &Secret) -> Result<Poll, PeopleError> {
        let url = self.endpoint(Endpoint::Token).await?;
        let form = [("grant_type", DEVICE_GRANT), ("device_code", device_code.expose())];
        let (status, body) = self.post(&url, &form).await?;
        if status == StatusCode::OK {
            let tokens = answer::tokens(&url, &body)?;
            let Vouched { person, .. } = self.vouched(&url, &tokens, None).await?;
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

    /// Whom `tokens`, which came from the provider's own `url`, are about. An ID token has to name
    /// `nonce`, if there is one.
    async fn vouched(
        &self,
        url: &Url,
        tokens: &Tokens,
        nonce: Option<&str>,
    ) -> Result<Vouched, PeopleError> {
        match &self.vouches {
            Vouches::OpenId(provider) => {
                let id_token = tokens.id_token(url)?.expose();
                Ok(provider.vouched(&self.registration, id_token, nonce).await?)
            }
            Vouches::OAuth2(provider) => {
                self.introspected(provider, tokens.access_token(url)?.expose()).await
            }
        }
    }

    async fn endpoint(&self, wanted: Endpoint) -> Result<Url, ProviderError> {
        match &self.vouches {
            Vouches::OpenId(provider) => provider.endpoint(wanted).await,
            Vouches::OAuth2(provider) => provider.endpoint(wanted, &self.registration.name),
        }
    }

    async fn post(
        &self,
        url: &Url,
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, Vec<u8>), ProviderError> {
        let client_id = ("client_id", self.registration.client_id.as_str());
        let form: Vec<_> = form.iter().copied().chain([client_id]).collect();
        let request = self.client.post(url).form(&form);
        let request = match &self.registration.client_secret {
            Some(secret) => basic_auth(request, &self.registration.client_id, secret),
            None => request,
        };
        exchange(request, url).await
    }
}

//! Talking to an identity provider: its discovery document and its keys.
//!
//! What comes back is foreign: it is bounded in size and time, redirects are not followed, and a
//! document may only point to the issuer's own host and to hosts that configuration names.

use std::time::Duration;

use http::header::{ACCEPT, HeaderValue};
use portcullis_model::Secret;
use reqwest::{Client, RequestBuilder, StatusCode, redirect::Policy};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::{
    ConfigError, IssuerUrl,
    issuer::{has_userinfo, is_private_enough},
    jwks::KeySet,
};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 1024 * 1024;

/// The HTTP client for identity providers: no redirects, five seconds, one mebibyte, no proxy
/// from the environment.
#[derive(Debug, Clone)]
pub struct ProviderClient(Client);

impl ProviderClient {
    /// Builds one; its clones share connections.
    pub fn new() -> Result<Self, ConfigError> {
        Client::builder()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .no_proxy()
            .user_agent("portcullis")
            .build()
            .map(Self)
            .map_err(|error| ConfigError::Http(error.to_string()))
    }

    pub(crate) fn post(&self, url: &Url) -> RequestBuilder {
        self.0.post(url.clone())
    }

    pub(crate) fn get(&self, url: &Url) -> RequestBuilder {
        self.0.get(url.clone())
    }

    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, ProviderError> {
        let (status, body) = exchange(self.0.get(url.clone()), url).await?;
        if status != StatusCode::OK {
            return Err(ProviderError::Status { url: url.clone(), status: status.as_u16() });
        }
        Ok(body)
    }
}

/// Sends a request to `url` and reads the answer, up to the cap.
pub(crate) async fn exchange(
    request: RequestBuilder,
    url: &Url,
) -> Result<(StatusCode, Vec<u8>), ProviderError> {
    let request = request.header(ACCEPT, HeaderValue::from_static("application/json"));
    let mut response = request.send().await.map_err(|error| unreachable(url, &error))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, &error))? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(ProviderError::TooLarge { url: url.clone() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body))
}

/// HTTP Basic, with both halves encoded as forms are (RFC 6749, 2.3.1).
pub(crate) fn basic_auth(
    request: RequestBuilder,
    client_id: &str,
    secret: &Secret,
) -> RequestBuilder {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    request.basic_auth(encode(client_id), Some(encode(secret.expose())))
}

/// What went wrong with an identity provider. For the log and the operator, not for callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No answer, or not a whole one.
    #[error("{url} does not answer: {why}")]
    Unreachable {
        /// What was asked for.
        url: Url,
        /// What the client says.
        why: String,
    },
    /// An answer that is none; redirects are among them.
    #[error("{url} answers with status {status}")]
    Status {
        /// What was asked for.
        url: Url,
        /// The status.
        status: u16,
    },
    /// An endless answer.
    #[error("{url} answers with more than 1 MiB")]
    TooLarge {
        /// What was asked for.
        url: Url,
    },
    /// An answer that cannot be read.
    #[error("{url} does not answer with {expected}")]
    Unreadable {
        /// What was asked for.
        url: Url,
        /// What it should be.
        expected: &'static str,
    },
    /// A discovery document of somebody else.
    #[error("the discovery document of {issuer} is about another issuer, `{claimed}`")]
    OtherIssuer {
        /// As configured.
        issuer: String,
        /// As the document says.
        claimed: String,
    },
    /// A discovery document that points elsewhere.
    #[error("the `{field}` of {issuer} is missing, not https, or on a host that is not allowed")]
    Endpoint {
        /// As configured.
        issuer: String,
        /// Which field.
        field: &'static str,
    },
    /// A provider whose device flow is not configured.
    #[error("provider `{provider}` has no device flow: sign in with a browser")]
    NoDeviceFlow {
        /// Its name in configuration.
        provider: String,
    },
}

/// One identity provider.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) issuer: IssuerUrl,
    pub(crate) endpoint_hosts: Vec<String>,
    pub(crate) client: ProviderClient,
}

/// What we use of a discovery document, as it came.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
    token_endpoint: Option<String>,
    authorization_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    /// RFC 8414, 2.
    introspection_endpoint: Option<String>,
    /// RFC 9207, 3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Whether answers name their issuer (RFC 9207).
    pub(crate) fn names_issuer(&self) -> bool {
        self.authorization_response_iss_parameter_supported
    }
}

impl Provider {
    /// The discovery document, of exactly this issuer (OpenID Connect Discovery 1.0, 4.3).
    pub(crate) async fn metadata(&self) -> Result<Metadata, ProviderError> {
        let url = self.issuer.discovery();
        let body = self.client.fetch(&url).await?;
        let metadata: Metadata = serde_json::from_slice(&body)
            .map_err(|_| ProviderError::Unreadable { url, expected: "a discovery document" })?;
        if metadata.issuer != self.issuer.as_str() {
            return Err(ProviderError::OtherIssuer {
                issuer: self.issuer.to_string(),
                claimed: metadata.issuer,
            });
        }
        Ok(metadata)
    }

    /// The keys, as the discovery document says where they are.
    pub(crate) async fn keys(&self) -> Result<KeySet, ProviderError> {
        let metadata = self.metadata().await?;
        let url = self.endpoint("jwks_uri", metadata.jwks_uri.as_deref())?;
        let body = self.client.fetch(&url).await?;
        KeySet::parse(&body).ok_or(ProviderError::Unreadable { url, expected: "a key set" })
    }

    pub(crate) fn token_endpoint(&self, metadata: &Metadata) -> Result<Url, ProviderError> {
        self.endpoint("token_endpoint", metadata.token_endpoint.as_deref())
    }

    pub(crate) fn authorization_endpoint(&self, metadata: &Metadata) -> Result<Url, ProviderError> {
        self.endpoint("authorization_endpoint", metadata.authorization_endpoint.as_deref())
    }

    pub(crate) fn introspection_endpoint(&self, metadata: &Metadata) -> Result<Url, ProviderError> {
        self.endpoint("introspection_endpoint", metadata.introspection_endpoint.as_deref())
    }

    /// Where there is one.
    pub(crate) fn userinfo_endpoint(
        &self,
        metadata: &Metadata,
    ) -> Result<Option<Url>, ProviderError> {
        let endpoint = metadata.userinfo_endpoint.as_deref();
        endpoint.map(|endpoint| self.endpoint("userinfo_endpoint", Some(endpoint))).transpose()
    }

    pub(crate) fn device_endpoint(&self, metadata: &Metadata) -> Result<Url, ProviderError> {
        let endpoint = metadata.device_authorization_endpoint.as_deref();
        self.endpoint("device_authorization_endpoint", endpoint)
    }

    /// Parses an endpoint. A document that could send us anywhere would reach what only we can.
    fn endpoint(&self, field: &'static str, text: Option<&str>) -> Result<Url, ProviderError> {
        text.and_then(|text| Url::parse(text).ok())
            .filter(|url| is_private_enough(url) && !has_userinfo(url) && self.may_point_to(url))
            .ok_or_else(|| ProviderError::Endpoint { issuer: self.issuer.to_string(), field })
    }

    fn may_point_to(&self, url: &Url) -> bool {
        let own =
            url.host() == self.issuer.url().host() && url.scheme() == self.issuer.url().scheme();
        let named = url.scheme() == "https"
            && url.host_str().is_some_and(|host| self.endpoint_hosts.iter().any(|one| one == host));
        own || named
    }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> ProviderError {
    let why = if error.is_timeout() {
        "it takes longer than 5 seconds"
    } else if error.is_connect() {
        "it cannot be connected to"
    } else {
        "the exchange broke off"
    };
    ProviderError::Unreachable { url: url.clone(), why: why.to_owned() }
}

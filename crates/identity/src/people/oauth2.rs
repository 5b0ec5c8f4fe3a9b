//! A provider that speaks OAuth 2.0 only: no ID tokens, so that it is asked whom its access tokens are
//! about (RFC 7662), at its own endpoint, with the token that it has just handed over.

use std::{collections::BTreeMap, time::Duration};

use http::StatusCode;
use portcullis_model::Secret;
use serde_json::Value;
use url::Url;

use super::{Endpoint, People, PeopleError, StepUp, Vouched, answer, id_token};
use crate::{
    AuthError, ClaimType, EndpointUrl, IssuerUrl, ProviderError, Rule, Template,
    claims::{Claims, Life},
    jws,
};

/// What is configured of a provider of people without ID tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2Provider {
    /// Its name in configuration: the first half of its principals' names.
    pub name: String,
    /// What it calls itself: then its answers to browsers have to name it (RFC 9207).
    pub issuer: Option<IssuerUrl>,
    /// Where it is.
    pub endpoints: OAuth2Endpoints,
    /// Who Portcullis is there.
    pub client_id: String,
    /// Proves it (`client_secret_basic`).
    pub client_secret: Secret,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// How its people are named.
    pub subject: Template,
    /// The claim that lists groups. If it is set, a person without it cannot sign in.
    pub groups_claim: Option<String>,
    /// Groups by claims.
    pub groups: Vec<Rule>,
    /// Claims that policies may read.
    pub claims: BTreeMap<String, ClaimType>,
    /// How somebody is asked to authenticate anew, or better (RFC 9470).
    pub step_up: StepUp,
    /// How often it is asked again about those who are signed in; never, if absent.
    pub recheck: Option<Duration>,
}

/// Where such a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2Endpoints {
    /// Where browsers are sent (RFC 6749, 3.1).
    pub authorization: EndpointUrl,
    /// Where codes are exchanged (RFC 6749, 3.2).
    pub token: EndpointUrl,
    /// Where it is asked about tokens (RFC 7662, 2).
    pub introspection: EndpointUrl,
    /// Where command lines begin (RFC 8628, 3.1); without it they cannot.
    pub device_authorization: Option<EndpointUrl>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct OAuth2 {
    issuer: Option<IssuerUrl>,
    endpoints: OAuth2Endpoints,
}

impl OAuth2 {
    pub(super) fn new(issuer: Option<IssuerUrl>, endpoints: OAuth2Endpoints) -> Self {
        Self { issuer, endpoints }
    }

    pub(super) fn endpoint(&self, wanted: Endpoint, name: &str) -> Result<Url, ProviderError> {
        let found = match wanted {
            Endpoint::Authorization => Some(&self.endpoints.authorization),
            Endpoint::Token => Some(&self.endpoints.token),
            Endpoint::Device => self.endpoints.device_authorization.as_ref(),
        };
        let none = || ProviderError::NoDeviceFlow { provider: name.to_owned() };
        Ok(found.ok_or_else(none)?.url().clone())
    }

    /// Whether an answer that names `issuer` may be this provider's. One whose name is configured
    /// always has to say it: that it stays silent could be another one's answer just as well.
    pub(super) fn is_answer_of(&self, issuer: Option<&str>) -> bool {
        issuer == self.issuer.as_ref().map(IssuerUrl::as_str)
    }
}

impl People {
    /// Whom `token` is about, as the provider says now.
    ///
    /// [`PeopleError::Refused`] if it does not vouch for the token.
    pub(super) async fn introspected(
        &self,
        provider: &OAuth2,
        token: &str,
    ) -> Result<Vouched, PeopleError> {
        let url = provider.endpoints.introspection.url();
        let form = [("token", token), ("token_type_hint", "access_token")];
        let (status, body) = self.post(url, &form).await?;
        if status != StatusCode::OK {
            // It refuses the question, and says nothing about the person.
            let (url, status) = (url.clone(), status.as_u16());
            return Err(ProviderError::Status { url, status }.into());
        }
        let claims = jws::unique_object(&body);
        match claims.as_ref().and_then(|claims| claims.get("active")) {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => {
                return Err(PeopleError::Refused { error: "invalid_token".to_owned() });
            }
            _ => return Err(answer::unreadable(url, "an introspection response").into()),
        }
        let claims = claims.unwrap_or_default();
        self.check_token(provider, &claims)?;
        let person = id_token::claimed(&self.registration.reads, &claims)?;
        Ok(Vouched { person, acr: id_token::text(&claims, "acr").map(str::to_owned) })
    }

    /// That it is an access token, of this provider, and was made for us.
    fn check_token(&self, provider: &OAuth2, claims: &Claims) -> Result<(), AuthError> {
        let said = |name: &str| claims.get(name);
        if let (Some(said), Some(issuer)) = (said("iss"), &provider.issuer)
            && said != issuer.as_str()
        {
            return Err(AuthError::Bad("it is of another issuer"));
        }
        if said("client_id").is_some_and(|said| *said != self.registration.client_id) {
            return Err(AuthError::Bad("it was made for another client"));
        }
        Life::check_said(claims, self.clock.now())?;
        Ok(())
    }
}

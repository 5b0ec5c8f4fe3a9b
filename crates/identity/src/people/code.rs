//! The code flow with PKCE, for browsers (OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9700).

use http::StatusCode;
use jiff::Timestamp;
use portcullis_model::Secret;
use url::Url;

use super::{Endpoint, People, PeopleError, SignedIn, Vouched, Vouches, answer, renew};
use crate::{AuthError, claims::LEEWAY};

/// What a browser is sent to the provider with.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizationRequest<'a> {
    /// Where it comes back to.
    pub redirect_uri: &'a str,
    /// What it brings back.
    pub state: &'a str,
    /// What the ID token must name.
    pub nonce: &'a str,
    /// The SHA-256 of the verifier, in base64url (RFC 7636, 4.2). There is no other method.
    pub challenge: &'a str,
    /// Ask the person to authenticate anew, as the provider's step-up says.
    pub fresh: bool,
}

/// What a browser came back with, and what it must fit to.
#[derive(Debug, Clone, Copy)]
pub struct Returned<'a> {
    /// The code.
    pub code: &'a Secret,
    /// The `iss` parameter (RFC 9207).
    pub issuer: Option<&'a str>,
    /// Where it came back to.
    pub redirect_uri: &'a str,
    /// What the challenge was made from.
    pub verifier: &'a Secret,
    /// What the ID token must name.
    pub nonce: &'a str,
    /// The person must have authenticated since, as the provider's step-up says.
    pub fresh_since: Option<Timestamp>,
}

impl People {
    /// Where to send a browser.
    pub async fn authorization_url(
        &self,
        asked: &AuthorizationRequest<'_>,
    ) -> Result<Url, PeopleError> {
        let mut url = self.endpoint(Endpoint::Authorization).await?;
        let scope = self.registration.scopes.join(" ");
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.registration.client_id)
            .append_pair("redirect_uri", asked.redirect_uri)
            .append_pair("scope", &scope)
            .append_pair("state", asked.state)
            .append_pair("code_challenge", asked.challenge)
            .append_pair("code_challenge_method", "S256");
        if let Vouches::OpenId(_) = self.vouches {
            url.query_pairs_mut().append_pair("nonce", asked.nonce);
        }
        // Providers give refresh tokens for offline access only where the person agreed to it.
        let offline = self.registration.scopes.iter().any(|scope| scope == "offline_access");
        let prompt = match (asked.fresh, offline) {
            (true, true) => Some("login consent"),
            (true, false) => Some("login"),
            (false, true) => Some("consent"),
            (false, false) => None,
        };
        if let Some(prompt) = prompt {
            url.query_pairs_mut().append_pair("prompt", prompt);
        }
        if asked.fresh {
            url.query_pairs_mut().append_pair("max_age", "0");
            let wanted = self.registration.step_up.acr_values.join(" ");
            if !wanted.is_empty() {
                url.query_pairs_mut().append_pair("acr_values", &wanted);
            }
        }
        Ok(url)
    }

    /// Whether an answer that names `issuer` (RFC 9207) may be this provider's.
    pub async fn check_issuer(&self, issuer: Option<&str>) -> Result<(), PeopleError> {
        let answered = match (&self.vouches, issuer) {
            (Vouches::OpenId(provider), Some(issuer)) => issuer == provider.issuer().as_str(),
            (Vouches::OpenId(provider), None) => !provider.metadata().await?.names_issuer(),
            (Vouches::OAuth2(provider), issuer) => provider.is_answer_of(issuer),
        };
        let other = AuthError::Bad("the answer is another provider's");
        if answered { Ok(()) } else { Err(other.into()) }
    }

    /// Exchanges what a browser came back with for a person.
    pub async fn redeem(&self, returned: &Returned<'_>) -> Result<SignedIn, PeopleError> {
        self.check_issuer(returned.issuer).await?;
        let url = self.endpoint(Endpoint::Token).await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", returned.code.expose()),
            ("redirect_uri", returned.redirect_uri),
            ("code_verifier", returned.verifier.expose()),
        ];
        let (status, body) = self.post(&url, &form).await?;
        if status != StatusCode::OK {
            return Err(answer::refusal(&url, status, &body));
        }
        let tokens = answer::tokens(&url, &body)?;
        let Vouched { person, acr } = self.vouched(&url, &tokens, Some(returned.nonce)).await?;
        if let Some(since) = returned.fresh_since {
            self.check_fresh(acr.as_deref(), person.auth_time, since)?;
        }
        Ok(SignedIn { person, renewal: renew::renewal(&tokens) })
    }

    /// A provider may ignore what it was asked for, so that its answer has to show it.
    fn check_fresh(
        &self,
        acr: Option<&str>,
        auth_time: Option<Timestamp>,
        since: Timestamp,
    ) -> Result<(), AuthError> {
        let auth_time =
            auth_time.ok_or(AuthError::Bad("it does not say when you authenticated"))?;
        if since.duration_since(auth_time) > LEEWAY {
            return Err(AuthError::Bad("the provider did not ask you to authenticate anew"));
        }
        let wanted = &self.registration.step_up.acr_values;
        if wanted.is_empty() || acr.is_some_and(|acr| wanted.iter().any(|one| one == acr)) {
            return Ok(());
        }
        Err(AuthError::Bad("the provider did not authenticate you as strongly as it was asked to"))
    }
}

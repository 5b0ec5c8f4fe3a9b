//! Asking the provider again about somebody who is signed in: are they still there, and in which
//! groups? With a refresh token; or with an access token for as long as it lives, at the userinfo or the
//! introspection endpoint.

use http::StatusCode;
use portcullis_model::Secret;

use super::{
    Endpoint, People, PeopleError, PersonClaims, SignedIn, Vouches, answer, answer::Tokens,
    id_token, openid::OpenId,
};
use crate::{AuthError, provider::exchange};

const REFRESH: &str = "refresh ";
const ACCESS: &str = "access ";

/// What to ask with: a refresh token, or an access token for as long as it lives.
pub(super) fn renewal(tokens: &Tokens) -> Option<Secret> {
    let named = |name: &str, token: &Secret| Secret::new(format!("{name}{}", token.expose()));
    let refresh = tokens.refresh_token.as_ref().map(|token| named(REFRESH, token));
    refresh.or_else(|| tokens.access_token.as_ref().map(|token| named(ACCESS, token)))
}

impl People {
    /// Asks again, with what came of asking before (OpenID Connect Core 1.0, 12 and 5.3).
    ///
    /// [`PeopleError::Refused`] if the provider does not vouch any more for whoever it was.
    pub async fn renew(&self, renewal: &Secret, subject: &str) -> Result<SignedIn, PeopleError> {
        let signed_in = match renewal.expose().split_once(' ') {
            Some(("refresh", token)) => self.refresh(token).await?,
            Some(("access", token)) => {
                let person = self.as_known(token).await?;
                SignedIn { person, renewal: Some(renewal.clone()) }
            }
            _ => return Err(PeopleError::Refused { error: "no_token".to_owned() }),
        };
        if signed_in.person.subject != subject {
            return Err(AuthError::Bad("it is about somebody else").into());
        }
        Ok(signed_in)
    }

    async fn refresh(&self, token: &str) -> Result<SignedIn, PeopleError> {
        let url = self.endpoint(Endpoint::Token).await?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let (status, body) = self.post(&url, &form).await?;
        if status != StatusCode::OK {
            return Err(answer::refusal(&url, status, &body));
        }
        let tokens = answer::tokens(&url, &body)?;
        let has_id_token = tokens.id_token(&url).is_ok();
        let person = match (&self.vouches, &tokens.access_token) {
            (Vouches::OpenId(_), Some(access)) if !has_id_token => {
                self.as_known(access.expose()).await?
            }
            _ => self.vouched(&url, &tokens, None).await?.person,
        };
        let kept = || Some(Secret::new(format!("{REFRESH}{token}")));
        let renewal = if tokens.refresh_token.is_some() { renewal(&tokens) } else { kept() };
        Ok(SignedIn { person, renewal })
    }

    /// Whom an access token is about, as the provider says now.
    async fn as_known(&self, token: &str) -> Result<PersonClaims, PeopleError> {
        match &self.vouches {
            Vouches::OpenId(provider) => self.userinfo(provider, token).await,
            Vouches::OAuth2(provider) => Ok(self.introspected(provider, token).await?.person),
        }
    }

    async fn userinfo(&self, provider: &OpenId, token: &str) -> Result<PersonClaims, PeopleError> {
        let Some(url) = provider.userinfo().await? else {
            return Err(PeopleError::Refused { error: "no_userinfo".to_owned() });
        };
        let (status, body) = exchange(self.client.get(&url).bearer_auth(token), &url).await?;
        match status {
            StatusCode::OK => {
                let claims = serde_json::from_slice(&body);
                let claims = claims.map_err(|_| answer::unreadable(&url, "claims in JSON"))?;
                Ok(id_token::claimed(&self.registration.reads, &claims)?)
            }
            // RFC 6750, 3.1: the token is worth nothing any more.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(PeopleError::Refused { error: "invalid_token".to_owned() })
            }
            _ => Err(answer::refusal(&url, status, &body)),
        }
    }
}

//! Asking the provider again about somebody who is signed in: are they still there, and in which
//! groups?

use http::StatusCode;
use portcullis_model::Secret;

use super::{People, PeopleError, SignedIn, answer, answer::Tokens, id_token};
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
                let person = self.userinfo(token).await?;
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
        let url = self.token_endpoint().await?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let (status, body) = self.post(&url, &form).await?;
        if status != StatusCode::OK {
            return Err(answer::refusal(&url, status, &body));
        }
        let tokens = answer::tokens(&url, &body)?;
        let person = match (tokens.id_token(&url), &tokens.access_token) {
            (Ok(id_token), _) => self.person(id_token.expose()).await?,
            (Err(_), Some(access)) => self.userinfo(access.expose()).await?,
            (Err(error), None) => return Err(error.into()),
        };
        let kept = || Some(Secret::new(format!("{REFRESH}{token}")));
        let renewal = if tokens.refresh_token.is_some() { renewal(&tokens) } else { kept() };
        Ok(SignedIn { person, renewal })
    }

    async fn userinfo(&self, token: &str) -> Result<super::PersonClaims, PeopleError> {
        let metadata = self.metadata().await?;
        let Some(url) = self.keys.provider().userinfo_endpoint(&metadata)? else {
            return Err(PeopleError::Refused { error: "no_userinfo".to_owned() });
        };
        let (status, body) = exchange(self.client.get(&url).bearer_auth(token), &url).await?;
        match status {
            StatusCode::OK => {
                let claims = serde_json::from_slice(&body);
                let claims = claims.map_err(|_| answer::unreadable(&url, "claims in JSON"))?;
                Ok(id_token::claimed(&self.config, &claims)?)
            }
            // RFC 6750, 3.1: the token is worth nothing any more.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(PeopleError::Refused { error: "invalid_token".to_owned() })
            }
            _ => Err(answer::refusal(&url, status, &body)),
        }
    }
}

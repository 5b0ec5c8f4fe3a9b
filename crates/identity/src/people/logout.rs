//! Logout tokens (OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6).

use jiff::Timestamp;
use serde_json::Value;

use super::{People, Vouches, id_token, openid::Came};
use crate::{
    AuthError,
    claims::{Life, check_audience},
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whom the provider signed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// The person; of all their sessions, unless one is named.
    pub subject: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The token's own name: it is good once.
    pub id: String,
    /// It is refused by itself from then on.
    pub ends_at: Timestamp,
}

impl People {
    /// Checks a logout token.
    pub async fn logout(&self, token: &str) -> Result<Logout, AuthError> {
        let Vouches::OpenId(provider) = &self.vouches else {
            return Err(AuthError::Bad("this identity provider has no logout tokens"));
        };
        let token = provider.proven(token, Came::FromAnybody).await?;
        let claims = &token.claims;
        if id_token::text(claims, "iss") != Some(provider.issuer().as_str()) {
            return Err(AuthError::Bad("it is of another issuer"));
        }
        if !matches!(token.media_type().as_deref(), None | Some("jwt" | "logout+jwt")) {
            return Err(AuthError::Bad("it is no logout token"));
        }
        check_audience(claims, &self.registration.client_id)?;
        let life = Life::check(claims, self.clock.now())?;
        life.issued_at.ok_or(AuthError::Bad("it does not say when it was made"))?;
        // An ID token has a nonce or lacks the event; it must never pass for one of these.
        let event = claims.get("events").and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) || claims.contains_key("nonce") {
            return Err(AuthError::Bad("it is no logout token"));
        }
        let name = |claim: &str| match claims.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) if id_token::is_name(text) => Ok(Some(text.clone())),
            Some(_) => Err(AuthError::Bad("a claim of it has the wrong type")),
        };
        let (subject, session) = (name("sub")?, name("sid")?);
        if subject.is_none() && session.is_none() {
            return Err(AuthError::Bad("it names neither a person nor a session"));
        }
        let id = name("jti")?.ok_or(AuthError::Bad("it has no id"))?;
        Ok(Logout { subject, session, id, ends_at: life.ends_at })
    }
}

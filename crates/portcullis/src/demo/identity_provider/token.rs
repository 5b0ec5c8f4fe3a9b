//! The token endpoint: codes for tokens.

use axum::{
    Form, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    AccessToken, CLIENT, IdentityProvider, RefreshToken, Shared, device::DeviceState,
    people::Person,
};

/// RFC 6749, 4.1.3.
pub(super) const AUTHORIZATION_CODE: &str = "authorization_code";
/// RFC 8628, 3.4.
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// RFC 6749, 6.
pub(super) const REFRESH_TOKEN: &str = "refresh_token";

/// How long a refresh token lives: longer than a sign-in of ours.
const REFRESHES: SignedDuration = SignedDuration::from_hours(24);

/// How long tokens live: short, as at careful companies. A sign-in of ours is longer.
const LIVES: SignedDuration = SignedDuration::from_mins(5);

/// What a client presents.
#[derive(Debug, Deserialize)]
pub(super) struct Exchange {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
    #[serde(default)]
    device_code: String,
    #[serde(default)]
    refresh_token: String,
}

/// Somebody who signed in.
struct SignedIn {
    person: &'static Person,
    at: Timestamp,
    nonce: Option<String>,
}

/// Gives tokens for a code.
pub(super) async fn exchange(
    State(provider): State<Shared>,
    Form(asked): Form<Exchange>,
) -> Response {
    if asked.client_id != CLIENT {
        return error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let signed_in = match asked.grant_type.as_str() {
        AUTHORIZATION_CODE => provider.by_code(&asked),
        DEVICE_CODE => provider.by_device(&asked.device_code),
        REFRESH_TOKEN => provider.by_refresh(&asked.refresh_token),
        _ => Err("unsupported_grant_type"),
    };
    match signed_in {
        Ok(signed_in) => provider.tokens(&signed_in),
        Err(code) => error(StatusCode::BAD_REQUEST, code),
    }
}

/// RFC 6749, 5.2.
pub(super) fn error(status: StatusCode, code: &'static str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "error": code }))).into_response()
}

impl IdentityProvider {
    fn by_code(&self, asked: &Exchange) -> Result<SignedIn, &'static str> {
        // INVARIANT: a code is gone with the first attempt, right or wrong.
        let code = self.memory().codes.remove(&asked.code).ok_or("invalid_grant")?;
        let now = self.now();
        let proven = URL_SAFE_NO_PAD.encode(Sha256::digest(asked.code_verifier.as_bytes()));
        let in_order = now < code.expires_at
            && asked.redirect_uri == code.redirect_uri
            && proven == code.challenge;
        let signed_in = SignedIn { person: code.person, at: now, nonce: code.nonce };
        in_order.then_some(signed_in).ok_or("invalid_grant")
    }

    fn by_device(&self, device_code: &str) -> Result<SignedIn, &'static str> {
        let mut memory = self.memory();
        let device = memory.devices.get(device_code).ok_or("invalid_grant")?;
        if self.now() >= device.expires_at {
            memory.devices.remove(device_code);
            return Err("expired_token");
        }
        match device.state {
            DeviceState::Waiting => Err("authorization_pending"),
            DeviceState::Approved { person, at } => {
                memory.devices.remove(device_code);
                Ok(SignedIn { person, at, nonce: None })
            }
        }
    }

    /// A refresh token is good once: what comes with the new tokens is another one.
    fn by_refresh(&self, refresh_token: &str) -> Result<SignedIn, &'static str> {
        let known = self.memory().refresh_tokens.remove(refresh_token).ok_or("invalid_grant")?;
        let in_time = self.now() < known.expires_at;
        let signed_in = SignedIn { person: known.person, at: known.at, nonce: None };
        in_time.then_some(signed_in).ok_or("invalid_grant")
    }

    fn tokens(&self, signed_in: &SignedIn) -> Response {
        let now = self.now();
        let mut claims = signed_in.person.claims();
        if let Some(claims) = claims.as_object_mut() {
            let own = json!({
                "iss": self.issuer,
                "aud": CLIENT,
                "iat": now.as_second(),
                "exp": (now + LIVES).as_second(),
                "auth_time": signed_in.at.as_second(),
                "amr": ["user"],
            });
            claims.extend(own.as_object().cloned().unwrap_or_default());
            claims.extend(signed_in.nonce.clone().map(|nonce| ("nonce".to_owned(), nonce.into())));
        }
        let Ok(id_token) = self.key.sign(&claims) else {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "server_error");
        };
        let (access_token, refresh_token) = (self.random_text(), self.random_text());
        let kept = AccessToken { person: signed_in.person, expires_at: now + LIVES };
        let mut memory = self.memory();
        memory.access_tokens.retain(|_, token| now < token.expires_at);
        memory.access_tokens.insert(access_token.clone(), kept);
        let (person, at, expires_at) = (signed_in.person, signed_in.at, now + REFRESHES);
        memory.refresh_tokens.retain(|_, token| now < token.expires_at);
        let kept = RefreshToken { person, at, expires_at };
        memory.refresh_tokens.insert(refresh_token.clone(), kept);
        let body = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": LIVES.as_secs(),
            "id_token": id_token,
            "refresh_token": refresh_token,
            "scope": "openid email profile",
        });
        ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

//! The demo's identity provider: an OpenID issuer like any other, on a port of its own.
//!
//! Discovery, keys, authorization code with PKCE, tokens, userinfo and device authorization (RFC 8628),
//! with a real form instead of a password. Nothing in the product knows that it is not a company's.
//! Signs with a key made at start; keeps everything in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use portcullis_model::{Clock, Entropy};
use serde_json::json;

mod authorize;
mod ci;
mod device;
mod keys;
mod page;
mod people;
mod token;

use keys::SigningKey;
use people::Person;

/// The only client that people sign in to.
const CLIENT: &str = "portcullis";

/// The provider's state.
#[derive(Debug)]
pub(crate) struct IdentityProvider {
    issuer: String,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    memory: Mutex<Memory>,
}

/// What is going on at the moment.
#[derive(Debug, Default)]
struct Memory {
    codes: HashMap<String, authorize::Code>,
    devices: HashMap<String, device::Device>,
    access_tokens: HashMap<String, AccessToken>,
    refresh_tokens: HashMap<String, RefreshToken>,
}

/// An access token, good for userinfo.
#[derive(Debug)]
struct AccessToken {
    person: &'static Person,
    expires_at: Timestamp,
}

/// A refresh token, good once.
#[derive(Debug)]
struct RefreshToken {
    person: &'static Person,
    at: Timestamp,
    expires_at: Timestamp,
}

type Shared = Arc<IdentityProvider>;

impl IdentityProvider {
    /// An issuer that calls itself `issuer`, with a new key.
    pub(crate) fn new(
        issuer: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let key = SigningKey::generate()?;
        Ok(Self { issuer, key, clock, entropy, memory: Mutex::default() })
    }

    /// Its endpoints.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/authorize", get(authorize::show).post(authorize::choose))
            .route("/token", post(token::exchange))
            .route("/userinfo", get(userinfo))
            .route("/device_authorization", post(device::begin))
            .route("/device", get(device::show).post(device::choose))
            .route("/ci/token", post(ci::mint))
            .with_state(Arc::new(self))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn random_text(&self) -> String {
        let mut bytes = [0; 24];
        self.entropy.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

async fn discovery(State(provider): State<Shared>) -> Json<serde_json::Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "device_authorization_endpoint": format!("{issuer}/device_authorization"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [token::AUTHORIZATION_CODE, token::DEVICE_CODE, token::REFRESH_TOKEN],
        "authorization_response_iss_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": ["openid", "email", "profile"],
        "claims_supported": ["sub", "name", "email", "email_verified", "groups", "amr"],
    }))
}

async fn jwks(State(provider): State<Shared>) -> Json<serde_json::Value> {
    Json(json!({ "keys": [provider.key.jwk()] }))
}

async fn userinfo(State(provider): State<Shared>, headers: HeaderMap) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let now = provider.now();
    let person = {
        let memory = provider.memory();
        let token = memory.access_tokens.get(token);
        token.filter(|token| now < token.expires_at).map(|token| token.person)
    };
    let Some(person) = person else {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    };
    Json(person.claims()).into_response()
}

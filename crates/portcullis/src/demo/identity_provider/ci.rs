//! Tokens for the demo's CI job, as a build system would mint them for its runs.

use axum::{
    Form,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;

use super::{Shared, token};

/// What the job's runner asks with.
#[derive(Debug, Deserialize)]
pub(super) struct Mint {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    audience: String,
}

/// Mints the token of the one job that there is. The body is the token alone, so that a shell can use it.
pub(super) async fn mint(State(provider): State<Shared>, Form(mint): Form<Mint>) -> Response {
    if mint.grant_type != "client_credentials" {
        return token::error(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    if mint.audience.is_empty() {
        return token::error(StatusCode::BAD_REQUEST, "invalid_target");
    }
    let now = provider.now();
    let claims = json!({
        "iss": provider.issuer,
        "sub": "repo:demo/payments",
        "aud": mint.audience,
        "iat": now.as_second(),
        "nbf": now.as_second(),
        "exp": (now + SignedDuration::from_mins(5)).as_second(),
        "jti": provider.random_text(),
        "repository": "demo/payments",
        "ref": "refs/heads/main",
        "environment": "production",
        "run_id": "4711",
    });
    match provider.key.sign(&claims) {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store")], token).into_response(),
        Err(_) => token::error(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    }
}

//! A browser's sign-in at control: its cookie, and what keeps other origins from using it (OWASP ASVS
//! 4.4.2: `Origin`, and a token that only a page of ours can know).

use std::net::IpAddr;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, Method, header},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use portcullis_control::{ControlError, OpContext};
use portcullis_identity::{
    AuthError, Authenticated,
    browser::{Cause, Cookie, cause},
};
use portcullis_model::{Secret, TokenKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Failed;
use crate::{
    caller::Caller,
    error::{Answer, ApiError},
    parts::{ApiParts, Shared},
    principal::PrincipalBody,
    problem_kind::ProblemKind,
};

/// Carries the token of a page of ours.
const CSRF: HeaderName = HeaderName::from_static("portcullis-csrf");

/// Comes with what htmx fetches.
pub(crate) const BY_SCRIPT: HeaderName = HeaderName::from_static("hx-request");

/// Somebody who is signed in with this browser.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) op: OpContext,
    token: Secret,
}

impl Session {
    /// The one that the cookie names, if it is good.
    pub(crate) async fn find(
        api: &ApiParts,
        headers: &HeaderMap,
        source: IpAddr,
    ) -> Result<Option<Self>, Failed> {
        let Some(token) = api.cookie(headers, Cookie::Control)? else { return Ok(None) };
        let found = authenticated(api, headers, &token).await;
        let op = found.ok().map(|caller| api.control.context(caller, source));
        Ok(op.map(|op| Self { op, token }))
    }

    /// What only a page of ours can know. Made from the sign-in's token, which no script can read, and
    /// leads back to it as little as the stored hash does.
    pub(crate) fn csrf(&self) -> String {
        csrf(&self.token)
    }

    /// Refuses what a page of another origin asks for. What changes something must say that it is one
    /// of ours, and know what only such a page knows.
    pub(crate) fn check(
        &self,
        api: &ApiParts,
        method: &Method,
        headers: &HeaderMap,
        known: Option<&str>,
    ) -> Result<(), Failed> {
        if cause(method, headers, api.origin(), false) == Cause::Other {
            return Err(Failed::CROSS_ORIGIN);
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        let origin = headers.get(header::ORIGIN).map(http::HeaderValue::as_bytes);
        let own_page = origin == Some(api.origin().as_bytes());
        // Both are hashes of 256 random bits: comparing them says nothing about their origin.
        let fits = known.is_some_and(|known| hash(known) == hash(&self.csrf()));
        if own_page && fits { Ok(()) } else { Err(Failed::CROSS_ORIGIN) }
    }
}

/// Who the cookie is. What a page fetches by itself is not somebody who is there: it keeps no sign-in alive.
async fn authenticated(
    api: &ApiParts,
    headers: &HeaderMap,
    token: &Secret,
) -> Result<Authenticated, ControlError> {
    let (token, origin) = (token.expose(), api.origin());
    if headers.contains_key(BY_SCRIPT) {
        api.control.authenticate_idle_cookie(token, origin).await
    } else {
        api.control.authenticate_cookie(token, origin).await
    }
}

fn csrf(token: &Secret) -> String {
    hash(&format!("portcullis csrf {}", token.expose()))
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()))
}

/// Who calls with a browser's cookie. A bad one is an error, as bad credentials are anywhere.
pub(crate) async fn caller(
    api: &ApiParts,
    method: &Method,
    headers: &HeaderMap,
    source: IpAddr,
) -> Result<OpContext, ApiError> {
    let token = api.cookie(headers, Cookie::Control).map_err(|failed| refused(&failed))?;
    let Some(token) = token else { return Err(AuthError::Missing.into()) };
    if !TokenKind::SignIn.fits(token.expose()) {
        return Err(AuthError::Bad("the cookie is damaged; sign in again").into());
    }
    let caller = authenticated(api, headers, &token).await?;
    let session = Session { op: api.control.context(caller, source), token };
    let known = headers.get(CSRF).and_then(|value| value.to_str().ok());
    session.check(api, method, headers, known).map_err(|failed| refused(&failed))?;
    Ok(session.op)
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        Self::Control(ControlError::Unauthenticated(error))
    }
}

fn refused(failed: &Failed) -> ApiError {
    let kind =
        if failed.status() == 403 { ProblemKind::CrossOrigin } else { ProblemKind::Malformed };
    ApiError::Unreadable { kind, detail: failed.title().to_owned() }
}

/// The caller's browser session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionBody {
    /// Who is signed in.
    pub(crate) principal: PrincipalBody,
    /// To be sent as `Portcullis-CSRF` with whatever changes something.
    pub(crate) csrf_token: String,
    /// When the sign-in ends at the latest.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Timestamp,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(session))
}

/// My browser session
#[utoipa::path(get, path = "/v1/session", tag = "identity",
    responses((status = 200, body = SessionBody)))]
pub(crate) async fn session(
    Caller(op): Caller,
    State(api): State<Shared>,
    headers: HeaderMap,
) -> Answer<Json<SessionBody>> {
    let token = api.cookie(&headers, Cookie::Control).map_err(|failed| refused(&failed))?;
    let (Some(token), None) = (token, headers.get(header::AUTHORIZATION)) else {
        return Err(ControlError::NotFound("a browser session").into());
    };
    let who = api.control.whoami(&op).await?;
    Ok(Json(SessionBody {
        principal: (&who.principal).into(),
        csrf_token: csrf(&token),
        expires_at: who.ends_at,
    }))
}

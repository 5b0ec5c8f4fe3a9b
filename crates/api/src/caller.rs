//! Who calls: the only way for a handler to an `OpContext`.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};
use portcullis_control::{ControlError, OpContext};
use portcullis_identity::AuthError;

use crate::{browser::session, error::ApiError, parts::Shared};

/// An authenticated caller. Handlers take it first, so that nothing of a request is looked at
/// before it is known whose it is.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) OpContext);

impl FromRequestParts<Shared> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, ApiError> {
        let source = source(parts)?;
        let Some(token) = bearer(&parts.headers)? else {
            return session::caller(api, &parts.method, &parts.headers, source).await.map(Self);
        };
        let caller = api.control.authenticate(Some(token)).await?;
        Ok(Self(api.control.context(caller, source)))
    }
}

/// The caller's address, for calls that come before any authentication.
#[derive(Debug)]
pub(crate) struct Source(pub(crate) IpAddr);

impl FromRequestParts<Shared> for Source {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _api: &Shared) -> Result<Self, ApiError> {
        source(parts).map(Self)
    }
}

/// The token of a `Bearer` credential (RFC 6750, section 2.1); `None` where there is none.
///
/// Two `Authorization` fields are refused: whoever reads the other one sees another caller.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(bad("more than one Authorization header was sent"));
    }
    let text = field.to_str().map_err(|_| bad("the Authorization header is not ASCII"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(bad("this API takes `Authorization: Bearer …` and nothing else")),
    }
}

fn source(parts: &Parts) -> Result<IpAddr, ApiError> {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map(|ConnectInfo(address)| address.ip().to_canonical()).ok_or(ApiError::NoSource)
}

fn bad(why: &'static str) -> ApiError {
    ApiError::Control(ControlError::Unauthenticated(AuthError::Bad(why)))
}

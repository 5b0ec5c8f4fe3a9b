//! Forms: what a page of ours sent. Nothing else gets as far as a use case.

use axum::extract::{FromRequest, FromRequestParts, Request};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Failure, visitor::Visitor};
use crate::{BODY_LIMIT, parts::Shared};

/// A form that a page of this origin sent with its token, and who sent it.
#[derive(Debug)]
pub(crate) struct Filled<T>(pub(crate) Visitor, pub(crate) T);

/// A form that says nothing but that somebody sent it.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

#[derive(Deserialize)]
struct Token {
    csrf: Option<String>,
}

impl<T: DeserializeOwned> FromRequest<Shared> for Filled<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Shared) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, api).await?;
        let bytes = axum::body::to_bytes(body, BODY_LIMIT).await;
        let bytes = bytes.map_err(|_| Failure::unreadable("the form is too long"))?;
        let token: Token = read(&bytes)?;
        visitor.check(api, &parts.method, &parts.headers, token.csrf.as_deref())?;
        Ok(Self(visitor, read(&bytes)?))
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_urlencoded::from_bytes(bytes).map_err(|error| Failure::unreadable(&error.to_string()))
}

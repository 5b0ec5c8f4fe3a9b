//! Reading requests: like axum's own extractors, with problems for answers.

use std::str::FromStr;

use axum::{
    extract::{
        FromRequest, FromRequestParts, Query, Request,
        rejection::{JsonRejection, QueryRejection},
    },
    http::request::Parts,
};
use portcullis_control::ControlError;
use serde::de::DeserializeOwned;

use crate::{
    error::{Answer, ApiError},
    problem_kind::ProblemKind,
};

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Answer<Self> {
        let axum::Json(body) =
            axum::Json::from_request(request, state).await.map_err(|error| body(&error))?;
        Ok(Self(body))
    }
}

/// The query part of the URL.
#[derive(Debug)]
pub(crate) struct Search<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Search<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        let Query(query) = query.map_err(|error| ApiError::Unreadable {
            kind: ProblemKind::Invalid,
            detail: error.body_text(),
        })?;
        Ok(Self(query))
    }
}

/// An id or a name out of the path. What cannot be one names nothing: 404 like any other unknown.
pub(crate) fn named<T: FromStr>(text: &str, what: &'static str) -> Answer<T> {
    text.parse().map_err(|_| ApiError::Control(ControlError::NotFound(what)))
}

fn body(error: &JsonRejection) -> ApiError {
    let kind = match error {
        // The text names the field, and what would do.
        JsonRejection::JsonDataError(_) => ProblemKind::Invalid,
        other => ProblemKind::of_status(other.status().as_u16()).unwrap_or(ProblemKind::Malformed),
    };
    ApiError::Unreadable { kind, detail: error.body_text() }
}

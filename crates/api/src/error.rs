//! Why a call failed, and the one place where that becomes an answer.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use portcullis_control::ControlError;
use portcullis_identity::{AuthError, passkey::RequestOptions};
use portcullis_model::{Problem, Way};

use crate::problem_kind::ProblemKind;

/// What a handler returns.
pub(crate) type Answer<T> = Result<T, ApiError>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Control said no.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The request cannot be read.
    #[error("{detail}")]
    Unreadable {
        /// Which kind of unreadable.
        kind: ProblemKind,
        /// What is wrong with it.
        detail: String,
    },
    /// No route.
    #[error("nothing is served at this path; the list is at /v1/openapi.json")]
    NoSuchPath,
    /// A route, and another method.
    #[error("this path does not take that method; the Allow header says which it takes")]
    MethodNotAllowed,
    /// The server was put together without the callers' addresses.
    #[error("the server does not know its callers' addresses")]
    NoSource,
    /// A mistake of ours, in a handler or below.
    #[error("the server panicked over a call")]
    Panicked,
}

/// A problem on its way to the edge, which adds what only it knows: base URL and request id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unfinished {
    pub(crate) kind: Option<ProblemKind>,
    pub(crate) detail: String,
    pub(crate) field: Option<&'static str>,
    pub(crate) ways: Vec<Way>,
    pub(crate) passkey: Option<PasskeyBody>,
}

/// What a reviewer's passkey has to sign.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct PasskeyBody {
    #[serde(rename = "publicKey")]
    public_key: RequestOptions,
    statement: String,
    expires_at: Timestamp,
}

impl Unfinished {
    pub(crate) fn finish(self, kind: ProblemKind, base_url: &str, request: String) -> FieldProblem {
        let facts = kind.facts();
        FieldProblem {
            problem: Problem {
                kind: format!("{base_url}/problems/{}", facts.code),
                title: facts.title.to_owned(),
                status: facts.status,
                detail: Some(self.detail),
                request: Some(request),
                ways: self.ways,
                ..Problem::default()
            },
            field: self.field,
            passkey: self.passkey,
        }
    }
}

/// A problem and, for 400, the field that it is about; for a review, what is to be signed.
#[derive(Debug, serde::Serialize)]
pub(crate) struct FieldProblem {
    #[serde(flatten)]
    problem: Problem,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passkey: Option<PasskeyBody>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (unfinished, header) = match self {
            Self::Control(error) => control(error),
            Self::Unreadable { kind, detail } => (plain(kind, detail), None),
            Self::NoSuchPath => (plain(ProblemKind::NotFound, self.to_string()), None),
            Self::MethodNotAllowed => {
                (plain(ProblemKind::MethodNotAllowed, self.to_string()), None)
            }
            Self::NoSource | Self::Panicked => {
                tracing::error!(error = %self, "api.failed");
                (internal(), None)
            }
        };
        let status = unfinished.kind.map_or(500, |kind| kind.facts().status);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(unfinished);
        response
    }
}

type Header = Option<(http::HeaderName, HeaderValue)>;

fn control(error: ControlError) -> (Unfinished, Header) {
    match error {
        ControlError::Unauthenticated(error) => unauthenticated(&error),
        ControlError::NotFound(_) | ControlError::NoSuchClass { .. } => {
            (plain(ProblemKind::NotFound, error.to_string()), None)
        }
        ControlError::Denied(detail) => (plain(ProblemKind::Denied, detail), None),
        ControlError::Invalid { field, message } => {
            let detail = format!("{field}: {message}");
            (Unfinished { field: Some(field), ..plain(ProblemKind::Invalid, detail) }, None)
        }
        ControlError::Conflict(detail) => (plain(ProblemKind::Conflict, detail), None),
        ControlError::NoWay { reason, ways } => {
            (Unfinished { ways, ..plain(ProblemKind::NoWay, reason) }, None)
        }
        ControlError::PasskeyNeeded(ref challenge) => {
            let detail = error.to_string();
            let passkey = challenge.as_deref().map(|challenge| PasskeyBody {
                public_key: challenge.options.clone(),
                statement: challenge.statement.clone(),
                expires_at: challenge.expires_at,
            });
            (Unfinished { passkey, ..plain(ProblemKind::PasskeyNeeded, detail) }, None)
        }
        ControlError::Limited { message, retry_after } => {
            let header = (RETRY_AFTER, HeaderValue::from(retry_after));
            (plain(ProblemKind::Limited, message), Some(header))
        }
        ControlError::Unavailable(detail) => (plain(ProblemKind::Unavailable, detail), None),
        ControlError::Internal(source) => {
            tracing::error!(error = %source, "api.failed");
            (internal(), None)
        }
    }
}

fn unauthenticated(error: &AuthError) -> (Unfinished, Header) {
    // RFC 6750, section 3.1: an error code only where credentials were presented.
    let challenge = |value| Some((WWW_AUTHENTICATE, HeaderValue::from_static(value)));
    match error {
        AuthError::Missing => (
            plain(ProblemKind::Unauthenticated, error.to_string()),
            challenge(r#"Bearer realm="portcullis""#),
        ),
        AuthError::Bad(_) => (
            plain(ProblemKind::BadCredentials, error.to_string()),
            challenge(r#"Bearer realm="portcullis", error="invalid_token""#),
        ),
        AuthError::IssuerUnavailable(_) => {
            (plain(ProblemKind::Unavailable, error.to_string()), None)
        }
        AuthError::Busy(_) => (
            plain(ProblemKind::Limited, error.to_string()),
            Some((RETRY_AFTER, HeaderValue::from_static("1"))),
        ),
    }
}

fn plain(kind: ProblemKind, detail: String) -> Unfinished {
    Unfinished { kind: Some(kind), detail, ..Unfinished::default() }
}

fn internal() -> Unfinished {
    let detail = "something went wrong on the server; its log has the cause under this request id";
    plain(ProblemKind::Internal, detail.to_owned())
}

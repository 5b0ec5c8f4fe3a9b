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

/// The kind of problem that an error of control's is, and by it the status: for calls, for pages, and for signing in.
pub(crate) fn kind(error: &ControlError) -> ProblemKind {
    match error {
        ControlError::Unauthenticated(AuthError::Missing) => ProblemKind::Unauthenticated,
        ControlError::Unauthenticated(AuthError::Bad(_)) => ProblemKind::BadCredentials,
        ControlError::Unauthenticated(AuthError::IssuerUnavailable(_))
        | ControlError::Unavailable(_) => ProblemKind::Unavailable,
        ControlError::Unauthenticated(AuthError::Busy(_)) | ControlError::Limited { .. } => {
            ProblemKind::Limited
        }
        ControlError::NotFound(_) | ControlError::NoSuchClass { .. } => ProblemKind::NotFound,
        ControlError::Denied(_) => ProblemKind::Denied,
        ControlError::Invalid { .. } => ProblemKind::Invalid,
        ControlError::Conflict(_) => ProblemKind::Conflict,
        ControlError::NoWay { .. } => ProblemKind::NoWay,
        ControlError::PasskeyNeeded(_) => ProblemKind::PasskeyNeeded,
        ControlError::Internal(_) => ProblemKind::Internal,
    }
}

type Header = Option<(http::HeaderName, HeaderValue)>;

fn control(error: ControlError) -> (Unfinished, Header) {
    let said = plain(kind(&error), error.to_string());
    match error {
        ControlError::Unauthenticated(error) => (said, challenge(&error)),
        ControlError::NotFound(_)
        | ControlError::NoSuchClass { .. }
        | ControlError::Denied(_)
        | ControlError::Conflict(_)
        | ControlError::Unavailable(_) => (said, None),
        ControlError::Invalid { field, .. } => (Unfinished { field: Some(field), ..said }, None),
        ControlError::NoWay { ways, .. } => (Unfinished { ways, ..said }, None),
        ControlError::PasskeyNeeded(challenge) => {
            let passkey = challenge.map(|challenge| PasskeyBody {
                public_key: challenge.options,
                statement: challenge.statement,
                expires_at: challenge.expires_at,
            });
            (Unfinished { passkey, ..said }, None)
        }
        ControlError::Limited { retry_after, .. } => {
            (said, Some((RETRY_AFTER, HeaderValue::from(retry_after))))
        }
        ControlError::Internal(source) => {
            tracing::error!(error = %source, "api.failed");
            (internal(), None)
        }
    }
}

/// RFC 6750, section 3.1: an error code only where credentials were presented.
fn challenge(error: &AuthError) -> Header {
    let challenge = |value| Some((WWW_AUTHENTICATE, HeaderValue::from_static(value)));
    match error {
        AuthError::Missing => challenge(r#"Bearer realm="portcullis""#),
        AuthError::Bad(_) => challenge(r#"Bearer realm="portcullis", error="invalid_token""#),
        AuthError::IssuerUnavailable(_) => None,
        AuthError::Busy(_) => Some((RETRY_AFTER, HeaderValue::from_static("1"))),
    }
}

fn plain(kind: ProblemKind, detail: String) -> Unfinished {
    Unfinished { kind: Some(kind), detail, ..Unfinished::default() }
}

fn internal() -> Unfinished {
    let detail = "something went wrong on the server; its log has the cause under this request id";
    plain(ProblemKind::Internal, detail.to_owned())
}

//! Why there is another page than the one that was wanted.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use portcullis_control::ControlError;

use super::{frame::Frame, theme::Theme, visitor::framed};
use crate::{
    browser::Failed,
    error::{ApiError, kind},
};

/// How the keys of the texts begin that say what to do, before the status.
const HINT: &str = "failure-hint-";

/// No page, or another one.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The browser is led elsewhere.
    Elsewhere(Box<Response>),
    /// What control says.
    Control(ControlError),
    /// A cookie is there twice, or a page of another origin asks.
    Session(Failed),
    /// The address or the form cannot be read.
    Unreadable(String),
    /// A mistake of ours.
    Internal,
}

impl Failure {
    pub(crate) fn unreadable(why: &str) -> Self {
        Self::Unreadable(why.to_owned())
    }

    /// The status and the key of the text that is the title.
    fn facts(&self) -> (u16, &'static str) {
        match self {
            Self::Elsewhere(_) | Self::Internal => (500, "failure-internal"),
            Self::Unreadable(_) => (400, "failure-unreadable"),
            Self::Session(failed) if failed.status() == 403 => (403, "failure-cross-origin"),
            Self::Session(_) => (400, "failure-session"),
            Self::Control(error) => of_control(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Control(ControlError::Internal(source)) => {
                tracing::error!(error = %source, "console.failed");
                String::new()
            }
            Self::Control(error) => error.to_string(),
            Self::Session(failed) => failed.title().to_owned(),
            Self::Unreadable(why) => why.clone(),
            Self::Elsewhere(_) | Self::Internal => String::new(),
        }
    }
}

/// The status of what control says, and the key of the text that is its title.
pub(super) fn of_control(error: &ControlError) -> (u16, &'static str) {
    let status = kind(error).facts().status;
    let title = match status {
        400 => "failure-unreadable",
        401 => "failure-signed-out",
        403 => "failure-denied",
        404 => "failure-not-found",
        409 => "failure-conflict",
        429 => "failure-limited",
        503 => "failure-unavailable",
        _ => "failure-internal",
    };
    (status, title)
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::Session(failed)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Control(error) => Self::Control(error),
            ApiError::Unreadable { detail, .. } => Self::Unreadable(detail),
            ApiError::NoSuchPath | ApiError::MethodNotAllowed => {
                Self::Control(ControlError::NotFound("the page"))
            }
            ApiError::NoSource | ApiError::Panicked => Self::Internal,
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "console/failure.html")]
struct FailurePage {
    frame: Frame,
    detail: String,
    hint: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let Self::Elsewhere(response) = self {
            return *response;
        }
        let (status, key) = self.facts();
        let mut frame = Frame::of_nobody(Theme::default(), Timestamp::UNIX_EPOCH);
        frame.title = frame.say(key);
        let hint = frame.say(&format!("{HINT}{status}"));
        let page = FailurePage { frame, detail: self.detail(), hint };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        framed(status, page.render().unwrap_or_default())
    }
}

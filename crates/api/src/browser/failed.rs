//! Signing in that failed, as a page.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_control::ControlError;

use crate::{
    error::kind,
    pages::{document, escaped},
};

/// Why there is no other page.
#[derive(Debug)]
pub(crate) struct Failed {
    status: u16,
    title: &'static str,
    detail: String,
}

impl Failed {
    /// The browser does not hold what was begun with.
    pub(crate) const NOT_BEGUN: Self =
        Self { status: 401, title: "This sign-in was not begun here", detail: String::new() };
    /// One of two cookies is somebody else's.
    pub(crate) const TWICE: Self = Self {
        status: 400,
        title: "A cookie of this server is there twice",
        detail: String::new(),
    };
    /// A page of another origin.
    pub(crate) const CROSS_ORIGIN: Self =
        Self { status: 403, title: "A page of another origin asked", detail: String::new() };

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    fn hint(&self) -> &'static str {
        match self.status {
            400 => "Clear this site's cookies in the browser, and open the page again.",
            401 => "It was begun in another browser, took too long, or was finished before.",
            403 => "If that is a mistake, ask whoever runs the identity provider.",
            404 => "Check the address that you came from.",
            503 => "Try again shortly.",
            _ => "",
        }
    }
}

impl From<ControlError> for Failed {
    fn from(error: ControlError) -> Self {
        if let ControlError::Internal(source) = &error {
            tracing::error!(error = %source, "api.failed");
        }
        let status = kind(&error).facts().status;
        let title = match status {
            400 => "This cannot be begun",
            401 => "You are not signed in",
            403 => "Signing in was refused",
            404 => "There is nothing here for you",
            409 => "The state has changed meanwhile",
            429 => "Too many for now",
            503 => "Nobody can sign in at the moment",
            _ => "Something went wrong on the server",
        };
        Self { status, title, detail: error.to_string() }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let detail = if self.detail.is_empty() {
            String::new()
        } else {
            format!("<p>{}</p>", escaped(&self.detail))
        };
        let body = format!(
            "{detail}<p>{}</p><p><a class=\"button\" href=\"/sign-in\">Sign in again</a></p>",
            self.hint()
        );
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, document(self.title, &body)).into_response()
    }
}

//! Why control did not do what it was asked.

use std::time::Duration;

use portcullis_model::Way;
use portcullis_store::StoreError;

use crate::views::PasskeyChallenge;

/// Closed: the API answers each one on purpose.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No or bad credentials: 401.
    #[error(transparent)]
    Unauthenticated(#[from] portcullis_identity::AuthError),
    /// Not there, or not for you: 404.
    #[error("{0} was not found")]
    NotFound(&'static str),
    /// A service has no such class of data: 404. Said to who sees the service, and to nobody else.
    #[error(
        "`{service}` has no class of data `{class}`; {}",
        if .known.is_empty() { "it has none".to_owned() } else { format!("it has {}", .known.join(", ")) }
    )]
    NoSuchClass {
        /// The service.
        service: String,
        /// The class.
        class: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// Policy denies it: 403.
    #[error("{0}")]
    Denied(String),
    /// The input makes no sense: 400. Says which field, and what would.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The state does not allow it: 409.
    #[error("{0}")]
    Conflict(String),
    /// There is no way: 403 with the reason.
    #[error("{reason}")]
    NoWay {
        /// Why.
        reason: String,
        /// The ways that there are, if another was named.
        ways: Vec<Way>,
    },
    /// Policy allows it with a passkey only: 403, with what is to be signed; `None` if the caller has
    /// no passkey.
    #[error(
        "your right to review this holds with a passkey only: {}",
        if .0.is_some() { "sign the challenge with it" } else { "register one first" }
    )]
    PasskeyNeeded(Option<Box<PasskeyChallenge>>),
    /// Too many: 429.
    #[error("{message}")]
    Limited {
        /// What there is too much of.
        message: String,
        /// Seconds.
        retry_after: u32,
    },
    /// The identity provider, the store or the log does not answer: 503.
    #[error("{0}")]
    Unavailable(String),
    /// Our fault: 500. The text goes to the log, not to the caller.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ControlError {
    /// `who` wants to be left alone for so long.
    pub(crate) fn resting(who: &str, rest: Duration) -> Self {
        let message = format!("{who} wants to be left alone for {} s", rest.as_secs());
        let retry_after = u32::try_from(rest.as_secs()).unwrap_or(u32::MAX).max(1);
        Self::Limited { message, retry_after }
    }
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict(error.to_string()),
            StoreError::InUse(_) | StoreError::Open { .. } | StoreError::Unavailable(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
                Self::Unavailable(error.to_string())
            }
            StoreError::Unreadable { .. } => Self::Internal(Box::new(error)),
        }
    }
}

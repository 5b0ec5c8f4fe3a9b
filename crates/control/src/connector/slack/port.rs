//! What the connector needs of Slack's Web API.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use portcullis_store::Posted;
use serde_json::Value;

/// Why Slack did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Not so often: not before so long.
    #[error("Slack takes no more for {} s", .0.as_secs())]
    Limited(Duration),
    /// It would say the same again: `channel_not_found`.
    #[error("Slack says `{0}`")]
    Refused(String),
    /// It does not answer, or not what it should; a token that is not good counts as that.
    #[error("{0}")]
    Unavailable(String),
}

/// By what somebody is looked for.
#[derive(Debug, Clone, Copy)]
pub enum MemberKey<'a> {
    /// Their id.
    Id(&'a str),
    /// Their e-mail address.
    Email(&'a str),
}

/// An account in Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// The workspace that it is of.
    pub workspace: String,
    /// Whether somebody may use it: it was not deactivated, and is no bot's.
    pub is_somebodys: bool,
    /// Its address, if Slack has confirmed it.
    pub confirmed_email: Option<String>,
}

/// Speaks to Slack: a few seconds at most for each.
#[async_trait]
pub trait SlackApi: Debug + Send + Sync {
    /// The workspace that the token is of.
    async fn workspace(&self) -> Result<String, NotTaken>;

    /// Posts `message` to a channel or, by their id, to somebody.
    async fn post(&self, channel: &str, message: &Value) -> Result<Posted, NotTaken>;

    /// Replaces a message.
    async fn update(&self, at: &Posted, message: &Value) -> Result<(), NotTaken>;

    /// Answers whoever pressed or typed something, where Slack said to.
    async fn respond(&self, url: &str, message: &Value) -> Result<(), NotTaken>;

    /// Looks for an account.
    async fn member(&self, key: MemberKey<'_>) -> Result<Member, NotTaken>;
}

//! Messages in a chat, and what their buttons carry.

use portcullis_model::{AccessRequestId, NoticeId, TokenHash, Window};
use serde::{Deserialize, Serialize};

/// Where the chat has a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The channel, by the chat's own id.
    pub channel: String,
    /// The message's name in it.
    pub ts: String,
}

/// A message about an access request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Its id.
    pub id: NoticeId,
    /// What about.
    pub access_request: AccessRequestId,
    /// Where it belongs, as policy or configuration writes it.
    pub place: String,
    /// Where it is; absent until it was posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted: Option<Posted>,
    /// The digest of what it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// Counts its changes.
    pub version: u32,
    /// It tells one of those who could review, and nobody whom policy or configuration names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_reviewer: bool,
    /// Somebody wants it sent, whatever has become of its access request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anyway: bool,
}

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ButtonAct {
    /// Approves it as it was asked for.
    Approve,
    /// Approves it for a shorter time.
    ApproveFor(Window),
    /// Declines it.
    Decline,
}

/// A button of a message. Kept under the hash of what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredButton {
    /// The message.
    pub message: NoticeId,
    /// The access request that it answers.
    pub access_request: AccessRequestId,
    /// What it does.
    pub act: ButtonAct,
}

/// A guarded change of messages in a chat.
#[derive(Debug, Clone)]
pub enum ChatChange {
    /// A message to be posted, unless there is one about the same in the same place.
    Add(StoredMessage),
    /// Buttons that are about to be shown, beside those that are.
    Draw(Vec<(TokenHash, StoredButton)>),
    /// A message shows something else. Of its buttons, only these are good from now on. Guard: it is of
    /// the version before.
    Show {
        /// It, with its new version.
        message: StoredMessage,
        /// The buttons that it shows.
        buttons: Vec<TokenHash>,
    },
    /// A button was pressed. Guard: for the first time.
    Press(TokenHash),
    /// Nothing is to be said in a message any more. Guard: it is there.
    End(NoticeId),
}

//! What comes from chats.

use std::net::IpAddr;

use portcullis_identity::chat::FromChat;

use super::{Control, Result};
use crate::connector::slack::{self, SlackCall};

impl Control {
    /// A callback of Slack's over HTTP, from `source`. An error is what the caller is told; else it was
    /// taken, whatever came of it.
    pub async fn slack_call(&self, call: SlackCall<'_>, source: IpAddr) -> Result<()> {
        slack::over_http(&self.core, call, source).await
    }

    /// An envelope of Slack's Socket Mode. Returns when it may be acknowledged; an error means that it
    /// should come again.
    pub async fn slack_envelope(&self, vouched: FromChat, text: &str) -> Result<()> {
        slack::over_socket(&self.core, vouched, text).await
    }
}

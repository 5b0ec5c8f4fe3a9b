//! Webhooks: a JSON document is posted, and any 2xx means that it arrived.
//!
//! Never follows a redirect and never reads an answer: whoever receives it can do nothing with it here.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use portcullis_control::ports::{NotDelivered, Notice, Notifier};
use portcullis_policy::notice::NoticeTarget;
use reqwest::{Client, StatusCode, header::CONTENT_TYPE, redirect::Policy};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The same message twice has the same id.
const ID: &str = "Portcullis-Notice";

/// Posts to webhooks.
#[derive(Debug)]
pub(crate) struct Webhooks(Client);

impl Webhooks {
    pub(crate) fn new() -> Result<Self> {
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .no_proxy()
            .user_agent("portcullis")
            .build()?;
        Ok(Self(client))
    }
}

#[async_trait]
impl Notifier for Webhooks {
    async fn deliver(&self, target: &NoticeTarget, notice: &Notice) -> Result<(), NotDelivered> {
        let url = match target {
            NoticeTarget::Webhook(url) => url,
            // Control brings these itself.
            NoticeTarget::Slack(_) => {
                let why = "a message in Slack is no webhook".to_owned();
                return Err(NotDelivered { why, again: false });
            }
        };
        let request = self.0.post(url.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.header(ID, notice.id.to_string()).body(notice.body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(not_taken(answer.status())),
            // The error names the URL, whose path may be the receiver's secret.
            Err(error) => Err(NotDelivered { why: cause(&error.without_url()), again: true }),
        }
    }
}

/// What will be refused again is not sent again; too many at once and the receiver's own trouble pass.
fn not_taken(status: StatusCode) -> NotDelivered {
    let again = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    NotDelivered { why: format!("it answered {}", status.as_u16()), again }
}

/// What went wrong, without what was around it.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    format!("it does not answer: {innermost}")
}

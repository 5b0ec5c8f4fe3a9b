//! Who is told of access requests: a JSON document is posted to webhooks and events to PagerDuty, and any
//! 2xx means that it arrived.
//!
//! Never follows a redirect and never reads an answer: whoever receives it can do nothing with it here.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use portcullis_control::{
    connector::pagerduty,
    ports::{NotDelivered, Notice, Notifier},
};
use portcullis_model::{AccessRequestId, Secret};
use portcullis_policy::notice::NoticeTarget;
use reqwest::{Client, RequestBuilder, StatusCode, header::CONTENT_TYPE, redirect::Policy};
use serde_json::Value;
use url::Url;

use crate::config::Config;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The same message twice has the same id.
const ID: &str = "Portcullis-Notice";

/// Posts to whomever policies name.
#[derive(Debug)]
pub(crate) struct Notices {
    client: Client,
    pagers: Option<Pagers>,
    base_url: String,
}

/// Wakes people by the Events API v2.
#[derive(Debug)]
struct Pagers {
    url: Url,
    keys: BTreeMap<String, Secret>,
}

impl Notices {
    /// Of `config`; secrets are resolved now.
    pub(crate) fn new(config: &Config, base: &Path, base_url: String) -> Result<Self> {
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .no_proxy()
            .user_agent("portcullis")
            .build()?;
        let pagers = config.connectors.pagerduty.as_ref().map(|pagerduty| -> Result<Pagers> {
            let keys = pagerduty.urgent.iter().map(|(name, secret)| {
                let secret = secret.resolve(base);
                Ok((name.clone(), secret.context("`connectors.pagerduty.urgent`")?))
            });
            Ok(Pagers { url: pagerduty.events_url.clone(), keys: keys.collect::<Result<_>>()? })
        });
        Ok(Self { client, pagers: pagers.transpose()?, base_url })
    }

    /// An event of what `event` makes of the key that is called `name`.
    fn page(
        &self,
        name: &str,
        event: impl FnOnce(&Secret) -> Value,
    ) -> Result<RequestBuilder, NotDelivered> {
        let found = self.pagers.as_ref().and_then(|it| Some((&it.url, it.keys.get(name)?)));
        let (url, key) = found.ok_or_else(|| NotDelivered {
            why: format!("`connectors.pagerduty.urgent` has no `{name}`"),
            again: false,
        })?;
        Ok(self.client.post(url.clone()).body(event(key).to_string()))
    }
}

#[async_trait]
impl Notifier for Notices {
    async fn deliver(&self, target: &NoticeTarget, notice: &Notice) -> Result<(), NotDelivered> {
        let request = match target {
            NoticeTarget::Webhook(url) => {
                let request = self.client.post(url.clone());
                request.header(ID, notice.id.to_string()).body(notice.body.clone())
            }
            NoticeTarget::PagerDuty(name) => self.page(name, |key| {
                let told = serde_json::from_str(&notice.body).unwrap_or_default();
                pagerduty::page(key, notice.about, &told, &self.base_url)
            })?,
        };
        sent(request).await
    }

    async fn take_back(
        &self,
        target: &NoticeTarget,
        about: AccessRequestId,
    ) -> Result<(), NotDelivered> {
        match target {
            NoticeTarget::Webhook(_) => Ok(()),
            NoticeTarget::PagerDuty(name) => {
                sent(self.page(name, |key| pagerduty::answered(key, about))?).await
            }
        }
    }
}

async fn sent(request: RequestBuilder) -> Result<(), NotDelivered> {
    match request.header(CONTENT_TYPE, "application/json").send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(not_taken(answer.status())),
        // The error names the URL, whose path may be the receiver's secret.
        Err(error) => Err(NotDelivered { why: cause(&error.without_url()), again: true }),
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

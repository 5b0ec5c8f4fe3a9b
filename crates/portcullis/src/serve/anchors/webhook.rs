//! An address that checkpoints are posted to. Any 2xx means that it arrived; nothing is read back.

use std::time::Duration;

use anyhow::Result;
use portcullis_log::{Anchored, Keys, Reader};
use portcullis_model::Secret;
use reqwest::Client;
use serde_json::json;
use url::Url;

use super::Trouble;
use crate::adapters::client;

const TIMEOUT: Duration = Duration::from_secs(10);

/// One address.
#[derive(Debug)]
pub(super) struct AnchorWebhook {
    url: Url,
    token: Option<Secret>,
    client: Client,
    /// So many records the newest that arrived speaks of.
    has: Option<u64>,
}

impl AnchorWebhook {
    pub(super) fn new(url: Url, token: Option<Secret>) -> Result<Self> {
        let client = client(TIMEOUT, None)?;
        Ok(Self { url, token, client, has: None })
    }

    /// Posts the newest checkpoint, if it is newer than what arrived.
    pub(super) async fn bring(&mut self, reader: &Reader, keys: &Keys) -> Result<u64, Trouble> {
        let (reader, keys) = (reader.clone(), keys.clone());
        // What is not signed, or not of the tiles that are there, is not anchored.
        let read = tokio::task::spawn_blocking(move || reader.signed_checkpoint(&keys)).await;
        let checkpoint = read.map_err(|error| Trouble::Unreachable(error.to_string()))??;
        let has = self.has.unwrap_or(0);
        let Some(next) = checkpoint.as_deref().and_then(Anchored::new) else { return Ok(has) };
        if self.has.is_some_and(|has| next.size <= has) {
            return Ok(has);
        }
        let log = next.checkpoint.lines().next().unwrap_or_default();
        let body = json!({"log": log, "size": next.size, "checkpoint": next.checkpoint});
        let mut request = self.client.post(self.url.clone()).json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                self.has = Some(next.size);
                Ok(next.size)
            }
            Ok(answer) => {
                Err(Trouble::Unreachable(format!("it answered {}", answer.status().as_u16())))
            }
            // The error names the URL, whose path may be the receiver's secret.
            Err(error) => {
                Err(Trouble::Unreachable(format!("it does not answer: {}", error.without_url())))
            }
        }
    }
}

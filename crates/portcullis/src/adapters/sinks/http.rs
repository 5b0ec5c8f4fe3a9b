//! Posts: lists of events to a sink, or one message at a time to a webhook.
//!
//! Any 2xx means that it arrived. Never follows a redirect and never reads an answer.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_control::{
    export::{Outgoing, Sink, standard_webhooks::Signer},
    ports::NotDelivered,
};
use portcullis_model::{Clock, Secret};
use reqwest::{Client, header::CONTENT_TYPE};
use url::Url;

use super::not_delivered;
use crate::adapters::notices;

/// Events in one post.
const MOST: usize = 100;
const JSON: &str = "application/json";

/// Posts to one URL.
#[derive(Debug)]
pub(crate) struct Posted {
    client: Client,
    url: Url,
    sign: Option<Signer>,
    bearer: Option<Secret>,
    clock: Arc<dyn Clock>,
    most: usize,
    content_type: &'static str,
}

impl Posted {
    /// Lists of events.
    pub(super) fn lists(
        client: Client,
        url: Url,
        sign: Option<Signer>,
        bearer: Option<Secret>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { client, url, sign, bearer, clock, most: MOST, content_type: JSON }
    }

    /// One message at a time, signed.
    pub(crate) fn messages(client: Client, url: Url, sign: Signer, clock: Arc<dyn Clock>) -> Self {
        let (sign, content_type) = (Some(sign), JSON);
        Self { client, url, sign, bearer: None, clock, most: 1, content_type }
    }

    /// The same, of this media type.
    pub(crate) fn of_type(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }

    /// Posts one message.
    pub(crate) async fn post(&self, id: &str, body: String) -> Result<(), NotDelivered> {
        let second = self.clock.now().as_second();
        let request = self.client.post(self.url.clone());
        let mut request = request
            .header(CONTENT_TYPE, self.content_type)
            .header("webhook-id", id)
            .header("webhook-timestamp", second);
        if let Some(sign) = &self.sign {
            request = request.header("webhook-signature", sign.sign(id, second, &body));
        }
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer.expose());
        }
        match request.body(body).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(notices::not_taken(&answer, self.clock.now())),
            // The error names the URL, whose path may be the receiver's secret.
            Err(error) => Err(not_delivered(notices::cause(&error.without_url()))),
        }
    }
}

#[async_trait]
impl Sink for Posted {
    fn most(&self) -> usize {
        self.most
    }

    async fn deliver(&self, batch: &[Outgoing]) -> Result<(), NotDelivered> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        if self.most == 1 {
            return self.post(&first.id, first.json.clone()).await;
        }
        // The same list again has the same id; after a restart it may be cut elsewhere, and each event says
        // in `metadata.uid` which one it is.
        let id = format!("entries-{}-{}", first.position, last.position);
        let items: Vec<&str> = batch.iter().map(|event| event.json.as_str()).collect();
        self.post(&id, format!("[{}]", items.join(","))).await
    }
}

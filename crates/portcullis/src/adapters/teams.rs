//! A channel of Microsoft Teams: cards are posted to the workflow that has its URL.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use portcullis_control::{
    connector::{Summary, teams},
    ports::NotDelivered,
};
use portcullis_model::Clock;
use reqwest::{Client, header::CONTENT_TYPE};
use url::Url;

use super::notices::answered;
use crate::config::{
    connectors::{Team, workflow_url},
    export::http_place,
};

/// Posts to one channel. Its URL is a secret: whoever has it can post there.
pub(super) struct Channel {
    client: Client,
    url: Url,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel(…)")
    }
}

impl Channel {
    pub(super) fn new(
        (name, team): (&str, &Team),
        base: &Path,
        client: &Client,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let place = || format!("`{name}` under `connectors.teams`");
        let secret = team.url.resolve(base).with_context(place)?;
        let url = workflow_url(secret.expose()).with_context(place)?;
        Ok(Self { client: client.clone(), url, clock: Arc::clone(clock) })
    }

    /// Where it leads, without its secret.
    pub(super) fn place(&self) -> String {
        http_place(&self.url)
    }

    pub(super) async fn post(&self, summary: &Summary) -> Result<(), NotDelivered> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        answered(request.body(teams::card(summary)).send().await, self.clock.now())
    }
}

//! `connectors.teams`: channels that a workflow posts to.

use anyhow::{Result, bail};
use portcullis_policy::notice::NoticeTarget;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use crate::config::{secret::SecretRef, section::Field};

/// A channel or chat of Microsoft Teams.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Team {
    /// The URL of the workflow "When a Teams webhook request is received". Whoever has it can post: a secret.
    pub(crate) url: SecretRef,
}

impl Team {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let url = section.required("url").and_then(|field| SecretRef::read(&field, demo));
        section.finish();
        Some(Self { url: url? })
    }
}

/// The URL of a workflow, by the same rules as that of every webhook. What is wrong does not say what it is.
pub(crate) fn workflow_url(text: &str) -> Result<Url> {
    match format!("webhook:{}", text.trim()).parse() {
        Ok(NoticeTarget::Webhook(url)) => Ok(url),
        Ok(_) | Err(_) => {
            bail!("the secret is no URL that begins with https://, or leads to this machine")
        }
    }
}

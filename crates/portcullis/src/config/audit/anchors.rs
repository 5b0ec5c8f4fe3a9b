//! `audit.anchors`: where checkpoints are put outside, so that a log that was set back is found.

use std::{path::PathBuf, time::Duration};

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;
use url::{Host, Url};

use crate::config::{
    secret::SecretRef,
    section::{Field, Section},
};

const FILE_PACE: Duration = Duration::from_mins(1);
const WEBHOOK_PACE: Duration = Duration::from_mins(5);

/// A place outside, and its pace.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Anchor {
    /// Where.
    #[serde(flatten)]
    pub(crate) place: AnchorPlace,
    /// How often, while there is something new: `1m` for a file, `5m` for a webhook.
    #[schemars(with = "String")]
    #[serde(serialize_with = "crate::config::as_text")]
    pub(crate) every: Window,
}

/// Where checkpoints are put.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum AnchorPlace {
    /// Lines are appended to a file; the log is compared with them.
    File {
        /// On storage that whoever can write the log cannot set back.
        file: PathBuf,
    },
    /// Each is posted as JSON.
    Webhook {
        /// `https`, or `http` to this machine.
        #[schemars(with = "String")]
        webhook: Url,
        /// What is presented there, as a bearer token.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<SecretRef>,
    },
}

impl Anchor {
    pub(super) fn list(field: &Field<'_>) -> Vec<Self> {
        field.sections().into_iter().filter_map(Self::read).collect()
    }

    fn read(mut section: Section<'_>) -> Option<Self> {
        let file = section.field("file");
        let webhook = section.field("webhook");
        let token = section.field("token");
        let every = section.field("every");
        section.unsupported("s3");
        let (place, pace) = match (file, webhook) {
            (Some(file), None) => {
                if let Some(token) = token {
                    token.error("a file takes no `token`".into(), None);
                }
                let file = file.text().map(PathBuf::from);
                (file.map(|file| AnchorPlace::File { file }), FILE_PACE)
            }
            (None, Some(webhook)) => {
                let token = token.map(|token| SecretRef::read(&token, false));
                let url = address(&webhook);
                let place = match (url, token) {
                    (Some(webhook), None) => Some(AnchorPlace::Webhook { webhook, token: None }),
                    (Some(webhook), Some(Some(token))) => {
                        Some(AnchorPlace::Webhook { webhook, token: Some(token) })
                    }
                    _ => None,
                };
                (place, WEBHOOK_PACE)
            }
            _ => {
                let help = Some("write {file: PATH} or {webhook: URL}".into());
                section.error("an anchor has exactly one place".into(), help);
                (None, FILE_PACE)
            }
        };
        section.finish();
        let every = every.map_or_else(|| Window::new(pace).ok(), |field| field.parsed());
        Some(Self { place: place?, every: every? })
    }
}

fn address(field: &Field<'_>) -> Option<Url> {
    let url: Url = field.parsed()?;
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && here) {
        return Some(url);
    }
    let help = Some("use https: whoever is on the way could keep checkpoints back".into());
    field.error("`webhook` is no https address".into(), help);
    None
}

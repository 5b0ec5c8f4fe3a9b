//! `audit.anchors`: where checkpoints are put outside, so that a log that was set back is found.

use std::{path::PathBuf, time::Duration};

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;
use url::{Host, Url};

use super::ship::{S3, ShipTo};
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
    /// How often, while there is something new: `1m` for a file, `5m` for a webhook and a bucket.
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
    /// Each is an object of its own; the log is compared with the newest.
    Bucket {
        /// `s3://bucket/prefix`, another place than that of `audit.ship`.
        #[schemars(with = "String")]
        #[serde(rename = "s3", serialize_with = "crate::config::as_text")]
        to: ShipTo,
        /// How it is reached.
        #[serde(flatten)]
        access: S3,
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
        let s3 = section.field("s3");
        let (place, usual) = match (file, webhook, s3) {
            (None, None, Some(s3)) => {
                if let Some(token) = token {
                    token.error("a bucket takes no `token`".into(), None);
                }
                (bucket(&s3, &mut section), WEBHOOK_PACE)
            }
            (Some(file), None, None) => {
                if let Some(token) = token {
                    token.error("a file takes no `token`".into(), None);
                }
                let file = file.text().map(PathBuf::from);
                (file.map(|file| AnchorPlace::File { file }), FILE_PACE)
            }
            (None, Some(webhook), None) => {
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
                let help = Some(
                    "write {file: PATH}, {webhook: URL} or {s3: s3://bucket/prefix, …}".into(),
                );
                section.error("an anchor has exactly one place".into(), help);
                (None, FILE_PACE)
            }
        };
        section.finish();
        let every = every.map_or_else(|| Window::new(usual).ok(), |field| field.parsed());
        Some(Self { place: place?, every: every? })
    }
}

/// Where the keys of the bucket stand must be said, also in the demo.
fn bucket(field: &Field<'_>, section: &mut Section<'_>) -> Option<AnchorPlace> {
    let to: Option<ShipTo> = field.parsed();
    let access = S3::read(section, false);
    if matches!(to, Some(ShipTo::Folder(_))) {
        let help = Some("write s3://bucket/prefix; for a folder, {file: PATH}".into());
        field.error("`s3` is no bucket".into(), help);
        return None;
    }
    Some(AnchorPlace::Bucket { to: to?, access: access? })
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

//! `connectors.pagerduty`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::{
    Beside,
    common::{Api, Common, secrets},
    given,
};
use crate::config::{export::posted_to, secret::SecretRef, section::Field};

const URL: &str = "https://api.pagerduty.com/";
const EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";

/// PagerDuty.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PagerDuty {
    /// What it has in common with others.
    #[serde(flatten)]
    pub(crate) common: Common,
    /// The REST API: `url` and `token`.
    #[serde(flatten)]
    pub(crate) api: Api,
    /// The secret of its webhook subscription, or several; without it, it is asked only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) webhook: Vec<SecretRef>,
    /// The e-mail address of a user there in whose name notes are written; without it, none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notes_from: Option<String>,
    /// Routing keys of the Events API v2 by the names that `@notify("pagerduty:NAME")` has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) urgent: BTreeMap<String, SecretRef>,
    /// Where the Events API is.
    #[schemars(with = "String")]
    pub(crate) events_url: Url,
}

impl PagerDuty {
    pub(super) fn read(field: &Field<'_>, beside: Beside<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let common = Common::read(&mut section, "PD", beside);
        let api = Api::read(&mut section, Some(URL), beside.demo);
        let webhook = section.field("webhook").map(|field| secrets(&field, beside.demo));
        let notes_from = section.field("notes_from").map(|field| {
            let text = field.text()?;
            if !text.contains('@') {
                field.error(format!("`{text}` is no e-mail address"), None);
                return None;
            }
            Some(text.to_owned())
        });
        let urgent = section.field("urgent").map_or_else(BTreeMap::new, |field| {
            let pairs = field.pairs().into_iter();
            pairs.filter_map(|(name, field)| key(name, &field, beside.demo)).collect()
        });
        let events_url = section.field("events_url");
        let events_url = events_url.map_or(EVENTS.parse().ok(), |field| posted_to(&field));
        section.finish();
        Some(Self {
            common: common?,
            api: api?,
            webhook: given(webhook)?.unwrap_or_default(),
            notes_from: given(notes_from)?,
            urgent,
            events_url: events_url?,
        })
    }
}

fn key(name: String, field: &Field<'_>, demo: bool) -> Option<(String, SecretRef)> {
    let target = format!("pagerduty:{name}").parse::<portcullis_policy::notice::NoticeTarget>();
    if let Err(error) = target {
        field.error(error.to_string(), None);
        return None;
    }
    Some((name, SecretRef::read(field, demo)?))
}

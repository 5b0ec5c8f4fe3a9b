//! `connectors.grafana_irm`.

use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::{
    Beside,
    common::{Api, Common, secrets},
    given,
};
use crate::config::{export::posted_to, secret::SecretRef, section::Field};

/// Grafana Cloud IRM: its alert groups are the incidents.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Grafana {
    /// What it has in common with others.
    #[serde(flatten)]
    pub(crate) common: Common,
    /// The API, as IRM's settings show it, without `/api/v1`: `url` and `token`.
    #[serde(flatten)]
    pub(crate) api: Api,
    /// The Grafana stack, if the token is that of a service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) stack: Option<Url>,
    /// What its outgoing webhooks have as their `Authorization` header, or several; without it, it is asked
    /// only. Grafana signs nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) webhook: Vec<SecretRef>,
    /// Whether notes are written, as resolution notes; not if absent.
    pub(crate) notes: bool,
}

impl Grafana {
    pub(super) fn read(field: &Field<'_>, beside: Beside<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let common = Common::read(&mut section, "GRAFANA", beside);
        let api = Api::read(&mut section, None, beside.demo);
        let stack = section.field("stack").map(|field| posted_to(&field));
        let webhook = section.field("webhook").map(|field| secrets(&field, beside.demo));
        let notes = section.field("notes").map_or(Some(false), |field| field.boolean());
        section.finish();
        Some(Self {
            common: common?,
            api: api?,
            stack: given(stack)?,
            webhook: given(webhook)?.unwrap_or_default(),
            notes: notes?,
        })
    }
}

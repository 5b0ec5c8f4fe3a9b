//! `connectors.grafana_incidents`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Beside,
    common::{Api, Common, secrets},
    given,
};
use crate::config::{secret::SecretRef, section::Field};

/// Incidents that are declared in Grafana Cloud IRM, beside its alert groups.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct GrafanaIncidents {
    /// What it has in common with others; `schedules` are those of `grafana_irm`.
    #[serde(flatten)]
    pub(crate) common: Common,
    /// The stack, `https://NAME.grafana.net`, and a service account's token: `url` and `token`.
    #[serde(flatten)]
    pub(crate) api: Api,
    /// The signing secret of its outgoing webhooks, or several; without it, it is asked only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) webhook: Vec<SecretRef>,
    /// Whether notes are written, on the timelines of incidents; not if absent.
    pub(crate) notes: bool,
}

impl GrafanaIncidents {
    pub(super) fn read(field: &Field<'_>, beside: Beside<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let common = Common::read(&mut section, "IRM", beside);
        let api = Api::read(&mut section, None, beside.demo);
        let webhook = section.field("webhook").map(|field| secrets(&field, beside.demo));
        let notes = section.field("notes").map_or(Some(false), |field| field.boolean());
        let common = common?;
        if !common.schedules.is_empty() {
            let help = Some("write them under `grafana_irm`".to_owned());
            section.error("incidents that are declared have no `schedules`".into(), help);
        }
        section.finish();
        Some(Self {
            common,
            api: api?,
            webhook: given(webhook)?.unwrap_or_default(),
            notes: notes?,
        })
    }
}

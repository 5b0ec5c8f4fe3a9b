//! `connectors.incident_io`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Beside,
    common::{Api, Common, secrets},
    given,
};
use crate::config::{secret::SecretRef, section::Field};

const URL: &str = "https://api.incident.io/";

/// incident.io.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct IncidentIo {
    /// What it has in common with others.
    #[serde(flatten)]
    pub(crate) common: Common,
    /// Its API: `url` and `token`.
    #[serde(flatten)]
    pub(crate) api: Api,
    /// The signing secret of its webhook endpoint, `whsec_…`, or several; without it, it is asked only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) webhook: Vec<SecretRef>,
    /// The custom field that says what is affected, by its id or its name.
    pub(crate) service_field: String,
    /// The custom field of text that notes are written in, by its id; without it, none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notes_field: Option<String>,
}

impl IncidentIo {
    pub(super) fn read(field: &Field<'_>, beside: Beside<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let common = Common::read(&mut section, "INC", beside);
        let api = Api::read(&mut section, Some(URL), beside.demo);
        let webhook = section.field("webhook").map(|field| secrets(&field, beside.demo));
        let service_field = section.required("service_field");
        let service_field = service_field.and_then(|field| field.text().map(str::to_owned));
        let notes_field = section.field("notes_field");
        let notes_field = notes_field.map(|field| field.text().map(str::to_owned));
        if let (Some(service), Some(Some(notes))) = (&service_field, &notes_field)
            && service == notes
        {
            let help = Some("make a custom field of type text for notes".to_owned());
            section.error("notes would stand where it says what is affected".into(), help);
        }
        section.finish();
        Some(Self {
            common: common?,
            api: api?,
            webhook: given(webhook)?.unwrap_or_default(),
            service_field: service_field?,
            notes_field: given(notes_field)?,
        })
    }
}

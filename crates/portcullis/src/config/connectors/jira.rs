//! `connectors.jira_service_management`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Beside,
    common::{Api, Common, secrets},
    given,
};
use crate::config::{secret::SecretRef, section::Field};

const URL: &str = "https://api.atlassian.com/";
const ISSUE_TYPE: &str = "[System] Incident";
const COMPONENTS: &str = "components";

/// Jira Service Management, in the cloud.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Jira {
    /// What it has in common with others.
    #[serde(flatten)]
    pub(crate) common: Common,
    /// Atlassian's API: `url` and `token`.
    #[serde(flatten)]
    pub(crate) api: Api,
    /// The e-mail address of the account that the token is of.
    pub(crate) user: String,
    /// The id of the cloud: `https://SITE.atlassian.net/_edge/tenant_info` says it.
    pub(crate) cloud: String,
    /// The key of the project: `OPS`.
    pub(crate) project: String,
    /// The type of the issues that are incidents; `[System] Incident` if absent.
    pub(crate) issue_type: String,
    /// The field that says what is affected, like `customfield_10100`; `components` if absent.
    pub(crate) service_field: String,
    /// The custom field of people who work on it beside whom it is assigned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) responders_field: Option<String>,
    /// The secret of a webhook that an administrator made, or several; without it, it is asked only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) webhook: Vec<SecretRef>,
    /// Whether notes are written, as internal comments; not if absent.
    pub(crate) notes: bool,
}

impl Jira {
    pub(super) fn read(field: &Field<'_>, beside: Beside<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let common = Common::read(&mut section, "JSM", beside);
        let api = Api::read(&mut section, Some(URL), beside.demo);
        let text = |field: Option<Field<'_>>| field.and_then(|it| it.text().map(str::to_owned));
        let user = text(section.required("user"));
        let cloud = text(section.required("cloud"));
        let project = text(section.required("project"));
        let or = |field: Option<Field<'_>>, usual: &str| {
            field.map_or(Some(usual.to_owned()), |it| it.text().map(str::to_owned))
        };
        let issue_type = or(section.field("issue_type"), ISSUE_TYPE);
        let service_field = or(section.field("service_field"), COMPONENTS);
        let responders = section.field("responders_field");
        let responders = responders.map(|it| it.text().map(str::to_owned));
        let webhook = section.field("webhook").map(|field| secrets(&field, beside.demo));
        let notes = section.field("notes").map_or(Some(false), |field| field.boolean());
        section.finish();
        Some(Self {
            common: common?,
            api: api?,
            user: user?,
            cloud: cloud?,
            project: project?,
            issue_type: issue_type?,
            service_field: service_field?,
            responders_field: given(responders)?,
            webhook: given(webhook)?.unwrap_or_default(),
            notes: notes?,
        })
    }
}

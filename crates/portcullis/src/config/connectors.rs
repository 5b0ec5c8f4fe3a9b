//! `connectors`: other systems that people work in.

mod slack;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Identity, Service, section::Field};

pub(crate) use slack::{LinkBy, Slack};

/// Systems that are connected, each by its name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Connectors {
    /// A workspace of Slack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slack: Option<Slack>,
}

impl Connectors {
    pub(super) fn read(
        field: &Field<'_>,
        demo: bool,
        identity: Option<&Identity>,
        services: &[Service],
    ) -> Option<Self> {
        let mut section = field.section()?;
        let slack = section.field("slack");
        let slack = slack.map(|field| Slack::read(&field, demo, identity, services));
        section.finish();
        Some(Self { slack: slack.map_or(Some(None), |read| read.map(Some))? })
    }
}

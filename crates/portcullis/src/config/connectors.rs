//! `connectors`: other systems that know which incidents are open and who is on call; a file each.

mod common;
mod grafana;
mod incident_io;
mod jira;
mod pagerduty;

use std::collections::BTreeSet;

use portcullis_model::ScheduleName;
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use common::{Api, Common};
pub(crate) use grafana::Grafana;
pub(crate) use incident_io::IncidentIo;
pub(crate) use jira::Jira;
pub(crate) use pagerduty::PagerDuty;

use super::{identity::Identity, section::Field, service::Service};

/// Systems that tell of incidents.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Connectors {
    /// PagerDuty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pagerduty: Option<PagerDuty>,
    /// incident.io.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incident_io: Option<IncidentIo>,
    /// Jira Service Management, in the cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jira_service_management: Option<Jira>,
    /// Grafana Cloud IRM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grafana_irm: Option<Grafana>,
}

/// What the systems' sections are read beside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) demo: bool,
    pub(super) services: &'a [Service],
    pub(super) identity: Option<&'a Identity>,
    /// Schedules that configuration keeps itself.
    pub(super) kept: &'a BTreeSet<String>,
}

impl Connectors {
    pub(super) fn read(field: &Field<'_>, beside: Beside<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let pagerduty = section.field("pagerduty").map(|field| PagerDuty::read(&field, beside));
        let incident_io = section.field("incident_io").map(|it| IncidentIo::read(&it, beside));
        let jira = section.field("jira_service_management").map(|it| Jira::read(&it, beside));
        let grafana = section.field("grafana_irm").map(|it| Grafana::read(&it, beside));
        section.finish();
        let all = Self {
            pagerduty: given(pagerduty)?,
            incident_io: given(incident_io)?,
            jira_service_management: given(jira)?,
            grafana_irm: given(grafana)?,
        };
        all.check(field);
        Some(all)
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, &Common)> {
        let all = [
            self.pagerduty.as_ref().map(|it| ("pagerduty", &it.common)),
            self.incident_io.as_ref().map(|it| ("incident_io", &it.common)),
            self.jira_service_management.as_ref().map(|it| ("jira_service_management", &it.common)),
            self.grafana_irm.as_ref().map(|it| ("grafana_irm", &it.common)),
        ];
        all.into_iter().flatten()
    }

    /// INVARIANT: an id and a schedule belong to one system.
    fn check(&self, field: &Field<'_>) {
        let mut prefixes: BTreeSet<&str> = BTreeSet::new();
        let mut schedules: BTreeSet<&ScheduleName> = BTreeSet::new();
        for (name, common) in self.each() {
            if !prefixes.insert(&common.prefix) {
                let help = Some("give each its own `prefix`".to_owned());
                field.error(format!("two systems have the prefix `{}`", common.prefix), help);
            }
            for schedule in common.schedules.keys() {
                if !schedules.insert(schedule) {
                    let message = format!("`{name}` is not the only one that keeps `{schedule}`");
                    field.error(message, None);
                }
            }
        }
    }

    /// The names that `pagerduty:NAME` may have.
    pub(crate) fn urgent(&self) -> impl Iterator<Item = &str> {
        self.pagerduty.iter().flat_map(|one| one.urgent.keys().map(String::as_str))
    }
}

/// What may be absent, and must be right where it is not.
fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |read| read.map(Some))
}

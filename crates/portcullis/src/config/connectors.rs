//! `connectors`: other systems that are told, that decide, that people work in, and that know which incidents are open
//! and who is on call; a file each.

mod common;
mod decisions;
mod email;
mod grafana;
mod grafana_incidents;
mod incident_io;
mod jira;
mod pagerduty;
mod slack;
mod teams;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_identity::Deciders;
use portcullis_model::ScheduleName;
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use common::{Api, Common};
pub(crate) use decisions::DecidingSystem;
pub(crate) use email::{Email, MailTls};
pub(crate) use grafana::Grafana;
pub(crate) use grafana_incidents::GrafanaIncidents;
pub(crate) use incident_io::IncidentIo;
pub(crate) use jira::Jira;
pub(crate) use pagerduty::PagerDuty;
pub(crate) use slack::{LinkBy, Slack};
pub(crate) use teams::{Team, workflow_url};
pub(crate) use webhooks::Hook;

use super::{
    Identity, Service,
    export::{Export, is_name},
    section::Field,
};

/// Each kind has so many, at most.
const MOST: usize = 32;

/// Other systems.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Connectors {
    /// Channels of Microsoft Teams: `@notify("teams:NAME")`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) teams: BTreeMap<String, Team>,
    /// How mails are sent: `@notify("email:oncall@example.com")`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<Email>,
    /// A workspace of Slack: `@notify("slack:#payments")`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slack: Option<Slack>,
    /// Who is told what happens to access requests and grants, also by `@notify("webhook:NAME")`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) webhooks: BTreeMap<String, Hook>,
    /// Whose decisions on access requests are accepted, as far as policy lets them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) decisions: BTreeMap<String, DecidingSystem>,
    /// PagerDuty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pagerduty: Option<PagerDuty>,
    /// incident.io.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incident_io: Option<IncidentIo>,
    /// Jira Service Management, in the cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jira_service_management: Option<Jira>,
    /// Alert groups and schedules of Grafana Cloud IRM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grafana_irm: Option<Grafana>,
    /// Incidents that are declared in Grafana Cloud IRM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grafana_incidents: Option<GrafanaIncidents>,
}

/// What the systems' sections are read beside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) demo: bool,
    pub(super) services: &'a [Service],
    pub(super) identity: Option<&'a Identity>,
    /// The sinks whose names are taken.
    pub(super) exports: &'a [Export],
    /// Schedules that configuration keeps itself.
    pub(super) kept: &'a BTreeSet<String>,
}

impl Connectors {
    pub(super) fn read(field: &Field<'_>, beside: Beside<'_>) -> Option<Self> {
        let Beside { demo, services, identity, exports, kept: _ } = beside;
        let mut section = field.section()?;
        let teams = section.field("teams");
        let teams = teams.map(|field| each(&field, |_, field| Team::read(field, demo)));
        let email = section.field("email").map(|field| Email::read(&field, demo));
        let webhooks = section.field("webhooks");
        let webhooks = webhooks.map(|field| webhooks_of(&field, demo, exports));
        let decisions = section.field("decisions");
        let decisions =
            decisions.map(|field| each(&field, |_, field| DecidingSystem::read(field, demo)));
        let slack = section.field("slack");
        let slack = slack.map(|field| Slack::read(&field, demo, identity, services));
        let pagerduty = section.field("pagerduty").map(|field| PagerDuty::read(&field, beside));
        let incident_io = section.field("incident_io").map(|it| IncidentIo::read(&it, beside));
        let jira = section.field("jira_service_management").map(|it| Jira::read(&it, beside));
        let grafana = section.field("grafana_irm").map(|it| Grafana::read(&it, beside));
        let declared = section.field("grafana_incidents");
        let declared = declared.map(|it| GrafanaIncidents::read(&it, beside));
        section.finish();
        let all = Self {
            teams: teams.unwrap_or_default(),
            email: given(email)?,
            slack: given(slack)?,
            webhooks: webhooks.unwrap_or_default(),
            decisions: decisions.unwrap_or_default(),
            pagerduty: given(pagerduty)?,
            incident_io: given(incident_io)?,
            jira_service_management: given(jira)?,
            grafana_irm: given(grafana)?,
            grafana_incidents: given(declared)?,
        };
        all.check(field);
        Some(all)
    }

    fn of_incidents(&self) -> impl Iterator<Item = (&'static str, &Common)> {
        let all = [
            self.pagerduty.as_ref().map(|it| ("pagerduty", &it.common)),
            self.incident_io.as_ref().map(|it| ("incident_io", &it.common)),
            self.jira_service_management.as_ref().map(|it| ("jira_service_management", &it.common)),
            self.grafana_irm.as_ref().map(|it| ("grafana_irm", &it.common)),
            self.grafana_incidents.as_ref().map(|it| ("grafana_incidents", &it.common)),
        ];
        all.into_iter().flatten()
    }

    /// INVARIANT: an id and a schedule belong to one system.
    fn check(&self, field: &Field<'_>) {
        let mut prefixes: BTreeSet<&str> = BTreeSet::new();
        let mut schedules: BTreeSet<&ScheduleName> = BTreeSet::new();
        for (name, common) in self.of_incidents() {
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

    /// Who can be told, as policies name them.
    pub(crate) fn receivers(&self) -> BTreeSet<String> {
        let teams = self.teams.keys().map(|name| format!("teams:{name}"));
        let webhooks = self.webhooks.keys().map(|name| format!("webhook:{name}"));
        let email = self.email.iter().map(|_| "email".to_owned());
        let slack = self.slack.iter().map(|_| "slack".to_owned());
        let urgent = self.pagerduty.iter().flat_map(|one| one.urgent.keys());
        let urgent = urgent.map(|name| format!("pagerduty:{name}"));
        teams.chain(webhooks).chain(email).chain(slack).chain(urgent).collect()
    }

    /// The systems whose decisions are accepted; secrets are resolved now.
    pub(crate) fn deciders(&self, base: &std::path::Path) -> anyhow::Result<Deciders> {
        let (mut all, mut seen) = (Vec::new(), BTreeMap::new());
        for (name, system) in &self.decisions {
            let secret = system.secret(name, base)?;
            // A signature does not say to whom it goes: what one system decided would count as the other's.
            if let Some(other) = seen.insert(secret.expose().to_owned(), name) {
                anyhow::bail!(
                    "`{other}` and `{name}` under `connectors.decisions` have the same secret; give each its own"
                );
            }
            all.push((name.clone(), system.decider(name, &secret)?));
        }
        Ok(Deciders::new(all))
    }
}

/// What may be absent, and must be right where it is not.
#[expect(clippy::option_option, reason = "it was not there, it was wrong, or it was read")]
fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |read| read.map(Some))
}

/// Their cursors are kept by their names, like those of sinks.
fn webhooks_of(field: &Field<'_>, demo: bool, exports: &[Export]) -> BTreeMap<String, Hook> {
    each(field, |name, field| {
        if exports.iter().any(|export| export.name == name) {
            field.error(format!("a sink under `export` is called `{name}` already"), None);
        }
        Hook::read(field, demo)
    })
}

/// Reads `{NAME: {…}, …}`.
fn each<T>(field: &Field<'_>, read: impl Fn(&str, &Field<'_>) -> Option<T>) -> BTreeMap<String, T> {
    let pairs = field.pairs();
    if pairs.len() > MOST {
        field.error(format!("there are more than {MOST} of them"), None);
    }
    let one = |(name, field): (String, Field<'_>)| {
        if !is_name(&name) {
            let help = Some("lower-case letters, digits, `-` and `.`, 64 at most".into());
            field.error(format!("`{name}` is no name"), help);
            return None;
        }
        let read = read(&name, &field)?;
        Some((name, read))
    };
    pairs.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests;

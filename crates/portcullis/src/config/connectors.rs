//! `connectors`: other systems that are told, that decide, and that people work in.

mod decisions;
mod email;
mod slack;
mod teams;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_identity::{Decider, Deciders};
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use decisions::DecidingSystem;
pub(crate) use email::{Email, MailTls};
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
}

impl Connectors {
    /// `exports`: the sinks whose names are taken.
    pub(super) fn read(
        field: &Field<'_>,
        demo: bool,
        exports: &[Export],
        identity: Option<&Identity>,
        services: &[Service],
    ) -> Option<Self> {
        let mut section = field.section()?;
        let teams = section.field("teams");
        let teams = teams.map(|field| each(&field, |_, field| Team::read(field, demo)));
        let email = section.field("email").map(|field| Email::read(&field, demo));
        let webhooks = section.field("webhooks");
        let webhooks = webhooks.map(|field| {
            each(&field, |name, field| {
                if exports.iter().any(|export| export.name == name) {
                    field.error(format!("a sink under `export` is called `{name}` already"), None);
                }
                Hook::read(field, demo)
            })
        });
        let decisions = section.field("decisions");
        let decisions =
            decisions.map(|field| each(&field, |_, field| DecidingSystem::read(field, demo)));
        let slack = section.field("slack");
        let slack = slack.map(|field| Slack::read(&field, demo, identity, services));
        section.finish();
        let slack = slack.map_or(Some(None), |read| read.map(Some))?;
        let email = email.map_or(Some(None), |read| read.map(Some))?;
        let (teams, webhooks) = (teams.unwrap_or_default(), webhooks.unwrap_or_default());
        Some(Self { teams, email, slack, webhooks, decisions: decisions.unwrap_or_default() })
    }

    /// Who can be told, as policies name them.
    pub(crate) fn receivers(&self) -> BTreeSet<String> {
        let teams = self.teams.keys().map(|name| format!("teams:{name}"));
        let webhooks = self.webhooks.keys().map(|name| format!("webhook:{name}"));
        let email = self.email.iter().map(|_| "email".to_owned());
        let slack = self.slack.iter().map(|_| "slack".to_owned());
        teams.chain(webhooks).chain(email).chain(slack).collect()
    }

    /// The systems whose decisions are accepted; secrets are resolved now.
    pub(crate) fn deciders(&self, base: &std::path::Path) -> anyhow::Result<Deciders> {
        let all = self
            .decisions
            .iter()
            .map(|(name, system)| Ok((name.clone(), system.decider(name, base)?)));
        let all = all.collect::<anyhow::Result<Vec<(String, Decider)>>>()?;
        Ok(Deciders::new(all))
    }
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

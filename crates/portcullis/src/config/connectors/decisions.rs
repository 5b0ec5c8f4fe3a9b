//! `connectors.decisions`: systems that decide access requests, as far as policy lets them.

use std::path::Path;

use anyhow::{Context, Result};
use portcullis_identity::Decider;
use portcullis_model::Secret;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{secret::SecretRef, section::Field};

/// A system whose decisions are accepted: it posts to `/v1/decisions/NAME`, and policies know it as
/// `Workload::"decisions:NAME"`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DecidingSystem {
    /// What it signs with, as Standard Webhooks has it: `whsec_…`.
    pub(crate) secret: SecretRef,
    /// The groups that it is in, as policies name them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<String>,
}

impl DecidingSystem {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let secret = section.required("secret").and_then(|field| SecretRef::read(&field, demo));
        let groups = section.field("groups").map(|field| field.texts()).unwrap_or_default();
        section.finish();
        Some(Self { secret: secret?, groups })
    }

    pub(super) fn decider(&self, name: &str, secret: &Secret) -> Result<Decider> {
        let groups = self.groups.iter().map(|group| group.as_str().into());
        Decider::new(name, groups, secret).with_context(|| place(name))
    }

    /// What it signs with, resolved now.
    pub(super) fn secret(&self, name: &str, base: &Path) -> Result<Secret> {
        self.secret.resolve(base).with_context(|| place(name))
    }
}

fn place(name: &str) -> String {
    format!("the system `{name}` under `connectors.decisions`")
}

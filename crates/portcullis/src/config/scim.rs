//! `identity.scim`: the identity provider that keeps users and groups here.

use std::path::Path;

use anyhow::{Context, Result};
use portcullis_control::{Provisioning, ScimSubject};
use portcullis_model::TokenHash;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    secret::SecretRef,
    section::{Field, Section},
};

/// The shortest token that nobody guesses: 128 bits as hexadecimal digits.
const SHORTEST: usize = 32;

/// An identity provider that keeps users and groups by SCIM, at `/scim/v2` of control.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Scim {
    /// What it presents: at least 32 characters that nobody can guess.
    pub(crate) token: SecretRef,
    /// The provider under `people` whose people it keeps.
    pub(crate) provider: String,
    /// Which attribute is the subject with which they sign in.
    pub(crate) subject: Subject,
}

/// Which attribute of a user is their subject.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) enum Subject {
    /// `externalId`.
    #[serde(rename = "externalId")]
    ExternalId,
    /// `userName`.
    #[serde(rename = "userName")]
    UserName,
}

const SUBJECTS: [(&str, Subject); 2] =
    [("externalId", Subject::ExternalId), ("userName", Subject::UserName)];

impl Scim {
    /// `providers` are the names under `people`.
    pub(super) fn read(field: &Field<'_>, demo: bool, providers: &[&str]) -> Option<Self> {
        let mut section = field.section()?;
        let token = section.required("token").and_then(|field| SecretRef::read(&field, demo));
        let provider = provider(&mut section, providers);
        let subject = section.field("subject");
        let subject = subject.map_or(Some(Subject::ExternalId), |field| field.one_of(&SUBJECTS));
        section.finish();
        Some(Self { token: token?, provider: provider?, subject: subject? })
    }

    /// As control has it; the token is resolved now, and only its hash is kept.
    pub(crate) fn provisioning(&self, base: &Path) -> Result<Provisioning> {
        let token = self.token.resolve(base).context("the token of `identity.scim`")?;
        anyhow::ensure!(
            token.expose().len() >= SHORTEST,
            "the token of `identity.scim` is shorter than {SHORTEST} characters; make one with `openssl rand -hex 32`"
        );
        Ok(Provisioning {
            token: TokenHash::of(token.expose()),
            provider: self.provider.clone(),
            subject: match self.subject {
                Subject::ExternalId => ScimSubject::ExternalId,
                Subject::UserName => ScimSubject::UserName,
            },
        })
    }
}

fn provider(section: &mut Section<'_>, providers: &[&str]) -> Option<String> {
    let field = section.required("provider")?;
    let name = field.text()?;
    if !providers.contains(&name) {
        let help = Some(format!("known: {}", providers.join(", ")));
        field.error(format!("`{name}` is no provider of people"), help);
        return None;
    }
    Some(name.to_owned())
}

//! Secrets: references to where they are kept, resolved when the process starts.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use portcullis_model::Secret;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::section::Field;

/// Where a secret is.
#[derive(Debug, Clone, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file; one trailing line break is not part of it.
    File(PathBuf),
    /// In the configuration itself: only where `demo: true` says that nothing here is secret.
    #[schemars(skip)]
    Literal(Secret),
}

impl SecretRef {
    /// From `{env: NAME}` or `{file: path}`.
    pub(crate) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        if let Some(text) = field.as_text() {
            if demo {
                return Some(Self::Literal(Secret::new(text)));
            }
            field.hide();
            field.error(
                "a secret stands in the configuration".into(),
                Some("refer to it: {env: NAME} or {file: path}".into()),
            );
            return None;
        }
        let mut section = field.section()?;
        let env = section.field("env").and_then(|field| field.text().map(str::to_owned));
        let file = section.field("file").and_then(|field| field.text().map(PathBuf::from));
        section.unsupported("vault");
        let found = match (env, file) {
            (Some(name), None) => Some(Self::Env(name)),
            (None, Some(path)) => Some(Self::File(path)),
            _ => {
                let help = Some("write {env: NAME} or {file: path}".into());
                section.error("a secret needs exactly one place".into(), help);
                None
            }
        };
        section.finish();
        found
    }

    /// The secret itself; files are relative to `base`.
    pub(crate) fn resolve(&self, base: &std::path::Path) -> Result<Secret> {
        match self {
            Self::Env(name) => {
                let value = std::env::var(name);
                let value = value.with_context(|| {
                    format!("environment variable {name} holds a secret and is not set; set it")
                })?;
                // An empty key would be everybody's.
                ensure!(
                    !value.trim().is_empty(),
                    "environment variable {name} holds a secret and is empty; set it"
                );
                Ok(Secret::new(value))
            }
            Self::File(path) => {
                let path = base.join(path);
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("secret file {} cannot be read", path.display()))?;
                ensure!(
                    !text.trim().is_empty(),
                    "secret file {} is empty; write the secret into it",
                    path.display()
                );
                Ok(Secret::new(text.strip_suffix('\n').unwrap_or(&text)))
            }
            Self::Literal(secret) => Ok(secret.clone()),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match self {
            Self::Env(name) => format!("(hidden, from environment variable {name})"),
            Self::File(path) => format!("(hidden, from file {})", path.display()),
            Self::Literal(_) => "(hidden)".to_owned(),
        };
        serializer.serialize_str(&text)
    }
}

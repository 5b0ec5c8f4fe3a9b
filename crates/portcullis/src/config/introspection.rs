//! `introspection`: workloads with opaque tokens, about which their issuer is asked.

use std::path::Path;

use anyhow::{Context, Result};
use portcullis_identity::{
    EndpointUrl, IssuerUrl, OpaqueIssuer,
    introspection::{self, LONGEST_ANSWER},
};
use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    mapping::Mapping,
    secret::SecretRef,
    section::{Field, Section},
};

/// Where opaque tokens are asked about, and what must be said of them (RFC 7662).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Introspection {
    /// The issuer, exactly as it calls itself. Without `endpoint`, its discovery document says where
    /// it is asked.
    #[schemars(with = "Option<String>")]
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<IssuerUrl>,
    /// Where it is asked.
    #[schemars(with = "Option<String>")]
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<EndpointUrl>,
    /// Hosts, besides the issuer's own, that its discovery document may point to.
    pub(crate) endpoint_hosts: Vec<String>,
    /// Our client id there.
    pub(crate) client_id: String,
    /// Our secret there.
    pub(crate) client_secret: SecretRef,
    /// What its tokens begin with. Where several entries have `introspection`, each needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<String>,
    /// The audience that `aud` must hold, if it must hold one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,
    /// What `scope` must hold, all of it.
    pub(crate) scopes: Vec<String>,
    /// How its principals are named, and what is known of them.
    #[serde(flatten)]
    pub(crate) mapping: Mapping,
    /// For how long an answer is good: `30s`, and at most that. A token that its issuer revoked is
    /// accepted for so long.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) refresh: Window,
}

impl Introspection {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let issuer = section.field("issuer").map(|field| field.parsed());
        let endpoint = section.field("endpoint").map(|field| field.parsed());
        if issuer.is_none() && endpoint.is_none() {
            let help = Some("write `issuer`, `endpoint`, or both".into());
            section.error("nobody is named who could be asked".into(), help);
        }
        let endpoint_hosts = section.field("endpoint_hosts").map(|field| field.texts());
        if endpoint.is_some() && endpoint_hosts.is_some() {
            let help = Some("take one of the two out".into());
            section.error("with `endpoint`, `endpoint_hosts` is never read".into(), help);
        }
        let client_id = section.required("client_id").and_then(|f| f.text().map(str::to_owned));
        let secret = section.required("client_secret");
        let client_secret = secret.and_then(|field| SecretRef::read(&field, demo));
        let prefix = section.field("prefix").and_then(|f| f.text().map(str::to_owned));
        let audience = section.field("audience").and_then(|f| f.text().map(str::to_owned));
        let scopes = section.field("scopes").map(|field| scopes(&field)).unwrap_or_default();
        let mapping = Mapping::read(&mut section, None);
        let refresh = refresh(&mut section);
        section.finish();
        // What is there and has a mistake is not the same as what is not there.
        if matches!(issuer, Some(None)) || matches!(endpoint, Some(None)) {
            return None;
        }
        Some(Self {
            issuer: issuer.flatten(),
            endpoint: endpoint.flatten(),
            endpoint_hosts: endpoint_hosts.unwrap_or_default(),
            client_id: client_id?,
            client_secret: client_secret?,
            prefix,
            audience,
            scopes,
            mapping: mapping?,
            refresh: refresh?,
        })
    }

    /// What the identity crate asks by, under the name of its entry; secrets are resolved now.
    pub(crate) fn opaque(&self, name: &str, base: &Path) -> Result<OpaqueIssuer> {
        let secret = self.client_secret.resolve(base);
        let client_secret = secret.with_context(|| format!("the client secret of `{name}`"))?;
        let introspection = match (&self.endpoint, &self.issuer) {
            (Some(endpoint), issuer) => portcullis_identity::Introspection::At {
                endpoint: endpoint.clone(),
                issuer: issuer.clone(),
            },
            (None, Some(issuer)) => portcullis_identity::Introspection::Discovered {
                issuer: issuer.clone(),
                endpoint_hosts: self.endpoint_hosts.clone(),
            },
            (None, None) => anyhow::bail!("`{name}` names nobody who could be asked"),
        };
        Ok(OpaqueIssuer {
            name: name.to_owned(),
            introspection,
            client_id: self.client_id.clone(),
            client_secret,
            prefix: self.prefix.clone(),
            audience: self.audience.clone(),
            scopes: self.scopes.clone(),
            mapping: self.mapping.mapping(),
            answer: self.refresh.get(),
        })
    }
}

/// What is wrong with the prefixes of all entries together.
pub(super) fn check_prefixes<'a>(
    section: &Section<'_>,
    entries: impl Iterator<Item = (&'a str, &'a Introspection)>,
) {
    let prefixes: Vec<_> = entries.map(|(name, one)| (name, one.prefix.as_deref())).collect();
    if let Err(error) = introspection::check_prefixes(&prefixes) {
        section.error(error.to_string(), Some("each token is asked about at one issuer".into()));
    }
}

/// At least a second, and never longer than the bound that is promised.
fn refresh(section: &mut Section<'_>) -> Option<Window> {
    let Some(field) = section.field("refresh") else { return Window::new(LONGEST_ANSWER).ok() };
    let window: Window = field.parsed()?;
    if window.get() > LONGEST_ANSWER {
        let help = Some("write at most 30s".into());
        field.error("a revoked token would be accepted for too long".into(), help);
        return None;
    }
    Some(window)
}

/// One scope each: they come in one text, with spaces between them.
pub(super) fn scopes(field: &Field<'_>) -> Vec<String> {
    let plain = field.list().into_iter().filter_map(|one| {
        let text = one.text()?;
        if text.is_empty() || text.contains(char::is_whitespace) {
            let help = Some("write one entry for each scope".into());
            one.error(format!("`{text}` is not one scope"), help);
            return None;
        }
        Some(text.to_owned())
    });
    plain.collect()
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(super) fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

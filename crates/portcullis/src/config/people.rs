//! `identity.people`: the OpenID providers of people.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result};
use portcullis_identity::{IssuerUrl, OidcProvider};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    identity::{claim_types, claims, provider_name},
    secret::SecretRef,
    section::{Field, Section},
    sign_ins::{Recheck, StepUp},
};

/// One OpenID provider.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct People {
    /// Its name: people are `User::"<name>:<subject>"`.
    pub(crate) name: String,
    /// How to talk to it.
    pub(crate) oidc: Oidc,
    /// Subjects of this provider who are the same human being as one of another:
    /// `ana-admin: corp:ana`. Verified e-mail links without this.
    pub(crate) link: BTreeMap<String, String>,
}

/// An OpenID client registration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Oidc {
    /// The issuer, exactly as it calls itself.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) issuer: IssuerUrl,
    /// Our client id there.
    pub(crate) client_id: String,
    /// Our secret there; public clients have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<SecretRef>,
    /// The claim that lists groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups_claim: Option<String>,
    /// Claims that policies may read: `String`, `Long`, `Bool`, `Set<String>`.
    pub(crate) claims: BTreeMap<String, String>,
    /// Scopes to ask for; default openid, email, profile.
    pub(crate) scopes: Vec<String>,
    /// Hosts, besides the issuer's own, that its discovery document may point to.
    pub(crate) endpoint_hosts: Vec<String>,
    /// How somebody is asked to authenticate anew, or better.
    pub(crate) step_up: StepUp,
    /// How often the provider is asked again about those who are signed in: `15m`, or `never`.
    pub(crate) recheck: Recheck,
}

impl People {
    pub(super) fn read(
        mut section: Section<'_>,
        demo: bool,
        names: &mut BTreeSet<String>,
    ) -> Option<Self> {
        let name = provider_name(&mut section, names);
        let oidc = section.required("oidc").and_then(|field| Oidc::read(&field, demo));
        let link = section.field("link").map(|field| links(&field)).unwrap_or_default();
        section.finish();
        Some(Self { name: name?, oidc: oidc?, link })
    }

    /// The claims that policies may read, and their types.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&str, &str)> {
        self.oidc.claims.iter().map(|(claim, kind)| (claim.as_str(), kind.as_str()))
    }

    /// What the identity crate signs people in by; secrets are resolved now.
    pub(crate) fn provider(&self, base: &Path) -> Result<OidcProvider> {
        let oidc = self.oidc.clone();
        let secret = oidc.client_secret.as_ref().map(|secret| secret.resolve(base)).transpose();
        let client_secret =
            secret.with_context(|| format!("the client secret of provider `{}`", self.name))?;
        Ok(OidcProvider {
            name: self.name.clone(),
            issuer: oidc.issuer,
            client_id: oidc.client_id,
            client_secret,
            scopes: oidc.scopes,
            groups_claim: oidc.groups_claim,
            claims: claim_types(oidc.claims),
            endpoint_hosts: oidc.endpoint_hosts,
            step_up: portcullis_identity::StepUp { acr_values: oidc.step_up.acr_values },
            recheck: oidc.recheck.get(),
        })
    }
}

fn links(field: &Field<'_>) -> BTreeMap<String, String> {
    let pairs = field.pairs().into_iter().filter_map(|(subject, other)| {
        let text = other.text()?;
        if !text.contains(':') {
            let help = Some("write it like corp:ana".into());
            other.error(format!("`{text}` is not provider:subject"), help);
            return None;
        }
        Some((subject, text.to_owned()))
    });
    pairs.collect()
}

impl Oidc {
    fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let issuer = section.required("issuer").and_then(|field| field.parsed());
        let client_id = section.required("client_id").and_then(|f| f.text().map(str::to_owned));
        let secret = section.field("client_secret");
        let client_secret = secret.and_then(|field| SecretRef::read(&field, demo));
        let groups_claim = section.field("groups_claim").and_then(|f| f.text().map(str::to_owned));
        let claims = section.field("claims").map(|field| claims(&field)).unwrap_or_default();
        let scopes = section.field("scopes").map(|field| field.texts());
        let hosts = section.field("endpoint_hosts").map(|field| field.texts());
        let step_up = section.field("step_up").map(|field| StepUp::read(&field));
        let step_up = step_up.unwrap_or_default();
        let recheck = section.field("recheck");
        let recheck = recheck.map_or(Some(Recheck::default()), |field| Recheck::read(&field));
        section.finish();
        let scopes =
            scopes.unwrap_or_else(|| ["openid", "email", "profile"].map(Into::into).into());
        Some(Self {
            issuer: issuer?,
            client_id: client_id?,
            client_secret,
            groups_claim,
            claims,
            scopes,
            endpoint_hosts: hosts.unwrap_or_default(),
            step_up,
            recheck: recheck?,
        })
    }
}

//! `identity.people`: the providers of people.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use portcullis_control::{Source, Vouching};
use portcullis_identity::{IssuerUrl, OidcProvider, Pace, ProviderClient};
use portcullis_model::Clock;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::runtime::Handle;

use super::{
    identity::provider_name,
    mapping::{claim_types, claims},
    oauth2::OAuth2,
    secret::SecretRef,
    section::{Field, Section},
    sign_ins::{Recheck, StepUp},
};

/// One provider.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct People {
    /// Its name: people are `User::"<name>:<subject>"`.
    pub(crate) name: String,
    /// How to talk to it, if it speaks OpenID Connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oidc: Option<Oidc>,
    /// How to talk to it, if it speaks OAuth 2.0 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oauth2: Option<OAuth2>,
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
        let (oidc, oauth2) = (section.field("oidc"), section.field("oauth2"));
        let is_one = oidc.is_some() != oauth2.is_some();
        if !is_one {
            let help = Some("write `oidc`, or `oauth2` if it has no ID tokens".into());
            section.error("a provider of people is of one kind".into(), help);
        }
        let oidc = oidc.map(|field| Oidc::read(&field, demo));
        let oauth2 = oauth2.map(|field| OAuth2::read(&field, demo));
        let link = section.field("link").map(|field| links(&field)).unwrap_or_default();
        section.finish();
        // What is there and has a mistake is not the same as what is not there.
        let sound = !matches!(oidc, Some(None)) && !matches!(oauth2, Some(None));
        let people = Self { name: name?, oidc: oidc.flatten(), oauth2: oauth2.flatten(), link };
        (is_one && sound).then_some(people)
    }

    /// The claims that policies may read, and their types.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&str, &str)> {
        let oauth2 = self.oauth2.iter().flat_map(|oauth2| &oauth2.claims);
        let claims = self.oidc.iter().flat_map(|oidc| &oidc.claims).chain(oauth2);
        claims.map(|(claim, kind)| (claim.as_str(), kind.as_str()))
    }

    /// Who vouches, and how groups are found.
    pub(super) fn source(&self) -> Source {
        let (issuer, groups_claim, by) = match (&self.oidc, &self.oauth2) {
            (Some(oidc), _) => {
                (oidc.issuer.to_string(), &oidc.groups_claim, Vouching::OpenIdConnect)
            }
            (None, Some(oauth2)) => {
                (oauth2.in_words(), &oauth2.groups_claim, Vouching::Introspection)
            }
            (None, None) => (String::new(), &None, Vouching::OpenIdConnect),
        };
        Source { issuer, groups_claim: groups_claim.clone(), by }
    }

    /// The client that signs people in; secrets are resolved now.
    pub(crate) fn client(
        &self,
        base: &Path,
        client: &ProviderClient,
        clock: &Arc<dyn Clock>,
        runtime: &Handle,
    ) -> Result<portcullis_identity::People> {
        use portcullis_identity::People;
        match (&self.oidc, &self.oauth2) {
            (Some(oidc), _) => {
                let provider = oidc.provider(&self.name, base)?;
                Ok(People::new(provider, client, clock, Pace::default(), runtime))
            }
            (None, Some(oauth2)) => {
                let provider = oauth2.provider(&self.name, base)?;
                Ok(People::by_introspection(provider, client, clock))
            }
            (None, None) => anyhow::bail!("provider `{}` is of no kind", self.name),
        }
    }
}

/// Beside others, a provider's answers to browsers must name it, or one could pass another's code off
/// as its own (RFC 9700, 4.4). What OpenID providers say of that is in their discovery documents.
pub(super) fn check_issuers(section: &Section<'_>, people: &[People]) {
    let nameless = |one: &&People| one.oauth2.as_ref().is_some_and(|one| one.issuer.is_none());
    if let (Some(nameless), true) = (people.iter().find(nameless), people.len() > 1) {
        let help = Some("write what its answers to browsers have as `iss` (RFC 9207)".into());
        section
            .error(format!("beside other providers, `{}` needs an `issuer`", nameless.name), help);
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
    /// What the identity crate signs people in by, under the name of its entry.
    fn provider(&self, name: &str, base: &Path) -> Result<OidcProvider> {
        let oidc = self.clone();
        let secret = oidc.client_secret.as_ref().map(|secret| secret.resolve(base)).transpose();
        let client_secret =
            secret.with_context(|| format!("the client secret of provider `{name}`"))?;
        Ok(OidcProvider {
            name: name.to_owned(),
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

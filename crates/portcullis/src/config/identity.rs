//! `identity`: the providers that vouch for people, and the issuers that vouch for workloads.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::{
    control::http_url,
    secret::SecretRef,
    section::{Field, Section},
};

/// Who vouches for whom.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Identity {
    /// OpenID providers of people.
    pub(crate) people: Vec<People>,
    /// Token issuers of workloads.
    pub(crate) workloads: Vec<Workload>,
}

/// One OpenID provider.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct People {
    /// Its name: people are `User::"<name>:<subject>"`.
    pub(crate) name: String,
    /// How to talk to it.
    pub(crate) oidc: Oidc,
    /// Link by verified e-mail, so that one human being is one reviewer; default true.
    pub(crate) link: bool,
}

/// An OpenID client registration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Oidc {
    /// The issuer, exactly as it calls itself.
    pub(crate) issuer: String,
    /// Our client id there.
    pub(crate) client_id: String,
    /// Our secret there; public clients have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<SecretRef>,
    /// The claim that lists groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups_claim: Option<String>,
    /// Scopes to ask for; default openid, email, profile.
    pub(crate) scopes: Vec<String>,
}

/// One issuer of workload tokens.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Workload {
    /// Its name: workloads are `Workload::"<name>:<subject>"`.
    pub(crate) name: String,
    /// What its tokens must look like.
    pub(crate) jwt: Jwt,
}

/// What a workload's token must look like, and what it says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Jwt {
    /// The issuer, exactly as `iss` has it.
    pub(crate) issuer: String,
    /// The audience that `aud` must hold.
    pub(crate) audience: String,
    /// The subject, from claims: `ci:{repository}`; default `{sub}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// Claims that policies may read: `String`, `Long`, `Bool`, `Set<String>`.
    pub(crate) claims: BTreeMap<String, String>,
    /// Groups given by claims: `environment=production` to a list of groups.
    pub(crate) groups: IndexMap<String, Vec<String>>,
    /// The claim that lists groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups_claim: Option<String>,
}

const CLAIM_TYPES: [&str; 4] = ["String", "Long", "Bool", "Set<String>"];

impl Identity {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let mut names = BTreeSet::new();
        let people = list(&mut section, "people");
        let people = people.into_iter().filter_map(|s| People::read(s, demo, &mut names)).collect();
        let workloads = list(&mut section, "workloads");
        let workloads =
            workloads.into_iter().filter_map(|s| Workload::read(s, &mut names)).collect();
        section.finish();
        Some(Self { people, workloads })
    }

    /// The types of all claims that policies may read.
    pub(crate) fn claims(&self) -> BTreeMap<String, String> {
        let claims = self.workloads.iter().flat_map(|workload| workload.jwt.claims.clone());
        claims.collect()
    }
}

fn list<'a>(section: &mut Section<'a>, key: &'static str) -> Vec<Section<'a>> {
    section.field(key).map(|field| field.sections()).unwrap_or_default()
}

/// A provider's name is part of every principal's id, so it must be unique and without a colon.
fn provider_name(section: &mut Section<'_>, names: &mut BTreeSet<String>) -> Option<String> {
    let field = section.required("name")?;
    let name = field.text()?.to_owned();
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        let help = Some("use letters, digits, `-`, `_` and `.`".into());
        field.error(format!("`{name}` cannot name a provider"), help);
        return None;
    }
    if !names.insert(name.clone()) {
        let help = Some("principals are told apart by this name: choose another".into());
        field.error(format!("two providers are called `{name}`"), help);
        return None;
    }
    Some(name)
}

impl People {
    fn read(mut section: Section<'_>, demo: bool, names: &mut BTreeSet<String>) -> Option<Self> {
        let name = provider_name(&mut section, names);
        let oidc = section.required("oidc").and_then(|field| Oidc::read(&field, demo));
        let link = section.field("link").map_or(Some(true), |field| field.boolean());
        section.finish();
        Some(Self { name: name?, oidc: oidc?, link: link? })
    }
}

impl Oidc {
    fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let issuer = section.required("issuer").and_then(|field| issuer(&field, demo));
        let client_id = section.required("client_id").and_then(|f| f.text().map(str::to_owned));
        let secret = section.field("client_secret");
        let client_secret = secret.and_then(|field| SecretRef::read(&field, demo));
        let groups_claim = section.field("groups_claim").and_then(|f| f.text().map(str::to_owned));
        let scopes = section.field("scopes").map(|field| field.texts());
        section.finish();
        let scopes =
            scopes.unwrap_or_else(|| ["openid", "email", "profile"].map(Into::into).into());
        Some(Self { issuer: issuer?, client_id: client_id?, client_secret, groups_claim, scopes })
    }
}

/// An issuer as it calls itself. Keys fetched in clear text prove nothing, so it is `https`, except on
/// loopback and in the demo.
fn issuer(field: &Field<'_>, demo: bool) -> Option<String> {
    let url = http_url(field)?;
    if url.scheme() == "http" && !demo && !is_loopback(&url) {
        let help = Some("use its https URL: keys fetched in clear text prove nothing".into());
        field.error(format!("issuer `{url}` is not https"), help);
        return None;
    }
    field.text().map(str::to_owned)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

impl Workload {
    fn read(mut section: Section<'_>, names: &mut BTreeSet<String>) -> Option<Self> {
        let name = provider_name(&mut section, names);
        section.unsupported("mtls");
        let jwt = section.required("jwt").and_then(|field| Jwt::read(&field));
        section.finish();
        Some(Self { name: name?, jwt: jwt? })
    }
}

impl Jwt {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let issuer = section.required("issuer").and_then(|field| issuer(&field, false));
        let audience = section.required("audience").and_then(|f| f.text().map(str::to_owned));
        let subject = section.field("subject").and_then(|f| f.text().map(str::to_owned));
        let claims = section.field("claims").map(|field| claims(&field)).unwrap_or_default();
        let groups = section.field("groups").map(|field| groups(&field)).unwrap_or_default();
        let groups_claim = section.field("groups_claim").and_then(|f| f.text().map(str::to_owned));
        section.finish();
        let (issuer, audience) = (issuer?, audience?);
        Some(Self { issuer, audience, subject, claims, groups, groups_claim })
    }
}

fn claims(field: &Field<'_>) -> BTreeMap<String, String> {
    let types = CLAIM_TYPES.map(|name| (name, name));
    let pairs = field.pairs().into_iter();
    pairs.filter_map(|(claim, kind)| Some((claim, kind.one_of(&types)?.to_owned()))).collect()
}

fn groups(field: &Field<'_>) -> IndexMap<String, Vec<String>> {
    let pairs = field.pairs().into_iter().filter(|(condition, field)| {
        let complete = condition.split_once('=').is_some_and(|(claim, _)| !claim.is_empty());
        if !complete {
            let help = Some("write it like \"environment=production\": [deployers]".into());
            field.error(format!("`{condition}` is not claim=value"), help);
        }
        complete
    });
    pairs.map(|(condition, field)| (condition, field.texts())).collect()
}

//! `identity`: the providers that vouch for people, and the issuers that vouch for workloads.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use indexmap::IndexMap;
use portcullis_identity::{
    ClaimType, GroupRule, IssuerUrl, JwtIssuer, OidcProvider, Template,
    spiffe::{Mesh, SvidTokens, TrustDomain},
};
use portcullis_model::{PrincipalId, PrincipalKind, Window};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    listener::Listener,
    secret::SecretRef,
    section::{Field, Section},
    sign_ins::{Recheck, SignIns, StepUp},
    spiffe::{Spiffe, workload_api},
};

/// Who vouches for whom.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Identity {
    /// OpenID providers of people.
    pub(crate) people: Vec<People>,
    /// Issuers and trust domains of workloads.
    pub(crate) workloads: Vec<Workload>,
    /// How long people stay signed in.
    pub(crate) sign_ins: SignIns,
    /// The Unix socket of the SPIFFE Workload API: `unix:///run/spire/agent.sock`.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workload_api: Option<PathBuf>,
}

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
    /// Scopes to ask for; default openid, email, profile.
    pub(crate) scopes: Vec<String>,
    /// Hosts, besides the issuer's own, that its discovery document may point to.
    pub(crate) endpoint_hosts: Vec<String>,
    /// How somebody is asked to authenticate anew, or better.
    pub(crate) step_up: StepUp,
    /// How often the provider is asked again about those who are signed in: `15m`, or `never`.
    pub(crate) recheck: Recheck,
}

/// Who vouches for some workloads: an issuer of tokens, or a trust domain.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Workload {
    /// Its name: workloads are `Workload::"<name>:<subject>"`.
    pub(crate) name: String,
    /// What its tokens must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwt: Option<Jwt>,
    /// What the workloads of its trust domain present.
    #[serde(flatten)]
    pub(crate) spiffe: Option<Spiffe>,
}

/// What a workload's token must look like, and what it says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Jwt {
    /// The issuer, exactly as `iss` has it.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) issuer: IssuerUrl,
    /// The audience that `aud` must hold.
    pub(crate) audience: String,
    /// The subject, from claims: `ci:{repository}`; default `{sub}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    #[serde(skip)]
    template: Template,
    /// Claims that policies may read: `String`, `Long`, `Bool`, `Set<String>`.
    pub(crate) claims: BTreeMap<String, String>,
    /// Groups given by claims: `environment=production` to a list of groups.
    pub(crate) groups: IndexMap<String, Vec<String>>,
    /// The claim that lists groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups_claim: Option<String>,
    /// Hosts, besides the issuer's own, that its discovery document may point to.
    pub(crate) endpoint_hosts: Vec<String>,
    /// How often its keys are fetched, and so how long a key that it removed is still accepted: `5m`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) refresh: Window,
}

const CLAIM_TYPES: [(&str, &str); 4] =
    [("String", "String"), ("Long", "Long"), ("Bool", "Bool"), ("Set<String>", "Set<String>")];

impl Identity {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let mut names = BTreeSet::new();
        let people = list(&mut section, "people");
        let people = people.into_iter().filter_map(|s| People::read(s, demo, &mut names)).collect();
        let workloads = list(&mut section, "workloads");
        let workloads = workloads.into_iter().filter_map(|s| Workload::read(s, &mut names));
        let workloads: Vec<Workload> = workloads.collect();
        if let Some(claim) = contradiction(&workloads) {
            let help = Some("give it the same type everywhere".into());
            section.error(format!("the claim `{claim}` has two types"), help);
        }
        for domain in twice(workloads.iter().filter_map(|workload| workload.spiffe.as_ref())) {
            let help = Some("a workload has one name: keep one entry for each trust domain".into());
            section.error(format!("the trust domain `{domain}` has two entries"), help);
        }
        let api = section.field("workload_api").and_then(|field| workload_api(&field));
        let sign_ins = section.field("sign_ins");
        let sign_ins = sign_ins.map_or(Some(SignIns::default()), |field| SignIns::read(&field));
        section.finish();
        Some(Self { people, workloads, workload_api: api, sign_ins: sign_ins? })
    }

    /// The trust domains whose certificates are accepted.
    pub(crate) fn certified_domains(&self) -> impl Iterator<Item = &TrustDomain> {
        let spiffe = self.workloads.iter().filter_map(|workload| workload.spiffe.as_ref());
        spiffe.filter(|spiffe| spiffe.mtls.is_some()).map(Spiffe::domain)
    }

    /// The workloads of those domains.
    pub(crate) fn meshes(&self) -> impl Iterator<Item = Arc<Mesh>> {
        let named = self.workloads.iter().filter_map(|w| Some((&w.name, w.spiffe.as_ref()?)));
        named.filter(|(_, spiffe)| spiffe.mtls.is_some()).map(|(name, spiffe)| spiffe.mesh(name))
    }

    /// The trust domains whose tokens are accepted.
    pub(crate) fn svid_tokens(&self) -> impl Iterator<Item = SvidTokens> {
        self.workloads.iter().filter_map(|w| w.spiffe.as_ref()?.tokens(&w.name))
    }

    /// What is configured and could never be used, with the listeners as they are.
    pub(super) fn check_use(&self, field: &Field<'_>, listeners: &[Listener]) {
        let tls = || listeners.iter().filter_map(|listener| listener.tls.as_ref());
        for domain in self.certified_domains() {
            if !tls().any(|tls| tls.believes(domain)) {
                let help = "add `client_ca` to the `tls` of a listener";
                let message = format!("no listener believes the authorities of `{domain}`");
                field.error(message, Some(help.into()));
            }
        }
        let svids = || self.workloads.iter().filter_map(|w| w.spiffe.as_ref()?.jwt_svid.as_ref());
        let asks_for_keys = svids().any(|svid| svid.workload_api);
        let used = asks_for_keys || tls().any(|tls| !tls.workload_api.is_empty());
        match &self.workload_api {
            Some(_) if !used => {
                let help = "take it out, or let a listener or a `jwt_svid` use it";
                field.error("nothing uses the Workload API".into(), Some(help.into()));
            }
            None if asks_for_keys => {
                let help = "add `workload_api: unix:///run/spire/agent.sock`";
                field.error("no Workload API is configured".into(), Some(help.into()));
            }
            _ => {}
        }
    }

    /// Principals that are one human being by configuration.
    pub(crate) fn same_people(&self) -> Vec<Vec<PrincipalId>> {
        let user =
            |issuer: &str, subject: &str| PrincipalId::new(PrincipalKind::User, issuer, subject);
        let links = self.people.iter().flat_map(|people| {
            people.link.iter().filter_map(|(subject, other)| {
                let (issuer, other) = other.split_once(':')?;
                Some(vec![user(&people.name, subject), user(issuer, other)])
            })
        });
        links.collect()
    }

    /// The types of all claims that policies may read.
    pub(crate) fn claims(&self) -> BTreeMap<String, String> {
        let mapped = self.workloads.iter().flat_map(Workload::claims);
        mapped.map(|(claim, kind)| (claim.to_owned(), kind.to_owned())).collect()
    }
}

fn list<'a>(section: &mut Section<'a>, key: &'static str) -> Vec<Section<'a>> {
    section.field(key).map(|field| field.sections()).unwrap_or_default()
}

/// Policies see one schema: a claim that two issuers type differently has no place in it.
fn contradiction(workloads: &[Workload]) -> Option<&str> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut claims = workloads.iter().flat_map(Workload::claims);
    let twice = claims
        .find(|(claim, kind)| seen.insert(claim, kind).is_some_and(|earlier| earlier != *kind));
    twice.map(|(claim, _)| claim)
}

fn twice<'a>(all: impl Iterator<Item = &'a Spiffe>) -> Vec<&'a TrustDomain> {
    let mut seen = BTreeSet::new();
    all.map(Spiffe::domain).filter(|domain| !seen.insert(*domain)).collect()
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
        let link = section.field("link").map(|field| links(&field)).unwrap_or_default();
        section.finish();
        Some(Self { name: name?, oidc: oidc?, link })
    }
}

impl People {
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
            scopes,
            endpoint_hosts: hosts.unwrap_or_default(),
            step_up,
            recheck: recheck?,
        })
    }
}

impl Workload {
    fn read(mut section: Section<'_>, names: &mut BTreeSet<String>) -> Option<Self> {
        let name = provider_name(&mut section, names);
        let given = section.field("jwt");
        let spiffe = ["mtls", "jwt_svid"].map(|key| section.field(key).is_some()).contains(&true);
        if given.is_some() == spiffe {
            let help = "write `jwt`, or `mtls` and `jwt_svid` of one trust domain".into();
            section.error("an entry is for one kind of workload".into(), Some(help));
        }
        let jwt = given.as_ref().map(Jwt::read);
        let spiffe = spiffe.then(|| Spiffe::read(&mut section));
        section.finish();
        let (jwt, spiffe) = match (jwt, spiffe) {
            (Some(jwt), None) => (Some(jwt?), None),
            (None, Some(spiffe)) => (None, Some(spiffe?)),
            _ => return None,
        };
        Some(Self { name: name?, jwt, spiffe })
    }

    /// The claims that policies may read, and their types.
    fn claims(&self) -> impl Iterator<Item = (&str, &str)> {
        let mapped = self.jwt.iter().flat_map(|jwt| &jwt.claims);
        let own = self.spiffe.as_ref().map(|_| (Mesh::ATTRIBUTE, "String"));
        mapped.map(|(claim, kind)| (claim.as_str(), kind.as_str())).chain(own)
    }
}

impl Jwt {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let issuer = section.required("issuer").and_then(|field| field.parsed());
        let audience = section.required("audience").and_then(|f| f.text().map(str::to_owned));
        let subject = section.field("subject");
        let template = subject.as_ref().map_or(Some(Template::default()), Field::parsed);
        let subject = subject.and_then(|field| field.text().map(str::to_owned));
        let claims = section.field("claims").map(|field| claims(&field)).unwrap_or_default();
        let groups = section.field("groups").map(|field| groups(&field)).unwrap_or_default();
        let groups_claim = section.field("groups_claim").and_then(|f| f.text().map(str::to_owned));
        let endpoint_hosts = section.field("endpoint_hosts").map(|field| field.texts());
        let endpoint_hosts = endpoint_hosts.unwrap_or_default();
        let refresh = section.field("refresh");
        let refresh = refresh.map_or(Some(Window::minutes(5)), |field| field.parsed());
        section.finish();
        Some(Self {
            issuer: issuer?,
            audience: audience?,
            subject,
            template: template?,
            claims,
            groups,
            groups_claim,
            endpoint_hosts,
            refresh: refresh?,
        })
    }
}

impl Workload {
    /// What the identity crate checks tokens by, if it is an issuer's.
    pub(crate) fn issuer(&self) -> Option<JwtIssuer> {
        let jwt = self.jwt.clone()?;
        let Jwt { issuer, audience, template, claims, groups, groups_claim, .. } = jwt;
        let claim_types =
            claims.into_iter().filter_map(|(claim, kind)| Some((claim, claim_type(&kind)?)));
        let rules = groups.into_iter().filter_map(|(condition, groups)| {
            GroupRule::parse(&condition, groups.into_iter().map(Into::into).collect()).ok()
        });
        Some(JwtIssuer {
            name: self.name.clone(),
            issuer,
            audience,
            subject: template,
            claims: claim_types.collect(),
            groups: rules.collect(),
            groups_claim,
            endpoint_hosts: jwt.endpoint_hosts,
            refresh_every: Some(jwt.refresh.get()),
        })
    }
}

fn claim_type(text: &str) -> Option<ClaimType> {
    let known = [ClaimType::String, ClaimType::Long, ClaimType::Bool, ClaimType::Set];
    CLAIM_TYPES.iter().zip(known).find(|((name, _), _)| *name == text).map(|(_, kind)| kind)
}

fn claims(field: &Field<'_>) -> BTreeMap<String, String> {
    let pairs = field.pairs().into_iter();
    pairs.filter_map(|(claim, kind)| Some((claim, kind.one_of(&CLAIM_TYPES)?.to_owned()))).collect()
}

pub(super) fn groups(field: &Field<'_>) -> IndexMap<String, Vec<String>> {
    let pairs = field.pairs().into_iter().filter(|(condition, field)| {
        let rule = GroupRule::parse(condition, Vec::new());
        if let Err(error) = &rule {
            let help = Some("write it like \"environment=production\": [deployers]".into());
            field.error(error.to_string(), help);
        }
        rule.is_ok()
    });
    pairs.map(|(condition, field)| (condition, field.texts())).collect()
}

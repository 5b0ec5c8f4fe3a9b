//! `identity`: the providers that vouch for people, and the issuers that vouch for workloads.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use portcullis_control::Source;
use portcullis_identity::{
    AuthMethod, CiSystem, IssuerUrl, JwtIssuer, OpaqueIssuer,
    ci::CiPreset,
    spiffe::{Mesh, SvidTokens, TrustDomain},
};
use portcullis_model::{DECISIONS, PrincipalId, PrincipalKind, Window};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    ci::{Ci, Wanted},
    introspection::{Introspection, check_prefixes},
    listener::Listener,
    mapping::Mapping,
    people::{self, People},
    scim::Scim,
    section::{Field, Section},
    service::Service,
    sign_ins::SignIns,
    spiffe::{Spiffe, workload_api},
};

/// Who vouches for whom.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Identity {
    /// Providers of people.
    pub(crate) people: Vec<People>,
    /// Issuers and trust domains of workloads.
    pub(crate) workloads: Vec<Workload>,
    /// How long people stay signed in.
    pub(crate) sign_ins: SignIns,
    /// The Unix socket of the SPIFFE Workload API: `unix:///run/spire/agent.sock`.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workload_api: Option<PathBuf>,
    /// The identity provider that keeps users and groups here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scim: Option<Scim>,
}

/// Who vouches for some workloads: an issuer of JWTs or of opaque tokens, or a trust domain.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Workload {
    /// Its name: workloads are `Workload::"<name>:<subject>"`.
    pub(crate) name: String,
    /// What its tokens must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwt: Option<Jwt>,
    /// Where its opaque tokens are asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) introspection: Option<Introspection>,
    /// What the workloads of its trust domain present.
    #[serde(flatten)]
    pub(crate) spiffe: Option<Spiffe>,
}

/// What a workload's token must look like, and what it says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Jwt {
    /// A CI system. Its jobs' tokens are exchanged for runs, once each, and accepted nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ci: Option<Ci>,
    /// The issuer, exactly as `iss` has it; a CI system's own may be left out.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) issuer: IssuerUrl,
    /// The audience that `aud` must hold.
    pub(crate) audience: String,
    /// How its principals are named, and what is known of them.
    #[serde(flatten)]
    pub(crate) mapping: Mapping,
    /// Hosts, besides the issuer's own, that its discovery document may point to.
    pub(crate) endpoint_hosts: Vec<String>,
    /// How often its keys are fetched, and so how long a key that it removed is still accepted: `5m`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) refresh: Window,
}

impl Identity {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let mut names = BTreeSet::new();
        let people = list(&mut section, "people");
        let people: Vec<People> =
            people.into_iter().filter_map(|s| People::read(s, demo, &mut names)).collect();
        let workloads = list(&mut section, "workloads");
        let workloads = workloads.into_iter().filter_map(|s| Workload::read(s, demo, &mut names));
        let workloads: Vec<Workload> = workloads.collect();
        let of_people = people.iter().flat_map(People::claims);
        let of_workloads = workloads.iter().flat_map(Workload::claims);
        for claim in contradiction(of_people).into_iter().chain(contradiction(of_workloads)) {
            let help = Some("give it the same type everywhere".into());
            section.error(format!("the claim `{claim}` has two types"), help);
        }
        let providers: Vec<_> = people.iter().map(|people| people.name.as_str()).collect();
        let scim = section.field("scim");
        let is_scim = scim.is_some();
        let scim = scim.and_then(|field| Scim::read(&field, demo, &providers));
        let opaque =
            workloads.iter().filter_map(|w| Some((w.name.as_str(), w.introspection.as_ref()?)));
        check_prefixes(&section, opaque);
        people::check_issuers(&section, &people);
        for domain in twice(workloads.iter().filter_map(|workload| workload.spiffe.as_ref())) {
            let help = Some("a workload has one name: keep one entry for each trust domain".into());
            section.error(format!("the trust domain `{domain}` has two entries"), help);
        }
        let api = section.field("workload_api").and_then(|field| workload_api(&field));
        let sign_ins = section.field("sign_ins");
        let sign_ins = sign_ins.map_or(Some(SignIns::default()), |field| SignIns::read(&field));
        section.finish();
        let identity = Self { people, workloads, workload_api: api, scim, sign_ins: sign_ins? };
        (identity.scim.is_some() == is_scim).then_some(identity)
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

    /// The issuers of opaque tokens; secrets are resolved now.
    pub(crate) fn opaque_issuers(&self, base: &Path) -> Result<Vec<OpaqueIssuer>> {
        let opaque =
            self.workloads.iter().filter_map(|w| Some((&w.name, w.introspection.as_ref()?)));
        opaque.map(|(name, introspection)| introspection.opaque(name, base)).collect()
    }

    /// How workloads prove who they are, by the names of their entries.
    pub(crate) fn methods(&self) -> BTreeMap<String, AuthMethod> {
        self.workloads.iter().map(|one| (one.name.clone(), one.method())).collect()
    }

    /// What is configured and could never be used, with the listeners as they are.
    pub(super) fn check_use(
        &self,
        field: &Field<'_>,
        listeners: &[Listener],
        services: &[Service],
    ) {
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
        let mut upstreams = services.iter().filter_map(|service| service.upstream.tls.as_ref());
        let used = asks_for_keys
            || tls().any(|tls| !tls.workload_api.is_empty())
            || upstreams.any(|tls| !tls.workload_api.is_empty());
        match &self.workload_api {
            Some(_) if !used => {
                let help = "take it out, or let a listener, a `jwt_svid` or an upstream use it";
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

    /// The types of all claims of people that policies may read.
    pub(crate) fn user_claims(&self) -> BTreeMap<String, String> {
        let claims = self.people.iter().flat_map(People::claims);
        claims.map(|(claim, kind)| (claim.to_owned(), kind.to_owned())).collect()
    }

    /// Who vouches for people under which name, and how their groups are found.
    pub(crate) fn sources(&self) -> BTreeMap<String, Source> {
        let sources = self.people.iter().map(|people| (people.name.clone(), people.source()));
        sources.collect()
    }

    /// The types of all claims of workloads that policies may read.
    pub(crate) fn claims(&self) -> BTreeMap<String, String> {
        let mapped = self.workloads.iter().flat_map(Workload::claims);
        mapped.map(|(claim, kind)| (claim.to_owned(), kind.to_owned())).collect()
    }
}

fn list<'a>(section: &mut Section<'a>, key: &'static str) -> Vec<Section<'a>> {
    section.field(key).map(|field| field.sections()).unwrap_or_default()
}

/// Policies see one schema: a claim that two issuers type differently has no place in it.
fn contradiction<'a>(claims: impl Iterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut claims = claims;
    let twice = claims
        .find(|(claim, kind)| seen.insert(claim, kind).is_some_and(|earlier| earlier != *kind));
    twice.map(|(claim, _)| claim)
}

fn twice<'a>(all: impl Iterator<Item = &'a Spiffe>) -> Vec<&'a TrustDomain> {
    let mut seen = BTreeSet::new();
    all.map(Spiffe::domain).filter(|domain| !seen.insert(*domain)).collect()
}

/// A provider's name is part of every principal's id, so it must be unique and without a colon.
pub(super) fn provider_name(
    section: &mut Section<'_>,
    names: &mut BTreeSet<String>,
) -> Option<String> {
    let field = section.required("name")?;
    let name = field.text()?.to_owned();
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        let help = Some("use letters, digits, `-`, `_` and `.`".into());
        field.error(format!("`{name}` cannot name a provider"), help);
        return None;
    }
    if name == DECISIONS {
        let help = Some("choose another".into());
        field.error(
            format!("`{name}` is what systems under `connectors.decisions` are known by"),
            help,
        );
        return None;
    }
    if !names.insert(name.clone()) {
        let help = Some("principals are told apart by this name: choose another".into());
        field.error(format!("two providers are called `{name}`"), help);
        return None;
    }
    Some(name)
}

impl Workload {
    fn read(mut section: Section<'_>, demo: bool, names: &mut BTreeSet<String>) -> Option<Self> {
        let name = provider_name(&mut section, names);
        let (jwt, opaque) = (section.field("jwt"), section.field("introspection"));
        let spiffe = ["mtls", "jwt_svid"].map(|key| section.field(key).is_some()).contains(&true);
        let kinds = [jwt.is_some(), opaque.is_some(), spiffe];
        let is_one = kinds.into_iter().filter(|there| *there).count() == 1;
        if !is_one {
            let help = "write `jwt`, `introspection`, or `mtls` and `jwt_svid` of one trust domain";
            section.error("an entry is for one kind of workload".into(), Some(help.into()));
        }
        let jwt = jwt.as_ref().map(Jwt::read);
        let introspection = opaque.as_ref().map(|field| Introspection::read(field, demo));
        let spiffe = spiffe.then(|| Spiffe::read(&mut section));
        section.finish();
        // What is there and has a mistake is not the same as what is not there.
        let sound = !matches!(jwt, Some(None))
            && !matches!(introspection, Some(None))
            && !matches!(spiffe, Some(None));
        let (jwt, introspection, spiffe) =
            (jwt.flatten(), introspection.flatten(), spiffe.flatten());
        let workload = Self { name: name?, jwt, introspection, spiffe };
        (is_one && sound).then_some(workload)
    }

    /// How its workloads prove who they are, as policies see it.
    fn method(&self) -> AuthMethod {
        match &self.spiffe {
            Some(spiffe) if spiffe.mtls.is_some() => AuthMethod::Mtls,
            None if self.introspection.is_some() => AuthMethod::Introspection,
            Some(_) | None => AuthMethod::Jwt,
        }
    }

    /// The claims that policies may read, and their types.
    fn claims(&self) -> impl Iterator<Item = (&str, &str)> {
        let opaque = self.introspection.iter().map(|opaque| &opaque.mapping);
        let mapping = self.jwt.iter().map(|jwt| &jwt.mapping).chain(opaque);
        let mapped = mapping.flat_map(|mapping| &mapping.claims);
        let own = self.spiffe.as_ref().map(|_| (Mesh::ATTRIBUTE, "String"));
        mapped.map(|(claim, kind)| (claim.as_str(), kind.as_str())).chain(own)
    }
}

impl Jwt {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let ci = section.field("ci");
        let is_ci = ci.is_some();
        let ci = ci.and_then(|field| Ci::read(&field));
        let preset = ci.as_ref().map(|ci| CiSystem::from(ci.system).preset());
        let issuer = issuer(&mut section, preset.and_then(|preset| preset.issuer));
        let audience = section.required("audience").and_then(|f| f.text().map(str::to_owned));
        let mapping = Mapping::read(&mut section, preset);
        let endpoint_hosts = section.field("endpoint_hosts").map(|field| field.texts());
        let endpoint_hosts = endpoint_hosts.unwrap_or_default();
        let refresh = section.field("refresh");
        let refresh = refresh.map_or(Some(Window::minutes(5)), |field| field.parsed());
        if let (Some(preset), Some(issuer), Some(mapping)) = (preset, &issuer, &mapping) {
            check_anchor(&section, preset, issuer, &mapping.require);
        }
        section.finish();
        let jwt = Self {
            ci,
            issuer: issuer?,
            audience: audience?,
            mapping: mapping?,
            endpoint_hosts,
            refresh: refresh?,
        };
        (jwt.ci.is_some() == is_ci).then_some(jwt)
    }
}

fn issuer(section: &mut Section<'_>, shared: Option<&'static str>) -> Option<IssuerUrl> {
    match (section.field("issuer"), shared) {
        (Some(field), _) => field.parsed(),
        (None, Some(url)) => url.parse().ok(),
        // Says that it is missing.
        (None, None) => section.required("issuer").and_then(|field| field.parsed()),
    }
}

/// An issuer that many share signs for whoever has an account there.
fn check_anchor(
    section: &Section<'_>,
    preset: CiPreset,
    issuer: &IssuerUrl,
    require: &BTreeMap<String, Wanted>,
) {
    let shared = preset.shared == Some(issuer.as_str());
    if shared && !preset.anchors.iter().any(|anchor| require.contains_key(*anchor)) {
        let help = format!("require at least one of {}", preset.anchors.join(", "));
        let message = format!("{issuer} signs for everybody who has an account there");
        section.error(message, Some(help));
    }
}

impl Workload {
    /// What the identity crate checks tokens by, if it is an issuer's.
    pub(crate) fn issuer(&self) -> Option<JwtIssuer> {
        let jwt = self.jwt.clone()?;
        Some(JwtIssuer {
            name: self.name.clone(),
            issuer: jwt.issuer,
            audience: jwt.audience,
            mapping: jwt.mapping.mapping(),
            endpoint_hosts: jwt.endpoint_hosts,
            refresh_every: Some(jwt.refresh.get()),
            ci: jwt.ci.as_ref().map(Ci::jobs),
        })
    }
}

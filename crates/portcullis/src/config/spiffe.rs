//! `mtls`, `jwt_svid` and `workload_api`: workloads that SPIFFE names.

use std::{path::PathBuf, sync::Arc};

use indexmap::IndexMap;
use portcullis_identity::{
    Rule,
    spiffe::{Mesh, SvidTokens, TrustDomain},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    mapping::{group_rules, groups},
    section::{Field, Section},
};

/// What the workloads of one trust domain present: certificates, tokens, or either.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Spiffe {
    /// X509-SVIDs, at listeners that believe the domain's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtls: Option<Mtls>,
    /// JWT-SVIDs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwt_svid: Option<JwtSvid>,
    /// Groups by name: `path=/ns/payments/sa/api` or `spiffe_id=spiffe://…` to a list of groups.
    pub(crate) groups: IndexMap<String, Vec<String>>,
    #[serde(skip)]
    domain: TrustDomain,
}

/// Workloads by client certificate.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Mtls {
    /// The trust domain: `prod.example.com`. A workload is `Workload::"<name>:<path>"`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) spiffe_trust_domain: TrustDomain,
}

/// Workloads by token.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct JwtSvid {
    /// The trust domain: `prod.example.com`. A workload is `Workload::"<name>:<path>"`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) spiffe_trust_domain: TrustDomain,
    /// The audience that `aud` must hold.
    pub(crate) audience: String,
    /// The domain's keys, as a JWKS file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bundle: Option<PathBuf>,
    /// The domain's keys come from the Workload API.
    pub(crate) workload_api: bool,
}

impl Spiffe {
    /// Of an entry that has `mtls`, `jwt_svid` or both.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let (mtls, jwt_svid) = (section.field("mtls"), section.field("jwt_svid"));
        let groups = section.field("groups");
        let mtls = mtls.map(|field| Mtls::read(&field));
        let jwt_svid = jwt_svid.map(|field| JwtSvid::read(&field));
        let groups = groups.map(|field| spiffe_groups(&field)).unwrap_or_default();
        // What is there and has a mistake is not the same as what is not there.
        if matches!(mtls, Some(None)) || matches!(jwt_svid, Some(None)) {
            return None;
        }
        let (mtls, jwt_svid) = (mtls.flatten(), jwt_svid.flatten());
        let domains = (
            mtls.as_ref().map(|mtls| &mtls.spiffe_trust_domain),
            jwt_svid.as_ref().map(|svid| &svid.spiffe_trust_domain),
        );
        let domain = match domains {
            (Some(one), Some(other)) if one != other => {
                let help = Some("make two entries, with a name each".into());
                section.error(format!("an entry of two trust domains, {one} and {other}"), help);
                return None;
            }
            (one, other) => one.or(other)?.clone(),
        };
        Some(Self { mtls, jwt_svid, groups, domain })
    }

    /// The domain that vouches.
    pub(crate) fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// How its workloads are named, under the name of its entry.
    pub(crate) fn mesh(&self, name: &str) -> Arc<Mesh> {
        let (name, domain) = (name.to_owned(), self.domain.clone());
        Arc::new(Mesh { name, domain, groups: group_rules(&self.groups) })
    }

    /// The tokens that are accepted, if any.
    pub(crate) fn tokens(&self, name: &str) -> Option<SvidTokens> {
        let svid = self.jwt_svid.as_ref()?;
        Some(SvidTokens { mesh: self.mesh(name), audience: svid.audience.clone() })
    }
}

impl Mtls {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let domain = section.required("spiffe_trust_domain").and_then(|field| field.parsed());
        section.finish();
        Some(Self { spiffe_trust_domain: domain? })
    }
}

impl JwtSvid {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let domain = section.required("spiffe_trust_domain").and_then(|field| field.parsed());
        let audience = section.required("audience").and_then(|f| f.text().map(str::to_owned));
        let bundle = section.field("bundle").and_then(|f| f.text().map(PathBuf::from));
        let api = section.field("workload_api").map_or(Some(false), |field| field.boolean());
        if bundle.is_some() == (api == Some(true)) {
            let help = Some("write `bundle: keys.json`, or `workload_api: true`".into());
            section.error("the trust domain's keys need exactly one source".into(), help);
        }
        section.finish();
        Some(Self { spiffe_trust_domain: domain?, audience: audience?, bundle, workload_api: api? })
    }
}

fn spiffe_groups(field: &Field<'_>) -> IndexMap<String, Vec<String>> {
    for (condition, value) in field.pairs() {
        let rule = Rule::parse(&condition, Vec::new());
        if rule.is_ok_and(|rule| rule.claims().any(|claim| !Mesh::CLAIMS.contains(&claim))) {
            let help = Some("write it like \"path=/ns/payments/sa/api\": [callers]".into());
            value.error(format!("`{condition}` asks for neither path nor spiffe_id"), help);
        }
    }
    groups(field)
}

/// The socket of the SPIFFE Workload API, written as its specification does: `unix:///run/agent.sock`.
pub(super) fn workload_api(field: &Field<'_>) -> Option<PathBuf> {
    let text = field.text()?;
    let path = text.strip_prefix("unix:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    let path = path.filter(|path| path.starts_with('/'));
    if path.is_none() {
        let help = Some("write it like unix:///run/spire/agent.sock".into());
        field.error(format!("`{text}` is not the address of a Unix socket"), help);
    }
    path.map(PathBuf::from)
}

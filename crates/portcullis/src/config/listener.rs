//! `listeners`: where traffic enters the gate.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use portcullis_identity::spiffe::TrustDomain;
use portcullis_proxy::Direct;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    direct,
    identity::Identity,
    proxy_protocol::ProxyProtocol,
    section::{Field, Section},
    spot::Spot,
};

/// One listener.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Listener {
    /// Its name, for logs and metrics.
    pub(crate) name: String,
    /// Where it listens.
    #[schemars(with = "String")]
    pub(crate) address: SocketAddr,
    /// With TLS, or in clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ListenerTls>,
    /// Load balancers that say whose connections they pass on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    /// A direct port: connections lead to this TCP service, and no HTTP is spoken. `sni`: to the one that has
    /// the server name of the TLS handshake among its hosts.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "direct::shown")]
    pub(crate) tcp: Option<Direct>,
}

/// What a listener presents, and whose client certificates it believes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ListenerTls {
    /// A certificate and its key from files; without them, `workload_api` holds `svid`.
    #[serde(flatten)]
    pub(crate) files: Option<Tls>,
    /// The authorities of client certificates, as PEM files: one, or one for each trust domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_ca: Option<ClientCa>,
    /// What comes from the Workload API: `svid`, `bundles`, or both.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) workload_api: BTreeSet<FromWorkloadApi>,
    #[serde(skip)]
    pub(crate) spot: Spot,
}

/// The authorities of client certificates.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ClientCa {
    /// Of the only trust domain.
    Only(PathBuf),
    /// Of each trust domain.
    #[schemars(with = "BTreeMap<String, PathBuf>")]
    Each(#[serde(serialize_with = "by_name")] BTreeMap<TrustDomain, PathBuf>),
}

/// What the Workload API gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FromWorkloadApi {
    /// Our own certificate and key.
    Svid,
    /// The authorities of all trust domains.
    Bundles,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Tls {
    /// The chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// The private key.
    pub(crate) key: PathBuf,
}

impl Listener {
    /// Reads one; `identity` says which trust domains there are.
    pub(super) fn read(mut section: Section<'_>, identity: Option<&Identity>) -> Option<Self> {
        let name = section.required("name").and_then(|field| name(&field));
        let address = section.required("address").and_then(|field| socket_address(&field));
        let tls = section.field("tls").and_then(|field| ListenerTls::read(&field, identity));
        let proxies = section.field("proxy_protocol");
        let proxy_protocol = proxies.and_then(|field| ProxyProtocol::read(&field));
        let tcp = section.field("tcp").and_then(|field| direct::read(&field, tls.as_ref()));
        section.finish();
        Some(Self { name: name?, address: address?, tls, proxy_protocol, tcp })
    }
}

/// Sockets are handed over by name, and one of these names is taken.
fn name(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    if name == "control" {
        let help = Some("give the listener another name".into());
        field.error("`control` is what the control API is called".into(), help);
        return None;
    }
    Some(name.to_owned())
}

impl ListenerTls {
    /// Whether a certificate of `domain` may be presented here.
    pub(crate) fn believes(&self, domain: &TrustDomain) -> bool {
        match &self.client_ca {
            Some(ClientCa::Only(_)) => true,
            Some(ClientCa::Each(files)) => files.contains_key(domain),
            None => self.takes(FromWorkloadApi::Bundles),
        }
    }

    /// Whether any client certificate is believed here.
    pub(crate) fn believes_somebody(&self) -> bool {
        self.client_ca.is_some() || self.takes(FromWorkloadApi::Bundles)
    }

    /// Whether the Workload API gives it `what`.
    pub(crate) fn takes(&self, what: FromWorkloadApi) -> bool {
        self.workload_api.contains(&what)
    }

    fn read(field: &Field<'_>, identity: Option<&Identity>) -> Option<Self> {
        let mut section = field.section()?;
        let api = section.field("workload_api");
        let workload_api = api.as_ref().map(from_workload_api).unwrap_or_default();
        let files = if workload_api.contains(&FromWorkloadApi::Svid) {
            for key in ["certificate", "key"] {
                if let Some(field) = section.field(key) {
                    let help = Some("keep either the files or `svid`".into());
                    field.error("the certificate has two sources".into(), help);
                }
            }
            None
        } else {
            Some(Tls::in_section(&mut section)?)
        };
        let given = section.field("client_ca");
        let client_ca = given.as_ref().and_then(client_ca);
        section.finish();
        let tls = Self { files, client_ca, workload_api, spot: Spot::of(field) };
        if let Some(identity) = identity {
            tls.check(identity, given.as_ref(), api.as_ref());
        }
        Some(tls)
    }

    /// Whose certificates are believed must be known by name, and by one source.
    fn check(&self, identity: &Identity, given: Option<&Field<'_>>, api: Option<&Field<'_>>) {
        let domains: Vec<&TrustDomain> = identity.certified_domains().collect();
        let bundles = api.filter(|_| self.takes(FromWorkloadApi::Bundles));
        if let (Some(given), Some(_)) = (given, bundles) {
            let help = Some("keep either `client_ca` or `bundles`".into());
            given.error("the authorities of clients have two sources".into(), help);
        }
        if let Some(field) = given.or(bundles)
            && domains.is_empty()
        {
            let help = "add an entry with `mtls: {spiffe_trust_domain: …}` to `identity.workloads`";
            let message = "client certificates are accepted, and no trust domain is configured";
            field.error(message.into(), Some(help.into()));
        }
        if let Some(api) = api
            && identity.workload_api.is_none()
        {
            let help = "add `workload_api: unix:///run/spire/agent.sock` to `identity`";
            api.error("no Workload API is configured".into(), Some(help.into()));
        }
        match (&self.client_ca, given) {
            (Some(ClientCa::Only(_)), Some(given)) if domains.len() > 1 => {
                let names: Vec<String> =
                    domains.iter().map(|domain| format!("{domain}: {domain}.pem")).collect();
                let help = format!("write client_ca: {{{}}}", names.join(", "));
                let message = "one file cannot vouch for several trust domains";
                given.error(message.into(), Some(help));
            }
            (Some(ClientCa::Each(files)), Some(given)) => {
                for domain in files.keys().filter(|domain| !domains.contains(domain)) {
                    let help = "add an entry with `mtls` to `identity.workloads`";
                    let message = format!("the trust domain `{domain}` is not configured");
                    given.error(message, Some(help.into()));
                }
            }
            _ => {}
        }
    }
}

fn client_ca(field: &Field<'_>) -> Option<ClientCa> {
    if let Some(path) = field.as_text().filter(|path| !path.is_empty()) {
        return Some(ClientCa::Only(PathBuf::from(path)));
    }
    let files = field.pairs().into_iter().filter_map(|(domain, path)| {
        let parsed = domain.parse::<TrustDomain>();
        let parsed = parsed.map_err(|error| path.error(error.to_string(), None)).ok();
        Some((parsed?, PathBuf::from(path.text()?)))
    });
    let files: BTreeMap<_, _> = files.collect();
    (!files.is_empty()).then_some(ClientCa::Each(files))
}

pub(super) fn from_workload_api(field: &Field<'_>) -> BTreeSet<FromWorkloadApi> {
    let known = [("svid", FromWorkloadApi::Svid), ("bundles", FromWorkloadApi::Bundles)];
    let found: BTreeSet<_> = field.list().iter().filter_map(|item| item.one_of(&known)).collect();
    if found.is_empty() {
        let help = Some("write [svid], [bundles] or [svid, bundles], or take it out".into());
        field.error("nothing is taken from the Workload API".into(), help);
    }
    found
}

fn by_name<S: serde::Serializer>(
    files: &BTreeMap<TrustDomain, PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(files.iter().map(|(domain, path)| (domain.as_str(), path)))
}

impl Tls {
    /// A section with a certificate and its key, and nothing else.
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let tls = Self::in_section(&mut section);
        section.unsupported("client_ca");
        section.finish();
        tls
    }

    fn in_section(section: &mut Section<'_>) -> Option<Self> {
        let certificate = section.required("certificate").and_then(|f| f.text().map(PathBuf::from));
        let key = section.required("key").and_then(|f| f.text().map(PathBuf::from));
        Some(Self { certificate: certificate?, key: key? })
    }
}

pub(super) fn socket_address(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.text()?;
    let parsed = text.parse();
    if parsed.is_err() {
        let help = Some("write it like 127.0.0.1:8080 or [::1]:8080".into());
        field.error(format!("`{text}` is not an address with a port"), help);
    }
    parsed.ok()
}

//! `services[].upstream.tls`: how instances prove who they are, and the gate to them.

use std::path::PathBuf;

use portcullis_identity::spiffe::Wanted;
use portcullis_policy::{
    LoadError,
    edge::{self, Authorities, OwnCertificate},
};
use rustls_pki_types::ServerName;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    identity::Identity,
    listener::{FromWorkloadApi, Tls, from_workload_api},
    section::{Field, Problems},
    service::Service,
    spot::Spot,
};

/// TLS to the instances of a service, all of which have `https://` URLs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct UpstreamTls {
    /// Who certifies instances: a PEM file, or `system` for those that the machine believes, which is
    /// the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// What the gate presents, from files; without them and `svid`, it presents nothing.
    #[serde(flatten)]
    pub(crate) files: Option<Tls>,
    /// What comes from the Workload API: `svid`, which the gate presents; `bundles`, which certify.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) workload_api: Vec<FromWorkloadApi>,
    /// The workload that an instance must be, `spiffe://prod.example.com/ns/shop/sa/api`, or the trust
    /// domain that it must be of, `spiffe://prod.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe_id: Option<String>,
    /// The name to ask for instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
    #[serde(skip)]
    pub(crate) spot: Spot,
}

/// The word for the machine's own authorities.
const SYSTEM: &str = "system";

impl UpstreamTls {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let given = section.field("ca");
        let ca = given.as_ref().and_then(Field::text);
        let api = section.field("workload_api");
        let workload_api: Vec<_> =
            api.as_ref().map(from_workload_api).unwrap_or_default().into_iter().collect();
        let (certificate, key) = (section.field("certificate"), section.field("key"));
        let own = [certificate, key];
        if let (Some(field), true) =
            (own.iter().flatten().next(), workload_api.contains(&FromWorkloadApi::Svid))
        {
            let help = Some("keep either the files or `svid`".into());
            field.error("the gate's own certificate has two sources".into(), help);
        }
        let [certificate, key] = own.map(|field| field.and_then(|f| f.text().map(PathBuf::from)));
        let files = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
            (None, None) => None,
            _ => {
                let help = Some("write `certificate: gate.crt, key: gate.key`".into());
                section.error("`certificate` and `key` go together".into(), help);
                None
            }
        };
        let wanted = section.field("spiffe_id");
        let spiffe_id = wanted.as_ref().and_then(|f| f.parsed::<Wanted>().and(f.text()));
        let bundles = workload_api.contains(&FromWorkloadApi::Bundles);
        match (&given, &api) {
            (Some(given), Some(_)) if bundles => {
                let help = Some("keep either `ca` or `bundles`".into());
                given.error("the authorities of instances have two sources".into(), help);
            }
            (_, Some(api)) if bundles && wanted.is_none() => {
                let help = "add `spiffe_id: spiffe://…`: it says which trust domain's they are";
                let message = "bundles certify workloads, and none is wanted";
                api.error(message.into(), Some(help.into()));
            }
            _ => {}
        }
        if let Some(wanted) = wanted.as_ref()
            && !bundles
            && ca.is_none_or(|ca| ca == SYSTEM)
        {
            let help = "add `ca: mesh-ca.crt` or `workload_api: [bundles]`";
            let message = "a SPIFFE ID is worth nothing without its trust domain's authorities";
            wanted.error(message.into(), Some(help.into()));
        }
        let server_name = section.field("server_name").and_then(|field| server_name(&field));
        section.finish();
        Some(Self {
            ca: ca.filter(|ca| *ca != SYSTEM).map(PathBuf::from),
            files,
            workload_api,
            spiffe_id: spiffe_id.map(str::to_owned),
            server_name,
            spot: Spot::of(field),
        })
    }

    /// As the bundle has it.
    pub(crate) fn source(&self) -> edge::UpstreamTls {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let takes = |what| self.workload_api.contains(&what);
        let authorities = match &self.ca {
            Some(path) => Authorities::File(text(path)),
            None if takes(FromWorkloadApi::Bundles) => Authorities::WorkloadApi,
            None => Authorities::System,
        };
        let own = match &self.files {
            Some(Tls { certificate, key }) => {
                Some(OwnCertificate::Files { certificate: text(certificate), key: text(key) })
            }
            None => takes(FromWorkloadApi::Svid).then_some(OwnCertificate::WorkloadApi),
        };
        let (spiffe_id, server_name) = (self.spiffe_id.clone(), self.server_name.clone());
        edge::UpstreamTls { authorities, own, spiffe_id, server_name }
    }
}

/// What comes from the Workload API needs one.
pub(super) fn check(services: &[Service], identity: &Identity, problems: &Problems) {
    if identity.workload_api.is_some() {
        return;
    }
    for service in services {
        let tls = service.upstream.tls.as_ref();
        if tls.is_some_and(|tls| !tls.workload_api.is_empty()) {
            let (file, line) = service.place.clone();
            problems.push(LoadError {
                file,
                line,
                column: None,
                snippet: None,
                message: format!(
                    "`upstream.tls` of `{}` wants the Workload API, and none is configured",
                    service.name
                ),
                help: Some("add `workload_api: unix:///run/spire/agent.sock` to `identity`".into()),
            });
        }
    }
}

fn server_name(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    if ServerName::try_from(name).is_err() {
        let help = Some("write it like payments.internal".into());
        field.error(format!("`{name}` is not the name of a server"), help);
        return None;
    }
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    fn with(url: &str, tls: &str) -> String {
        let upstream = r#"{url: "http://127.0.0.1:9000"}"#;
        SOUND.replace(upstream, &format!("{{url: \"{url}\", tls: {tls}}}"))
    }

    const ID: &str = "spiffe_id: \"spiffe://prod.example.com/api\"";

    #[test]
    fn upstreams_are_certified_by_files_the_machine_or_the_workload_api() {
        let api = "policies: policies";
        let socket = "  workload_api: \"unix:///run/agent.sock\"\npolicies: policies";
        for tls in [
            "{ca: mesh.crt}",
            "{ca: system, server_name: payments.internal}",
            "{certificate: gate.crt, key: gate.key}",
            &format!("{{ca: mesh.crt, certificate: gate.crt, key: gate.key, {ID}}}"),
            &format!("{{workload_api: [bundles], {ID}}}"),
            "{workload_api: [svid, bundles], spiffe_id: \"spiffe://prod.example.com\"}",
            "{workload_api: [svid], ca: mesh.crt}",
        ] {
            let with_agent = if tls.contains("workload_api") { socket } else { api };
            let text = with("https://127.0.0.1:9000", tls).replace(api, with_agent);
            let loaded = loaded(&text).unwrap_or_else(|error| panic!("{tls}: {error}"));
            assert!(loaded.bundle.services[0].edge.upstream_tls.is_some(), "{tls}");
            serde_json::to_string(&loaded.config).expect("it can be shown");
        }
    }

    #[test]
    fn f16_what_would_be_less_than_it_says_does_not_load() {
        let https = "https://127.0.0.1:9000";
        for (url, tls, message) in [
            ("http://127.0.0.1:9000", "{ca: mesh.crt}", "nothing falls back to clear text"),
            ("h2c://127.0.0.1:9000", "{ca: mesh.crt}", "`main` at h2c://127.0.0.1:9000 has no TLS"),
            (https, "{certificate: gate.crt}", "`certificate` and `key` go together"),
            (https, &format!("{{{ID}}}"), "worth nothing without its trust domain's authorities"),
            (https, &format!("{{ca: system, {ID}}}"), "worth nothing without its trust domain"),
            (https, "{ca: a, spiffe_id: \"prod.example.com\"}", "the name is not a SPIFFE ID"),
            (https, "{workload_api: [bundles]}", "bundles certify workloads, and none is wanted"),
            (https, &format!("{{ca: a, workload_api: [bundles], {ID}}}"), "have two sources"),
            (
                https,
                "{workload_api: [svid], certificate: a, key: b}",
                "the gate's own certificate has two sources",
            ),
            (https, "{workload_api: [svid], ca: a}", "wants the Workload API, and none"),
            (https, "{server_name: \"a b\"}", "`a b` is not the name of a server"),
            (https, "{insecure: true}", "unknown key `insecure`"),
        ] {
            let shown = refused(&with(url, tls));
            assert!(shown.contains(message), "{tls}: {shown}");
        }
    }
}

//! `listeners[].tcp`: direct ports, on which a TCP service is spoken to at once.

use portcullis_policy::LoadError;
use portcullis_proxy::Direct;
use serde::Serializer;

use super::{
    document::Document,
    listener::{Listener, ListenerTls},
    section::{Field, Problems},
    service::Service,
};

const SERVER_NAME: &str = "sni";

/// Reads where a port leads. Whoever connects has a certificate and no other way to say who they are.
pub(super) fn read(field: &Field<'_>, tls: Option<&ListenerTls>) -> Option<Direct> {
    let to = match field.text()? {
        SERVER_NAME => Direct::ServerName,
        _ => Direct::Service(field.parsed()?),
    };
    if !tls.is_some_and(ListenerTls::believes_somebody) {
        let help = "add `tls` with `client_ca`, or with `workload_api: [bundles]`".to_owned();
        field.error(
            "a direct port knows its callers by their certificates alone".into(),
            Some(help),
        );
    }
    Some(to)
}

/// The services that ports lead to must be there, and speak TCP. Should a later bundle be without one, its
/// port refuses.
pub(super) fn check(
    listeners: &[Listener],
    services: &[Service],
    document: &Document,
    problems: &Problems,
) {
    for listener in listeners {
        let wrong = listener.tcp.as_ref().and_then(|to| wrong_with(to, services));
        if let Some(what) = wrong {
            let name = &listener.name;
            problems.push(LoadError {
                file: document.file.clone(),
                line: None,
                column: None,
                snippet: None,
                message: format!("the direct port `{name}` leads nowhere: {what}"),
                help: Some("name a service whose instances are tcp:// or tls://".into()),
            });
        }
    }
}

fn wrong_with(to: &Direct, services: &[Service]) -> Option<String> {
    match to {
        Direct::ServerName if services.iter().any(|service| service.tcp.is_some()) => None,
        Direct::ServerName => Some("no service speaks TCP".to_owned()),
        Direct::Service(name) => match services.iter().find(|service| service.name == *name) {
            None => Some(format!("there is no service `{name}`")),
            Some(service) if service.tcp.is_some() => None,
            Some(_) => Some(format!("service `{name}` speaks HTTP, and not TCP")),
        },
    }
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(super) fn shown<S: Serializer>(
    direct: &Option<Direct>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match direct {
        Some(Direct::Service(name)) => serializer.serialize_str(name.as_str()),
        Some(Direct::ServerName) => serializer.serialize_str(SERVER_NAME),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};
    use super::*;

    const SERVICE: &str = r#"
  - name: ledger-db
    hosts: [ledger-db.example.com]
    upstream: {url: "tcp://10.0.0.5:5432"}
"#;
    const TLS: &str = "tls: {certificate: a.crt, key: a.key, client_ca: ca.crt}";

    fn with(listener: &str, service: &str) -> String {
        let before = "control: {";
        let identity = "identity:\n";
        let mesh = "identity:\n  workloads:\n    - {name: mesh, mtls: {spiffe_trust_domain: prod.example.com}}\n";
        let text = SOUND.replacen(identity, mesh, 1);
        let listener =
            format!("  - {{name: db, address: \"127.0.0.1:5432\", {listener}}}\n{before}");
        format!("{}{service}", text.replacen(before, &listener, 1))
    }

    #[test]
    fn a_port_leads_to_a_service_or_wherever_its_server_name_says() {
        let read = |tcp: &str| {
            let loaded = loaded(&with(&format!("{TLS}, tcp: {tcp}"), SERVICE)).expect("loads");
            loaded.config.listeners[1].tcp.clone()
        };
        let name = "ledger-db".parse().expect("a name");
        assert_eq!(read("ledger-db"), Some(Direct::Service(name)));
        assert_eq!(read("sni"), Some(Direct::ServerName));
    }

    #[test]
    fn nobody_connects_without_a_certificate_and_no_port_leads_nowhere() {
        for (listener, service, message) in [
            ("tcp: ledger-db".to_owned(), SERVICE, "by their certificates alone"),
            ("tls: {certificate: a, key: b}, tcp: sni".to_owned(), SERVICE, "certificates alone"),
            (format!("{TLS}, tcp: ledger"), SERVICE, "there is no service `ledger`"),
            (format!("{TLS}, tcp: payments"), SERVICE, "service `payments` speaks HTTP"),
            (format!("{TLS}, tcp: sni"), "", "no service speaks TCP"),
        ] {
            let shown = refused(&with(&listener, service));
            assert!(shown.contains(message), "{listener}: {shown}");
        }
    }
}

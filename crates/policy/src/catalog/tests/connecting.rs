//! TCP services: one operation, found by host alone, and nothing of HTTP about it.

use std::collections::BTreeMap;

use portcullis_model::Window;
use proptest::prelude::*;

use super::{Catalog, ServiceSource, errors, service};
use crate::{
    Bundle, BundleSource, PolicySource,
    bundle::{OperationGroup, OperationsSource, TcpLimits},
    upstream::{DnsName, DnsSource, UpstreamSource},
};

fn database() -> ServiceSource {
    let limits = TcpLimits { idle: Window::minutes(60), max_bytes: None };
    let instances = [("db-1", "tcp://10.0.0.5:5432"), ("db-2", "tls://db.example.com:5432")];
    ServiceSource {
        instances: instances.map(|(name, url)| (name.parse().unwrap(), url.to_owned())).into(),
        ..service("ledger-db", OperationsSource::Connect(limits))
    }
}

fn load(when: &str) -> Result<Bundle, String> {
    let text = format!(
        "@id(\"p\") permit (principal is User, action in Action::\"write\", resource in Service::\"ledger-db\") when {{ {when} }};"
    );
    let source = BundleSource {
        policies: vec![PolicySource { path: "p.cedar".to_owned(), text }],
        services: vec![database(), service("payments", OperationsSource::Methods)],
        ..BundleSource::default()
    };
    Bundle::load(&source).map_err(|errors| format!("{errors:#?}"))
}

#[test]
fn its_one_operation_is_to_connect() {
    let catalog = Catalog::load(&[database()]).unwrap();
    let service = catalog.services().next().unwrap();
    let names: Vec<&str> = service.operations().map(|one| one.name().as_str()).collect();
    assert_eq!(names, ["ledger-db.connect"]);
    assert_eq!(service.connect().unwrap().group(), OperationGroup::Write);
    for method in super::super::declared::METHODS {
        assert!(service.matching(method, "/").is_none(), "{method}");
    }
    let http = Catalog::load(&[service_with_methods()]).unwrap();
    assert!(http.services().next().unwrap().connect().is_none());
    let mut reading = database();
    reading.groups = BTreeMap::from([("connect".to_owned(), OperationGroup::Read)]);
    let catalog = Catalog::load(&[reading]).unwrap();
    let group = catalog.services().next().unwrap().connect().unwrap().group();
    assert_eq!(group, OperationGroup::Read);
}

fn service_with_methods() -> ServiceSource {
    service("payments", OperationsSource::Methods)
}

#[test]
fn a_connection_is_never_held_and_a_rule_that_says_so_does_not_load() {
    let load = |head: &str| {
        let text =
            format!("@id(\"p\") @hold(\"2m\")\npermit ({head}) when {{ context has grant }};");
        let source = BundleSource {
            policies: vec![PolicySource { path: "p.cedar".to_owned(), text }],
            services: vec![database(), service_with_methods()],
            ..BundleSource::default()
        };
        Bundle::load(&source).err().unwrap_or_default()
    };
    for head in [
        "principal, action == Action::\"ledger-db.connect\", resource",
        "principal, action in [Action::\"ledger-db.connect\"], resource in Service::\"ledger-db\"",
        "principal, action in Action::\"write\", resource in Service::\"ledger-db\"",
    ] {
        let found = load(head);
        let [only] = found.as_slice() else { panic!("{head}: {found:#?}") };
        assert_eq!(only.message, "a connection to a TCP service is never held", "{head}");
        assert_eq!((only.line, only.column), (Some(1), Some(10)), "{head}");
        assert!(only.help.as_ref().unwrap().contains("--reason"));
    }
    // Requests to the other one are held.
    let both =
        "principal, action in [Action::\"ledger-db.connect\", Action::\"payments.POST\"], resource";
    assert_eq!(load(both), []);
}

#[test]
fn what_only_http_has_does_not_load() {
    type Change = (fn(&mut ServiceSource), &'static str);
    let changes: [Change; 5] = [
        (|source| source.path_prefix = Some("/a".into()), "`path_prefix` is for HTTP"),
        (|source| source.anonymous = true, "`anonymous` is for HTTP"),
        (|source| source.groups = [("GET".to_owned(), OperationGroup::Read)].into(), "`GET`"),
        (
            |source| drop(source.instances.insert("w".parse().unwrap(), "http://a:1".into())),
            "`http` is not tcp or tls",
        ),
        (
            |source| drop(source.instances.insert("w".parse().unwrap(), "tcp://a".into())),
            "lacks a host or a port",
        ),
    ];
    for (change, message) in changes {
        let mut source = database();
        change(&mut source);
        let found = errors(&[source]);
        assert!(found.iter().any(|error| error.message.contains(message)), "{message}: {found:#?}");
    }
    let mut web = service_with_methods();
    web.instances.insert("w".parse().unwrap(), "tcp://10.0.0.5:1".to_owned());
    assert!(errors(&[web])[0].message.contains("`tcp` is not http, https or h2c"));
}

#[test]
fn instances_that_are_found_speak_what_the_service_speaks() {
    let found = |source: ServiceSource, scheme: &str| {
        let second = Window::new(std::time::Duration::from_secs(1)).unwrap();
        let dns = DnsSource {
            name: DnsName::Srv("_pg._tcp.db.internal".to_owned()),
            scheme: scheme.to_owned(),
            servers: Vec::new(),
            refresh: (second, second),
        };
        let upstream = UpstreamSource { dns: Some(dns), ..UpstreamSource::default() };
        let source = ServiceSource { instances: [].into(), upstream, ..source };
        Catalog::load(&[source]).err().unwrap_or_default()
    };
    for scheme in ["tcp", "tls"] {
        assert!(found(database(), scheme).is_empty(), "{scheme}");
        assert!(found(service_with_methods(), scheme)[0].message.contains("not http or https"));
    }
    for scheme in ["http", "https", "h2c"] {
        assert!(found(service_with_methods(), scheme).is_empty(), "{scheme}");
        assert!(found(database(), scheme)[0].message.contains("not tcp or tls"));
    }
}

#[test]
fn a_policy_that_reads_http_of_a_connection_does_not_load() {
    let shown = load("context.http.path == \"/\"").unwrap_err();
    assert!(shown.contains("http"), "{shown}");
    load("context has http && context.http.path == \"/\"").unwrap();
    load("context.source.ip.isLoopback()").unwrap();
}

proptest! {
    /// No name leads to it but its own, and those of its instances.
    #[test]
    fn only_its_own_names_lead_to_it(
        first in "[a-z]{1,3}|ledger|ledger-db|ledger-db--db-[0-9]|payments|payments--p-1",
        rest in prop_oneof![Just(".example.com"), Just(".example.org"), Just(""), Just(".example.com.")],
    ) {
        let services = [database(), service_with_methods()];
        let catalog = Catalog::load(&services).unwrap();
        let name = format!("{first}{rest}");
        let routed = catalog.route(&name, "/");
        let routed = routed.filter(|routed| routed.service.connect().is_some());
        let instance = routed.map(|routed| routed.instance.map(|one| one.as_str().to_owned()));
        let expected = match name.as_str() {
            "ledger-db.example.com" => Some(None),
            "ledger-db--db-1.example.com" => Some(Some("db-1".to_owned())),
            "ledger-db--db-2.example.com" => Some(Some("db-2".to_owned())),
            _ => None,
        };
        prop_assert_eq!(instance, expected);
    }
}

//! The Cedar schema of a bundle, generated from its services.
//!
//! What this version does not carry out is not in it, so that a policy which names it cannot load.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::{
    BundleSource, Catalog, ServiceSource,
    bundle::OperationGroup,
    catalog::{Operation, RecordType, Service, Type},
};

/// The three action groups that every service shares.
pub(crate) const GROUPS: [&str; 3] = ["read", "write", "admin"];

/// The schema's text.
pub(crate) fn generate(catalog: &Catalog, source: &BundleSource) -> String {
    let mut text = String::from(TYPES);
    let _ = writeln!(text, "type Labels = {{{}}};", labels(source));
    let _ = writeln!(
        text,
        "entity Workload in [Group] = {{ issuer: String{} }};",
        claims(&source.claims)
    );
    let _ = writeln!(
        text,
        "entity User in [Group] = {{ email?: String, onCall?: Set<Schedule>, amr: Set<String>{} }};",
        claims(&source.user_claims)
    );
    let clock = clock(source);
    // A policy that was written for people need not say so where nobody else can review.
    let reviewers = if source.decisions { "User, Workload" } else { "User" };
    let entities = ENTITIES.replace("REVIEWERS", reviewers);
    text.push_str(&entities.replace("auth: Auth }", &format!("auth: Auth{clock} }}")));
    // Where addresses are is known of requests at the gate alone.
    let place = if source.geo { "Place" } else { "Source" };
    text.push_str(&reveal(catalog, (place, &clock)));
    for service in catalog.services() {
        let name = service.source().name.as_str();
        let principals = principals(service.source());
        for group in GROUPS {
            let _ = writeln!(text, "action {} in [{group}];", quoted(&format!("{name}.{group}")));
        }
        for operation in service.operations() {
            action(&mut text, name, principals, operation, (place, &clock));
        }
    }
    text
}

const TYPES: &str = "\
type Grant = { kind: String, reviews: Long, expires: datetime, incident?: Incident };
type Source = { ip: ipaddr };
type Place = { ip: ipaddr, country?: String };
type Auth = { method: String, age: duration };
type Http = { method: String, path: String, host: String };
type Clock = { weekday: Long, minute: Long };
type Plain = { id: String };
";

const ENTITIES: &str = "\
entity Group;
entity Schedule;
entity Incident = {
  open: Bool, severity: String, services: Set<Service>, source: String, openedBy?: User,
  responders: Set<User>,
};
entity Anonymous;
entity Service = { labels: Labels };
entity Instance in [Service] = { labels: Labels };
entity DataClass in [DataClass, Service] = { labels: Labels };
entity AccessRequest = {
  requester: User, service: Service, actions: Set<String>, waited: duration, kind: String,
  incident?: Incident,
};
entity System;
action review appliesTo {
  principal: [REVIEWERS], resource: [AccessRequest],
  context: { now: datetime, source: Source, auth: Auth },
};
action reviewByChat appliesTo {
  principal: [User], resource: [AccessRequest],
  context: { now: datetime, source: Source, auth: Auth },
};
action revoke, viewConnections, sealCredential appliesTo {
  principal: [User], resource: [Service],
  context: { now: datetime, source: Source, auth: Auth },
};
action manageIncident, viewAudit, administer appliesTo {
  principal: [User, Workload], resource: [Service, System],
  context: { now: datetime, source: Source, auth: Auth },
};
action read, write, admin;
";

/// The group's name in Cedar.
pub(crate) const fn group_name(group: OperationGroup) -> &'static str {
    match group {
        OperationGroup::Read => "read",
        OperationGroup::Write => "write",
        OperationGroup::Admin => "admin",
    }
}

/// Who may ask: strangers only where the service lets them in, so that a policy which names them
/// elsewhere does not load.
const fn principals(service: &ServiceSource) -> &'static str {
    if service.anonymous { "User, Workload, Anonymous" } else { "User, Workload" }
}

/// To see a class of data; `operation` is what it is seen in.
fn reveal(catalog: &Catalog, (source, clock): (&str, &str)) -> String {
    let secret = |service: &&Service| service.sensitive().is_some();
    let mut services = catalog.services().filter(secret).map(Service::source);
    let strangers = services.any(|service| service.anonymous);
    let principals = if strangers { "User, Workload, Anonymous" } else { "User, Workload" };
    format!(
        "action reveal appliesTo {{\n  principal: [{principals}], resource: [DataClass],\n  \
         context: {{ now: datetime, source: {source}, auth: Auth, request: Plain, operation: String, \
         grant?: Grant{clock} }},\n}};\n",
    )
}

fn action(
    text: &mut String,
    service: &str,
    principals: &str,
    operation: &Operation,
    (source, clock): (&str, &str),
) {
    let group = format!("{service}.{}", group_name(operation.group()));
    let _ = writeln!(
        text,
        "action {} in [{}] appliesTo {{\n  principal: [{principals}], resource: [Service, Instance],\n  \
         context: {{ now: datetime, source: {source}, auth: Auth, request: Plain{}, grant?: Grant{clock}{}{} }},\n}};",
        quoted(operation.name().as_str()),
        quoted(&group),
        // A policy that reads of it what a connection does not have cannot load.
        if operation.is_connect() { "" } else { ", http: Http" },
        inspected("params", operation.params_type()),
        inspected("body", operation.body_type()),
    );
}

/// The named clocks, as one more attribute of a context.
fn clock(source: &BundleSource) -> String {
    let clocks: Vec<_> =
        source.clocks.keys().map(|name| format!("{}: Clock", quoted(name))).collect();
    if clocks.is_empty() { String::new() } else { format!(", clock: {{ {} }}", clocks.join(", ")) }
}

fn inspected(name: &str, ty: Option<&RecordType>) -> String {
    ty.map(|ty| format!(", {name}?: {}", record(ty))).unwrap_or_default()
}

fn record(ty: &RecordType) -> String {
    let fields: Vec<String> = ty
        .fields
        .iter()
        .map(|(name, field)| {
            let optional = if field.required { "" } else { "?" };
            format!("{}{optional}: {}", quoted(name), type_text(&field.ty))
        })
        .collect();
    format!("{{ {} }}", fields.join(", "))
}

fn type_text(ty: &Type) -> String {
    match ty {
        Type::Bool => "Bool".to_owned(),
        Type::Long => "Long".to_owned(),
        Type::String => "String".to_owned(),
        Type::Decimal => "decimal".to_owned(),
        Type::Set(ty) => format!("Set<{}>", type_text(ty)),
        Type::Record(ty) => record(ty),
    }
}

fn labels(source: &BundleSource) -> String {
    let used: BTreeSet<&String> =
        source.services.iter().flat_map(|service| service.labels.keys()).collect();
    let keys: BTreeMap<&String, bool> = if source.labels.is_empty() {
        used.into_iter().map(|key| (key, false)).collect()
    } else {
        source.labels.iter().map(|(key, required)| (key, *required)).collect()
    };
    let fields: Vec<String> = keys
        .into_iter()
        .map(|(key, required)| {
            format!("{}{}: String", quoted(key), if required { "" } else { "?" })
        })
        .collect();
    fields.join(", ")
}

fn claims(claims: &BTreeMap<String, String>) -> String {
    let fields = claims.iter().map(|(name, ty)| format!(", {}?: {ty}", quoted(name)));
    fields.collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

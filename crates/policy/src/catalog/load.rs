//! Loading: every service checked, every mistake collected, nothing compiled from a broken one.

use std::collections::BTreeMap;

use portcullis_model::{InstanceName, OperationName};
use url::Url;

use super::{
    Service, address,
    declared::{self, Draft, Place},
    hosts::{self, Addressed, Destination, Hosts},
    openapi,
    operation::Operation,
    protobuf::{self, SetSource},
    template,
};
use crate::{
    LoadError,
    bundle::{OperationGroup, OperationsSource, ServiceSource},
    sensitive::Sensitive,
};

/// Names of the groups of a service's operations; an operation cannot have one of them.
const GROUPS: [&str; 3] = ["read", "write", "admin"];

/// All services, sorted by name, and where they are found.
pub(super) fn load(sources: &[ServiceSource]) -> Result<(Vec<Service>, Hosts), Vec<LoadError>> {
    let mut errors = Vec::new();
    let mut sorted: Vec<&ServiceSource> = sources.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    for (first, second) in sorted.iter().zip(sorted.iter().skip(1)) {
        if first.name == second.name {
            errors.push(error(second, format!("there are two services `{}`", second.name), None));
        }
    }
    let prefixes: Vec<String> = sorted.iter().map(|source| prefix(source, &mut errors)).collect();
    let hosts = hosts(&sorted, &prefixes, &mut errors);
    let mut services = Vec::new();
    for (source, prefix) in sorted.iter().zip(&prefixes) {
        check_instances(source, &mut errors);
        check_tcp(source, &mut errors);
        check_sensitive(source, &mut errors);
        services.push(service(source, prefix, &mut errors));
    }
    if errors.is_empty() { Ok((services, hosts)) } else { Err(errors) }
}

fn place(source: &ServiceSource) -> Place {
    let (file, line) = source.place.clone();
    Place { file, line, snippet: None }
}

fn error(source: &ServiceSource, message: String, help: Option<&str>) -> LoadError {
    place(source).error(message, help.map(str::to_owned))
}

fn prefix(source: &ServiceSource, errors: &mut Vec<LoadError>) -> String {
    template::prefix(source.path_prefix.as_deref().unwrap_or("/")).unwrap_or_else(|what| {
        errors.push(error(source, format!("service `{}`: {what}", source.name), None));
        String::new()
    })
}

fn hosts(sources: &[&ServiceSource], prefixes: &[String], errors: &mut Vec<LoadError>) -> Hosts {
    let mut hosts = Hosts::default();
    for (index, (source, prefix)) in sources.iter().zip(prefixes).enumerate() {
        let name = &source.name;
        if source.hosts.is_empty() {
            let help = "list at least one under `hosts`";
            errors.push(error(source, format!("service `{name}` has no host"), Some(help)));
        }
        for host in &source.hosts {
            if let Err(what) = hosts::check(host) {
                let message = format!("service `{name}`: `{host}` is no host name: {what}");
                errors.push(error(source, message, None));
            } else if let Some(holder) = hosts.holder(host, prefix) {
                let holder = sources.get(holder).map_or(name, |source| &source.name);
                let shown = if prefix.is_empty() { "/" } else { prefix };
                let message =
                    format!("services `{holder}` and `{name}` both answer `{host}` at `{shown}`");
                errors.push(error(
                    source,
                    message,
                    Some("give one of them another host or `path_prefix`"),
                ));
            } else {
                let to = Destination {
                    prefix: prefix.clone(),
                    service: index,
                    addressed: Addressed::Any,
                };
                hosts.insert(host, to);
            }
        }
    }
    address_instances(sources, &mut hosts, errors);
    hosts
}

/// Adds `payments--p-2.example.com` for each instance. Whoever else shares the host is there too,
/// so that no prefix of one service leads to another's instance.
fn address_instances(sources: &[&ServiceSource], hosts: &mut Hosts, errors: &mut Vec<LoadError>) {
    let mut addressed: BTreeMap<String, &str> = BTreeMap::new();
    for source in sources {
        for host in &source.hosts {
            for instance in source.instances.keys() {
                let Some(name) = hosts::addressing(host, instance.as_str()) else { continue };
                if hosts.destinations(&name).is_empty() {
                    addressed.insert(name, host);
                } else {
                    let message = format!(
                        "host `{name}` already addresses instance `{instance}` of `{}`",
                        source.name
                    );
                    errors.push(error(source, message, Some("rename the host or the instance")));
                }
            }
        }
    }
    let mut found = Vec::new();
    for (name, host) in addressed {
        for to in hosts.destinations(host) {
            let instance = sources.get(to.service).and_then(|source| {
                let mut names = source.instances.keys();
                names.position(|instance| {
                    hosts::addressing(host, instance.as_str()).as_ref() == Some(&name)
                })
            });
            let addressed = instance.map_or(Addressed::Unknown, Addressed::Instance);
            let to = Destination { prefix: to.prefix.clone(), service: to.service, addressed };
            found.push((name.clone(), to));
        }
    }
    for (name, to) in found {
        hosts.insert(&name, to);
    }
}

fn check_instances(source: &ServiceSource, errors: &mut Vec<LoadError>) {
    let name = &source.name;
    if source.instances.is_empty() && source.upstream.dns.is_none() {
        let help = "list at least one under `instances`";
        errors.push(error(source, format!("service `{name}` has no instance"), Some(help)));
    }
    if let Some(dns) = &source.upstream.dns {
        let known: &[_] =
            if source.tcp().is_some() { &["tcp", "tls"] } else { &["http", "https", "h2c"] };
        if !known.contains(&dns.scheme.as_str()) {
            let known = known.join(" or ");
            let message =
                format!("service `{name}`: `dns` finds instances by `{}`, not {known}", dns.scheme);
            errors.push(error(source, message, Some("write what the service speaks")));
        }
    }
    for (instance, url) in &source.instances {
        if let Err(what) = check_url(url, source) {
            let message = format!("service `{name}`: instance `{instance}`: {what}");
            let help = match source.tcp() {
                None => "write it as `http://host:port`, `https://host:port` or `h2c://host:port`",
                Some(_) => "write it as `tcp://host:port` or `tls://host:port`",
            };
            errors.push(error(source, message, Some(help)));
        }
    }
    for instance in &source.addressed_only {
        if !source.instances.contains_key(instance) {
            let message = format!(
                "service `{name}`: `addressed_only` names `{instance}`, which is no instance of it"
            );
            let known = source.instances.keys().map(InstanceName::as_str);
            errors.push(place(source).error(message, nearest(instance.as_str(), known)));
        }
    }
}

/// The message never shows the URL: somebody may have written a password into it.
fn check_url(text: &str, source: &ServiceSource) -> Result<(), String> {
    let url = if source.tcp().is_some() { check_address(text)? } else { check_base(text)? };
    address::check(text, &url, &source.upstream.allow)
}

fn check_base(text: &str) -> Result<Url, String> {
    let plain = text.strip_prefix("h2c://").map(|rest| format!("http://{rest}"));
    let url = Url::parse(plain.as_deref().unwrap_or(text));
    let url = url.map_err(|what| format!("its URL does not parse: {what}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is not http, https or h2c", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its URL carries a user name or password".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("its URL has a path or query; paths are forwarded as they come".to_owned());
    }
    Ok(url)
}

/// Of an instance that speaks no HTTP: where it is, and nothing else. No port is the usual one.
fn check_address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|what| format!("its URL does not parse: {what}"))?;
    if !matches!(url.scheme(), "tcp" | "tls") {
        return Err(format!("`{}` is not tcp or tls, and the service speaks TCP", url.scheme()));
    }
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !url.username().is_empty() || url.password().is_some() || !bare {
        return Err("its URL is more than a host and a port".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) || url.port().is_none() {
        return Err("its URL lacks a host or a port".to_owned());
    }
    // Read as HTTP would: hosts of schemes that nobody knows are not looked at.
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    Url::parse(&format!("http://{rest}")).map_err(|what| format!("its URL does not parse: {what}"))
}

/// What only HTTP has is a mistake at a TCP service, not something to be passed over.
fn check_tcp(source: &ServiceSource, errors: &mut Vec<LoadError>) {
    if source.tcp().is_none() {
        return;
    }
    let name = &source.name;
    let asks_a_path = source.upstream.health.as_ref().is_some_and(|check| check.path.is_some());
    let set = [
        ("path_prefix", source.path_prefix.is_some(), "a connection has no path"),
        ("max_body", !source.max_bodies.is_empty(), "a connection has no body"),
        ("anonymous", source.anonymous, "a connection needs an identity"),
        ("sensitive", source.edge.sensitive.is_some(), "bytes of a connection cannot be masked"),
        ("health.path", asks_a_path, "without it, a check is a connection"),
    ];
    for (key, _, why) in set.into_iter().filter(|(_, is_set, _)| *is_set) {
        let message = format!("service `{name}` speaks TCP, and `{key}` is for HTTP: {why}");
        errors.push(error(source, message, Some("take it out")));
    }
}

fn check_sensitive(source: &ServiceSource, errors: &mut Vec<LoadError>) {
    let Some(sensitive) = &source.edge.sensitive else { return };
    for what in Sensitive::new(sensitive).err().into_iter().flatten() {
        let message = format!("service `{}`: `sensitive`: {what}", source.name);
        errors.push(error(source, message, None));
    }
}

fn service(source: &ServiceSource, prefix: &str, errors: &mut Vec<LoadError>) -> Service {
    let place = place(source);
    let drafts = match &source.operations {
        OperationsSource::Methods => declared::by_method(&place),
        OperationsSource::Inline(entries) => declared::inline(entries, &place, errors),
        OperationsSource::OpenApi { path, text } => openapi::drafts(path, text, errors),
        OperationsSource::Protobuf { path, set, services } => {
            protobuf::drafts(SetSource { path, set, services }, &place, errors)
        }
        OperationsSource::Connect(_) => declared::connect(&place),
    };
    check_named("groups", source.groups.keys(), source, &drafts, errors);
    check_named("max_body", source.max_bodies.keys(), source, &drafts, errors);
    let drafts = checked(source, prefix, drafts, errors);
    let places: Vec<Place> = drafts.values().map(|draft| draft.place.clone()).collect();
    let operations = drafts.into_iter().map(|(name, draft)| {
        let group = group(source, &draft);
        let max_body = source.max_bodies.get(&draft.name).copied().unwrap_or(source.max_body);
        Operation::new(name, group, max_body, draft)
    });
    let (service, clashes) = Service::new(source.clone(), operations.collect());
    for (first, second) in clashes {
        let name = |index| service.operations().nth(index).map_or("", |found| found.name().local());
        let message =
            format!("operations `{}` and `{}` match the same requests", name(first), name(second));
        let at = places.get(second).unwrap_or(&place);
        errors.push(at.error(message, Some("take one of them out".to_owned())));
    }
    service
}

fn group(source: &ServiceSource, draft: &Draft) -> OperationGroup {
    source.groups.get(&draft.name).copied().or(draft.group).unwrap_or(match &*draft.method {
        "GET" | "HEAD" => OperationGroup::Read,
        _ => OperationGroup::Write,
    })
}

/// What `setting` names must be there.
fn check_named<'a>(
    setting: &str,
    names: impl Iterator<Item = &'a String>,
    source: &ServiceSource,
    drafts: &[Draft],
    errors: &mut Vec<LoadError>,
) {
    for name in names {
        if !drafts.iter().any(|draft| draft.name == *name) {
            let message = format!(
                "service `{}`: `{setting}` names `{name}`, which is no operation of it",
                source.name
            );
            let help = nearest(name, drafts.iter().map(|draft| draft.name.as_str()));
            errors.push(place(source).error(message, help));
        }
    }
}

/// Drafts by full name; what cannot be named, is named twice or can never be reached is an error.
fn checked(
    source: &ServiceSource,
    prefix: &str,
    drafts: Vec<Draft>,
    errors: &mut Vec<LoadError>,
) -> BTreeMap<OperationName, Draft> {
    let mut found: BTreeMap<OperationName, Draft> = BTreeMap::new();
    for draft in drafts {
        let local = &draft.name;
        let name = format!("{}.{local}", source.name).parse::<OperationName>();
        let problem = match &name {
            Err(_) => Some(format!("`{local}` cannot be the name of an operation")),
            Ok(name) if name.is_all() => Some("`*` stands for all operations of a service".to_owned()),
            Ok(name) if name.revealed().is_some() => Some(format!("`{local}` stands for seeing a class of data")),
            Ok(_) if GROUPS.contains(&local.as_str()) => Some(format!("operation `{local}` has the name of a group")),
            Ok(name) if found.contains_key(name) => Some(format!("there are two operations `{local}`")),
            Ok(_) => draft.template.as_ref().filter(|path| !path.lies_under(prefix)).map(|path| {
                format!("operation `{local}` at `{path}` lies outside of the path prefix `{prefix}` of `{}`", source.name)
            }),
        };
        match (problem, name) {
            (None, Ok(name)) => {
                found.insert(name, draft);
            }
            (Some(problem), _) => errors.push(draft.place.error(problem, None)),
            (None, Err(what)) => errors.push(draft.place.error(what.to_string(), None)),
        }
    }
    found
}

/// What somebody may have meant who wrote `name`.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|other| {
            (strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase()), other)
        })
        .filter(|(distance, other)| *distance <= 2.max(other.len() / 3))
        .min()
        .map(|(_, other)| format!("did you mean `{other}`?"))
}

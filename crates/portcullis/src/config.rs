//! The configuration: one YAML file, the files that it includes, and the policies beside it.
//!
//! Promises: everything that is wrong is reported at once, with its place; what this version does not
//! carry out is an error; nothing secret is ever printed. Does not resolve secrets and does not judge
//! policies: the process does the first when it starts, the policy crate the second.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use portcullis_model::ServiceName;
use portcullis_policy::{BundleSource, LoadError};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

mod access_requests;
pub(crate) mod alerts;
mod audit;
mod bundle_source;
mod ci;
pub(crate) mod connectors;
mod control;
mod cors;
mod direct;
mod document;
pub(crate) mod export;
mod facts;
mod geo;
mod headers;
mod holding;
mod identity;
mod introspection;
mod late;
mod limits;
mod listener;
mod mapping;
#[cfg(test)]
mod mesh_tests;
mod oauth2;
#[cfg(test)]
mod opaque_tests;
mod people;
mod proxy_protocol;
mod scim;
mod sealed;
pub(crate) mod secret;
mod section;
mod sensitive;
mod service;
mod shutdown;
mod sign_ins;
mod size;
mod spiffe;
mod spot;
mod tcp;
mod telemetry;
#[cfg(test)]
mod tests;
mod upstream;
mod upstream_tls;

pub(crate) use access_requests::AccessRequests;
pub(crate) use audit::{AnchorPlace, Audit, S3, Ship, ShipTo};
pub(crate) use control::ControlSection;
pub(crate) use identity::{Identity, Workload};
pub(crate) use limits::Limits;
pub(crate) use listener::{ClientCa, FromWorkloadApi, Listener, ListenerTls, Tls};
pub(crate) use sealed::Sealed;
pub(crate) use service::Service;
pub(crate) use size::Size;
pub(crate) use spot::Spot;
pub(crate) use telemetry::Telemetry;

use document::Document;
use holding::Holding;
use section::{Field, Problems, Section};
use shutdown::Shutdown;

/// All settings.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "Portcullis configuration")]
pub(crate) struct Config {
    /// Nothing in this file is secret: literal secrets are allowed. Never in production.
    pub(crate) demo: bool,
    /// Where traffic enters.
    pub(crate) listeners: Vec<Listener>,
    /// The control plane's own door.
    pub(crate) control: ControlSection,
    /// The store: `sqlite:path`.
    pub(crate) store: Store,
    /// The record.
    pub(crate) audit: Audit,
    /// Access requests that wait for people.
    pub(crate) access_requests: AccessRequests,
    /// How many requests may wait at the gate for an approval.
    pub(crate) holding: Holding,
    /// What clients may take of the gate.
    pub(crate) limits: Limits,
    /// Where addresses are, for `context.source.country`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) geo: Option<geo::Geo>,
    /// How the process ends.
    pub(crate) shutdown: Shutdown,
    /// Where a gate keeps what sealed credentials take; without it, it accepts none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<Sealed>,
    /// Where spans of sampled requests go; without it, none are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) telemetry: Option<Telemetry>,
    /// The zone that this gate is in: instances of the same zone are preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    /// Who vouches for whom.
    pub(crate) identity: Identity,
    /// Where the record is passed on to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) export: Vec<export::Export>,
    /// What somebody is called for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alerts: Option<alerts::Alerts>,
    /// Other systems that are told, that decide, that people work in, and that know of incidents.
    pub(crate) connectors: connectors::Connectors,
    /// Named clocks that policies read, and their time zones: `{office: Europe/Lisbon}`.
    pub(crate) clocks: BTreeMap<String, String>,
    /// Schedules of people who take turns being on call.
    pub(crate) schedules: BTreeMap<String, facts::Rotation>,
    /// The folder of policies and their tests.
    pub(crate) policies: PathBuf,
    /// Further files with services: `services/*.yaml`.
    pub(crate) include: Vec<String>,
    /// What stands behind the gate.
    pub(crate) services: Vec<Service>,
}

/// Where requests, grants and sign-ins are kept.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Store {
    /// `sqlite:path`.
    text: String,
    #[serde(skip)]
    path: PathBuf,
}

impl Store {
    /// The database file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A configuration that was read without mistakes, and what it was read from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) config: Config,
    /// What a bundle is made from.
    pub(crate) bundle: BundleSource,
    /// Policy tests: each a path below the policy folder and its text.
    pub(crate) policy_tests: Vec<(String, String)>,
    /// The folder that relative paths start from.
    pub(crate) base: PathBuf,
    /// The files beside the configuration that it was read from, policies aside, relative to `base`.
    pub(crate) files: Vec<PathBuf>,
}

/// Reads the configuration at `path` with all that it names, or says everything that is wrong.
pub(crate) fn load(path: &Path) -> Result<Loaded, Vec<LoadError>> {
    let base = base_of(path);
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let document =
        Document::read(&base, &file.unwrap_or_default()).map_err(|error| vec![*error])?;
    let problems = Problems::default();
    let config = read(&document, &base, &problems);
    let sources = config.as_ref().map(|config| bundle_source::read(config, &base, &problems));
    match (config, sources) {
        (Some(mut config), Some((bundle, policy_tests))) if problems.is_empty() => {
            let files = files(&config);
            config.hide(&problems.hidden());
            Ok(Loaded { config, bundle, policy_tests, base, files })
        }
        _ => Err(problems.into_vec()),
    }
}

impl Config {
    /// Takes what must not be shown out of the lines that it remembers.
    fn hide(&mut self, secrets: &[String]) {
        let upstreams = self.services.iter_mut().filter_map(|one| one.upstream.tls.as_mut());
        let spots = upstreams.map(|tls| &mut tls.spot);
        let listeners = self.listeners.iter_mut().filter_map(|one| one.tls.as_mut());
        let doors = listeners.map(|tls| &mut tls.spot).chain(self.control.tls_spot.as_mut());
        for spot in spots.chain(self.geo.as_mut().map(|geo| &mut geo.spot)).chain(doors) {
            spot.hide(secrets);
        }
    }
}

fn files(config: &Config) -> Vec<PathBuf> {
    // A pattern stands for the folder that it is in: a new file there counts as well.
    let included = config.include.iter().map(PathBuf::from);
    let services = config.services.iter();
    let documents = services.filter_map(|service| service.operations.document());
    included.chain(documents.map(Path::to_owned)).collect()
}

/// The folder that relative paths in the configuration at `path` start from.
pub(crate) fn base_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The JSON Schema of the file.
pub(crate) fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

#[expect(clippy::too_many_lines, reason = "one statement for each section")]
fn read(document: &Document, base: &Path, problems: &Problems) -> Option<Config> {
    let mut section = Section::root(document, problems)?;
    let demo = section.field("demo").map_or(Some(false), |field| field.boolean());
    let plain = demo.unwrap_or(false);
    let control = section.required("control").and_then(|field| ControlSection::read(&field));
    let store = section.required("store").and_then(|field| store(&field, base));
    let audit = section.required("audit").and_then(|field| Audit::read(&field, demo));
    let access_requests = usual(section.field("access_requests"), AccessRequests::read);
    let holding = usual(section.field("holding"), Holding::read);
    let limited = section.field("limits");
    let limits = limited.as_ref().map_or(Some(Limits::default()), Limits::read);
    let geo = section.field("geo").map(|field| geo::Geo::read(&field));
    let shutdown = usual(section.field("shutdown"), Shutdown::read);
    let sealed = section.field("sealed").map(|field| Sealed::read(&field));
    let telemetry = section.field("telemetry").map(|field| Telemetry::read(&field, plain));
    let zone = section.field("zone").map(|field| field.text().map(str::to_owned));
    let given = section.field("identity");
    let identity = given.as_ref();
    let identity = identity.map_or(Some(Identity::default()), |it| Identity::read(it, plain));
    let listeners = section.required("listeners").map(|field| listeners(&field, identity.as_ref()));
    let policies = section.required("policies").and_then(|f| f.text().map(PathBuf::from));
    let include = section.field("include");
    let clocks = section.field("clocks").map(|field| facts::clocks(&field));
    let schedules = section.field("schedules").map(|field| facts::schedules(&field));
    let exported = section.field("export");
    let connected = section.field("connectors");
    let alerts = section.field("alerts");
    let alerts = alerts.map(|f| alerts::Alerts::read(&f, plain, geo.is_some()));
    let own = section.field("services").map(|field| field.sections()).unwrap_or_default();
    let mut services: Vec<_> = own.into_iter().filter_map(Service::read).collect();
    section.finish();
    if let Some(include) = &include {
        services.extend(included(include, base, problems));
    }
    let kept: BTreeSet<String> = schedules.iter().flatten().map(|(name, _)| name.clone()).collect();
    let export = exported.map(|field| export::read(&field, plain, &services));
    let connectors = usual(connected, |field| {
        let (services, identity) = (services.as_slice(), identity.as_ref());
        let exports = export.as_deref().unwrap_or_default();
        let beside = connectors::Beside { demo: plain, services, identity, exports, kept: &kept };
        connectors::Connectors::read(field, beside)
    });
    check(&services, limited.as_ref().zip(limits.as_ref()), base, document, problems);
    direct::check(listeners.as_deref().unwrap_or_default(), &services, document, problems);
    if let (Some(field), Some(identity), Some(listeners)) = (&given, &identity, &listeners) {
        identity.check_use(field, listeners, &services);
    }
    if let Some(identity) = &identity {
        upstream_tls::check(&services, identity, problems);
    }
    Some(Config {
        demo: demo?,
        listeners: listeners?,
        control: control?,
        store: store?,
        audit: audit?,
        access_requests: access_requests?,
        holding: holding?,
        limits: limits?,
        geo: geo.map_or(Some(None), |read| read.map(Some))?,
        shutdown: shutdown?,
        sealed: sealed.map_or(Some(None), |read| read.map(Some))?,
        telemetry: telemetry.map_or(Some(None), |read| read.map(Some))?,
        zone: zone.map_or(Some(None), |read| read.map(Some))?,
        identity: identity?,
        export: export.unwrap_or_default(),
        alerts: alerts.map_or(Some(None), |read| read.map(Some))?,
        connectors: connectors?,
        clocks: clocks.unwrap_or_default(),
        schedules: schedules.unwrap_or_default(),
        policies: policies?,
        include: include.map(|field| field.texts()).unwrap_or_default(),
        services,
    })
}

/// What `field` says, or what is usual where it is absent.
fn usual<T: Default>(
    field: Option<Field<'_>>,
    read: impl FnOnce(&Field<'_>) -> Option<T>,
) -> Option<T> {
    field.map_or_else(|| Some(T::default()), |field| read(&field))
}

fn listeners(field: &Field<'_>, identity: Option<&Identity>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for item in field.list() {
        let Some(listener) = item.section().and_then(|section| Listener::read(section, identity))
        else {
            continue;
        };
        if listeners.iter().any(|other| other.name == listener.name) {
            item.error(format!("two listeners are called `{}`", listener.name), None);
        } else if listeners.iter().any(|other| other.address == listener.address) {
            item.error(format!("two listeners listen on {}", listener.address), None);
        } else {
            listeners.push(listener);
        }
    }
    listeners
}

fn store(field: &Field<'_>, base: &Path) -> Option<Store> {
    let text = field.text()?;
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        field.unsupported("a PostgreSQL store");
        return None;
    }
    let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) else {
        let help = Some("write it like sqlite:portcullis.db".into());
        field.error(format!("`{text}` is not a store"), help);
        return None;
    };
    Some(Store { text: text.to_owned(), path: base.join(path) })
}

fn included(field: &Field<'_>, base: &Path, problems: &Problems) -> Vec<Service> {
    let mut services = Vec::new();
    for item in field.list() {
        let Some(pattern) = item.text() else { continue };
        let files = match files_matching(base, pattern) {
            Ok(files) => files,
            Err(message) => {
                item.error(message, Some("write it like services/*.yaml".into()));
                continue;
            }
        };
        for file in files {
            match Document::read(base, &file) {
                Ok(document) => services.extend(included_services(&document, problems)),
                Err(error) => problems.push(*error),
            }
        }
    }
    services
}

fn included_services(document: &Document, problems: &Problems) -> Vec<Service> {
    let Some(mut section) = Section::root(document, problems) else { return Vec::new() };
    let services = section.required("services").map(|field| field.sections()).unwrap_or_default();
    section.finish();
    services.into_iter().filter_map(Service::read).collect()
}

/// The files under `base` that `pattern` names, relative and in order. A pattern without a wildcard
/// that names no file is a mistake; one with a wildcard may match nothing.
fn files_matching(base: &Path, pattern: &str) -> Result<Vec<String>, String> {
    let full = base.join(pattern);
    let found = glob::glob(&full.to_string_lossy());
    let found = found.map_err(|error| format!("`{pattern}` is not a pattern: {error}"))?;
    let relative = found.filter_map(Result::ok).filter_map(|path| {
        path.strip_prefix(base).ok().map(|path| path.to_string_lossy().into_owned())
    });
    let mut files: Vec<String> = relative.collect();
    files.sort();
    if files.is_empty() && !pattern.contains(['*', '?', '[']) {
        return Err(format!("there is no file `{pattern}`"));
    }
    Ok(files)
}

fn check(
    services: &[Service],
    limits: Option<(&Field<'_>, &Limits)>,
    base: &Path,
    document: &Document,
    problems: &Problems,
) {
    unique_names(services, base, document, problems);
    if let Some((field, limits)) = limits {
        limits.check(field, services);
    }
}

fn unique_names(services: &[Service], base: &Path, document: &Document, problems: &Problems) {
    let mut seen: BTreeMap<&ServiceName, &(String, Option<usize>)> = BTreeMap::new();
    for service in services {
        let Some((file, line)) = seen.insert(&service.name, &service.place) else { continue };
        let (own_file, own_line) = &service.place;
        let first = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
        let text = if *own_file == document.file { None } else { Some(base.join(own_file)) };
        problems.push(LoadError {
            file: own_file.clone(),
            line: *own_line,
            column: None,
            snippet: snippet(text.as_deref(), document, *own_line),
            message: format!(
                "two services are called `{}`; the first stands at {first}",
                service.name
            ),
            help: Some("rename or remove one".into()),
        });
    }
}

fn snippet(path: Option<&Path>, document: &Document, line: Option<usize>) -> Option<String> {
    let read = path.and_then(|path| std::fs::read_to_string(path).ok());
    let text = if path.is_some() { read.as_deref() } else { Some(document.text()) };
    text?.lines().nth(line?.checked_sub(1)?).map(str::to_owned)
}

/// Serializes what prints itself as people write it.
pub(crate) fn as_text<T: std::fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

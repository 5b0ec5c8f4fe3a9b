//! `services`: what stands behind the gate.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use portcullis_model::{ServiceName, Window};
use portcullis_policy::{ServiceSource, bundle::OperationGroup};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    cors::Cors,
    headers::Headers,
    section::{Field, Section},
    sensitive::Sensitive,
    size::Size,
    tcp::Tcp,
    upstream::Upstream,
};

/// One service.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Service {
    /// Its name: lower-case letters, digits and single hyphens.
    #[schemars(with = "String")]
    pub(crate) name: ServiceName,
    /// The hosts that it answers to.
    pub(crate) hosts: Vec<String>,
    /// Only paths under this prefix are its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path_prefix: Option<String>,
    /// What policies read as `resource.labels`.
    pub(crate) labels: BTreeMap<String, String>,
    /// Where it runs.
    pub(crate) upstream: Upstream,
    /// What can be asked of it.
    pub(crate) operations: Operations,
    /// The longest grant; default `8h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) max_grant: Window,
    /// The longest that a request may wait at the gate for an approval; default `5m`, at most `1h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) max_hold: Window,
    /// The largest body that is read before a decision, because a policy reads it, a grant is bound to
    /// it or it waits; default `1MiB`, at most `64MiB`. A larger one is answered with 413.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) max_body: Size,
    /// `strict`: every attempt waits for stable storage; default `standard`.
    pub(crate) audit: AuditLevel,
    /// Lets callers without credentials in as the principal `Anonymous`; policy still decides.
    pub(crate) anonymous: bool,
    /// Bounds on connections, if it speaks TCP: if its instances are `tcp://` or `tls://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<Tcp>,
    /// Pages of other origins that it is shared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<Cors>,
    /// What is changed in the headers of its requests and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<Headers>,
    /// What of its data is masked, by class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sensitive: Option<Sensitive>,
    /// The file and line of its entry.
    #[serde(skip)]
    pub(crate) place: (String, Option<usize>),
}

/// How surely attempts are on record before they are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AuditLevel {
    /// Survives the process.
    Standard,
    /// Survives a power cut.
    Strict,
}

/// How operations are declared, and their groups where the default does not fit.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Operations {
    /// The declaration.
    #[serde(flatten)]
    pub(crate) declared: Declared,
    /// Full names of the services of `protobuf` that count: `ledger.Ledger`; default all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<String>,
    /// `searchPayments: read`.
    #[schemars(with = "BTreeMap<String, String>")]
    #[serde(serialize_with = "group_names")]
    pub(crate) groups: BTreeMap<String, OperationGroup>,
    /// The service's `max_body` for operations where it is another: `uploadDocument: 8MiB`.
    #[schemars(with = "BTreeMap<String, String>")]
    #[serde(serialize_with = "sizes", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) max_body: BTreeMap<String, Size>,
}

/// Where operations are declared.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Declared {
    /// Nowhere: one operation per HTTP method.
    Methods,
    /// In an OpenAPI 3.0 or 3.1 document.
    OpenApi(PathBuf),
    /// In a serialised `FileDescriptorSet` of protobuf, with all that it imports.
    Protobuf(PathBuf),
    /// Here: `name: METHOD /path/{parameter}`.
    Inline(#[schemars(with = "BTreeMap<String, String>")] IndexMap<String, String>),
}

const GROUPS: [(&str, OperationGroup); 3] = [
    ("read", OperationGroup::Read),
    ("write", OperationGroup::Write),
    ("admin", OperationGroup::Admin),
];

const MAX_BODY: Size = Size::new(ServiceSource::MAX_BODY);
const LARGEST_BODY: Size = Size::new(64 * 1024 * 1024);
const UNSUPPORTED: [&str; 2] = ["enforcement", "on_store_loss"];

impl Service {
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let place = section.place();
        let name = section.required("name").and_then(|field| field.parsed());
        let hosts = section.required("hosts").map(|field| hosts(&field));
        let path_prefix = section.field("path_prefix").and_then(|field| path_prefix(&field));
        let labels = section.field("labels").map(|field| labels(&field)).unwrap_or_default();
        let upstream = section.required("upstream").and_then(|field| Upstream::read(&field));
        let operations = section.field("operations");
        let operations = operations.map_or(Some(Operations::default()), |f| Operations::read(&f));
        let max_grant = section.field("max_grant");
        let max_grant = max_grant.map_or(Some(Window::minutes(480)), |field| field.parsed());
        let max_hold = section.field("max_hold");
        let max_hold = max_hold.map_or(Some(ServiceSource::MAX_HOLD), |field| longest(&field));
        let max_body = section.field("max_body");
        let max_body = max_body.map_or(Some(MAX_BODY), |field| largest(&field));
        let levels = [("standard", AuditLevel::Standard), ("strict", AuditLevel::Strict)];
        let audit = section.field("audit");
        let audit = audit.map_or(Some(AuditLevel::Standard), |field| field.one_of(&levels));
        let anonymous = section.field("anonymous").map_or(Some(false), |field| field.boolean());
        let tcp = Tcp::read(&mut section, upstream.as_ref());
        let cors = section.field("cors").and_then(|field| Cors::read(&field));
        let headers = section.field("headers").and_then(|field| Headers::read(&field));
        let sensitive = section.field("sensitive").and_then(|field| Sensitive::read(&field));
        for key in UNSUPPORTED {
            section.unsupported(key);
        }
        section.finish();
        Some(Self {
            name: name?,
            hosts: hosts?,
            path_prefix,
            labels,
            upstream: upstream?,
            operations: operations?,
            max_grant: max_grant?,
            max_hold: max_hold?,
            max_body: max_body?,
            audit: audit?,
            anonymous: anonymous?,
            tcp,
            cors,
            headers,
            sensitive,
            place,
        })
    }
}

/// A request that waits longer than an access request lives would wait for nothing.
fn longest(field: &Field<'_>) -> Option<Window> {
    let longest: Window = field.parsed()?;
    if longest > Window::minutes(60) {
        field.error(format!("`max_hold` is 1h at most, and not {longest}"), None);
        return None;
    }
    Some(longest)
}

fn largest(field: &Field<'_>) -> Option<Size> {
    let largest: Size = field.parsed()?;
    if largest > LARGEST_BODY {
        let help = Some("a larger body streams through where nothing has to read it".into());
        field.error(format!("`max_body` is {LARGEST_BODY} at most, and not {largest}"), help);
        return None;
    }
    Some(largest)
}

fn hosts(field: &Field<'_>) -> Vec<String> {
    let hosts = field.texts();
    if hosts.is_empty() {
        let help = Some("name at least one, like payments.example.com".into());
        field.error("a service without hosts cannot be reached".into(), help);
    }
    hosts
}

fn path_prefix(field: &Field<'_>) -> Option<String> {
    let prefix = field.text()?;
    if !prefix.starts_with('/') {
        let help = Some(format!("write /{prefix}"));
        field.error("`path_prefix` must start with a slash".into(), help);
        return None;
    }
    Some(prefix.to_owned())
}

fn labels(field: &Field<'_>) -> BTreeMap<String, String> {
    let pairs = field.pairs().into_iter();
    pairs.filter_map(|(key, value)| Some((key, value.text()?.to_owned()))).collect()
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            declared: Declared::Methods,
            services: Vec::new(),
            groups: BTreeMap::new(),
            max_body: BTreeMap::new(),
        }
    }
}

impl Operations {
    /// The document that declares them, if one does.
    pub(crate) fn document(&self) -> Option<&Path> {
        match &self.declared {
            Declared::OpenApi(path) | Declared::Protobuf(path) => Some(path),
            Declared::Methods | Declared::Inline(_) => None,
        }
    }

    fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let openapi = section.field("openapi").and_then(|field| field.text().map(PathBuf::from));
        let inline = section.field("inline").map(|field| labels(&field).into_iter().collect());
        let protobuf = section.field("protobuf").and_then(|field| field.text().map(PathBuf::from));
        let services = section.field("services");
        if let (None, Some(services)) = (&protobuf, &services) {
            let help = Some("name the set of descriptors under `protobuf`".into());
            services.error("`services` chooses among the services of `protobuf`".into(), help);
        }
        let services = services.map(|field| field.texts()).unwrap_or_default();
        let groups = section.field("groups").map(|field| groups(&field)).unwrap_or_default();
        let max_body = section.field("max_body").map(|field| bodies(&field)).unwrap_or_default();
        let declared = match (openapi, inline, protobuf) {
            (Some(path), None, None) => Declared::OpenApi(path),
            (None, Some(operations), None) => Declared::Inline(operations),
            (None, None, Some(path)) => Declared::Protobuf(path),
            (None, None, None) => Declared::Methods,
            (_, _, _) => {
                let help = Some("keep one of `openapi`, `inline` and `protobuf`".into());
                section.error("operations are declared twice".into(), help);
                Declared::Methods
            }
        };
        section.finish();
        Some(Self { declared, services, groups, max_body })
    }
}

fn groups(field: &Field<'_>) -> BTreeMap<String, OperationGroup> {
    let pairs = field.pairs().into_iter();
    pairs.filter_map(|(operation, group)| Some((operation, group.one_of(&GROUPS)?))).collect()
}

fn bodies(field: &Field<'_>) -> BTreeMap<String, Size> {
    let pairs = field.pairs().into_iter();
    pairs.filter_map(|(operation, size)| Some((operation, largest(&size)?))).collect()
}

fn sizes<S: serde::Serializer>(
    sizes: &BTreeMap<String, Size>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(sizes.iter().map(|(operation, size)| (operation, size.to_string())))
}

fn group_names<S: serde::Serializer>(
    groups: &BTreeMap<String, OperationGroup>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(groups.iter().map(|(operation, group)| {
        let name = GROUPS.iter().find(|(_, known)| known == group).map(|(name, _)| *name);
        (operation, name)
    }))
}

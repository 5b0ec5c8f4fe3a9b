//! Bundles: policies, schema, services and settings, loaded whole or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{Authorizer, Entities, Schema};
use indexmap::IndexMap;
use portcullis_model::{
    BundleDigest, GrantKind, InstanceName, OperationName, PolicyId, PrincipalKind, ScheduleName,
    ServiceName, Window,
};

use crate::{
    LoadError, Subject,
    catalog::Catalog,
    clocks::Clocks,
    counters::EvaluationErrors,
    edge::EdgeSource,
    index::Index,
    load::{self, Loaded},
    notice::Notices,
    places::Places,
    policy::Policies,
    rotations::Rotations,
    upstream::UpstreamSource,
};

/// The text of one policy file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PolicySource {
    /// Its path relative to the policy folder: `payments/refunds.cedar`. Policies under a folder
    /// `<service>/` may name only that service.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// How a service's operations are declared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum OperationsSource {
    /// None: one action per HTTP method.
    Methods,
    /// An OpenAPI 3.0 or 3.1 document, YAML or JSON.
    OpenApi {
        /// Its path, for messages.
        path: String,
        /// Its text.
        text: String,
    },
    /// The methods of gRPC services.
    Protobuf {
        /// Its path, for messages.
        path: String,
        /// A serialised `FileDescriptorSet`.
        #[serde(with = "base64_text")]
        set: Vec<u8>,
        /// Full names of the services that count; none: all of them.
        services: Vec<String>,
    },
    /// Inline: `name: METHOD /path/{parameter}`; parameters are strings.
    Inline(IndexMap<String, String>),
    /// It speaks no HTTP: its one operation is `connect`.
    Connect(TcpLimits),
}

/// Bounds on the connections of a TCP service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TcpLimits {
    /// A connection that carries nothing for so long ends.
    pub idle: Window,
    /// The bytes that one connection may carry, both ways together; `None`: as many as it likes.
    pub max_bytes: Option<u64>,
}

/// One service as configured.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ServiceSource {
    /// Its name.
    pub name: ServiceName,
    /// The hosts that it answers to.
    pub hosts: Vec<String>,
    /// Only paths under this prefix are its own (segment-wise); default `/`.
    pub path_prefix: Option<String>,
    /// Cedar `resource.labels`.
    pub labels: BTreeMap<String, String>,
    /// Its instances and their base URLs: `http://`, `https://`, `h2c://`; of a TCP service `tcp://`,
    /// `tls://`.
    pub instances: IndexMap<InstanceName, url_text::UrlText>,
    /// Instances that the balancer never picks.
    pub addressed_only: Vec<InstanceName>,
    /// Its operations.
    pub operations: OperationsSource,
    /// Overrides by operation: `searchPayments: read`.
    pub groups: BTreeMap<String, OperationGroup>,
    /// The longest grant; default 8h.
    pub max_grant: Window,
    /// The longest that a request may wait at the gate; default 5m.
    #[serde(default = "default_hold")]
    pub max_hold: Window,
    /// The largest body, in bytes, that policies can ask to see and that can be held; default 1 MiB.
    #[serde(default = "default_body")]
    pub max_body: u64,
    /// The same by operation, where it is another: `uploadDocument: 8388608`.
    #[serde(default)]
    pub max_bodies: BTreeMap<String, u64>,
    /// How its instances are chosen and reached.
    #[serde(default)]
    pub upstream: UpstreamSource,
    /// Every attempt waits for stable storage.
    pub strict_audit: bool,
    /// Callers without credentials are let in as `Anonymous`, as far as policy permits them.
    #[serde(default)]
    pub anonymous: bool,
    /// What the gate does for it beside deciding.
    #[serde(default)]
    pub edge: EdgeSource,
    /// The file and line of its entry, for messages.
    pub place: (String, Option<usize>),
}

impl ServiceSource {
    /// The default of `max_hold`.
    pub const MAX_HOLD: Window = Window::minutes(5);
    /// The default of `max_body`.
    pub const MAX_BODY: u64 = 1024 * 1024;

    /// The bounds of its connections, if it speaks TCP and no HTTP.
    pub fn tcp(&self) -> Option<TcpLimits> {
        match &self.operations {
            OperationsSource::Connect(limits) => Some(*limits),
            OperationsSource::Methods
            | OperationsSource::OpenApi { .. }
            | OperationsSource::Protobuf { .. }
            | OperationsSource::Inline(_) => None,
        }
    }
}

fn default_hold() -> Window {
    ServiceSource::MAX_HOLD
}

fn default_body() -> u64 {
    ServiceSource::MAX_BODY
}

/// Bytes as text: sources travel as JSON.
mod base64_text {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// URLs as text: the proxy parses them once.
pub mod url_text {
    /// An instance's base URL.
    pub type UrlText = String;
}

/// The action group of an operation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum OperationGroup {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
    /// Changes how the service works.
    Admin,
}

/// Everything that a bundle is made from. Its digest covers all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct BundleSource {
    /// Policies.
    pub policies: Vec<PolicySource>,
    /// Services.
    pub services: Vec<ServiceSource>,
    /// Label keys that policies may read: key to required or not. Empty: the union of all used.
    pub labels: BTreeMap<String, bool>,
    /// Claims of workloads that policies may read, by name: `String`, `Long`, `Bool`, `Set<String>`.
    pub claims: BTreeMap<String, String>,
    /// The same of people.
    #[serde(default)]
    pub user_claims: BTreeMap<String, String>,
    /// Named clocks that policies may read, and their time zones.
    #[serde(default)]
    pub clocks: BTreeMap<String, String>,
    /// Whether the countries of addresses are known: policies may read `context.source.country`.
    #[serde(default)]
    pub geo: bool,
    /// Schedules of people who take turns.
    #[serde(default)]
    pub rotations: BTreeMap<ScheduleName, RotationSource>,
    /// Who can be told by a name in configuration: `teams:payments`, `email`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub receivers: BTreeSet<String>,
    /// Whether other systems may decide access requests: policies on `review` may name workloads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decisions: bool,
}

/// People who take turns being on call.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RotationSource {
    /// Who, in their order: `corp:ana`.
    pub people: Vec<String>,
    /// The time zone of `from`.
    pub zone: String,
    /// When the first turn begins, and at which time of day every other: `2026-01-05T09:00`.
    pub from: String,
    /// How many days a turn lasts.
    pub every_days: u32,
}

/// What the gate has to read of a request before it can be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Demands {
    /// A policy reads `context.params`.
    pub params: bool,
    /// A policy reads `context.body`.
    pub body: bool,
    /// A rule counts uses, so its grants are bound to a digest of the request, body included.
    pub digest: bool,
    /// A policy reads in which country an address is.
    pub country: bool,
    /// A permit has the body kept beside the record.
    pub kept_body: bool,
}

/// A loaded, validated, indexed bundle.
#[derive(Debug)]
pub struct Bundle {
    loaded: Loaded,
    index: Index,
    places: Places,
    errors: EvaluationErrors,
    asks_on_call: bool,
    asks_country: bool,
    claims: BTreeMap<String, String>,
    user_claims: BTreeMap<String, String>,
    pub(crate) authorizer: Authorizer,
}

impl Bundle {
    /// What loads and is most likely not meant, with its place and what to do. Files are below the policy folder.
    pub fn warnings(&self) -> &[LoadError] {
        &self.loaded.warnings
    }

    /// Loads and validates all of `source`; reports every mistake at once.
    pub fn load(source: &BundleSource) -> Result<Self, Vec<LoadError>> {
        let loaded = load::load(source)?;
        let asks_on_call = loaded.policies.iter().any(|(_, policy)| policy.facts.on_call());
        let asks_country = loaded.policies.iter().any(|(_, policy)| policy.reads.country());
        Ok(Self {
            asks_country,
            index: Index::new(&loaded.policies),
            places: Places::new(&loaded),
            errors: EvaluationErrors::default(),
            asks_on_call,
            claims: source.claims.clone(),
            user_claims: source.user_claims.clone(),
            authorizer: Authorizer::new(),
            loaded,
        })
    }

    /// Its name.
    pub fn digest(&self) -> &BundleDigest {
        &self.loaded.digest
    }

    /// Its services and operations.
    pub fn catalog(&self) -> &Catalog {
        &self.loaded.catalog
    }

    /// The generated schema, in Cedar's syntax.
    pub fn schema_text(&self) -> &str {
        &self.loaded.schema_text
    }

    /// The ids of its policies, in the order of their files.
    pub fn policy_ids(&self) -> impl Iterator<Item = &PolicyId> {
        self.loaded.policies.iter().map(|(_, policy)| &policy.id)
    }

    /// How often its policies could not be evaluated.
    pub fn evaluation_errors(&self) -> &EvaluationErrors {
        &self.errors
    }

    /// What must be read before a query on `operation` can be decided.
    pub fn demands(&self, operation: &OperationName) -> Demands {
        self.places.operation(operation).map(|place| place.demands).unwrap_or_default()
    }

    /// Whether configuration keeps this schedule.
    pub fn keeps_schedule(&self, name: &ScheduleName) -> bool {
        self.loaded.rotations.keeps(name)
    }

    pub(crate) fn clocks(&self) -> &Arc<Clocks> {
        &self.loaded.clocks
    }

    pub(crate) fn rotations(&self) -> &Rotations {
        &self.loaded.rotations
    }

    /// Whether some policy asks in which country an address is.
    pub fn asks_country(&self) -> bool {
        self.asks_country
    }

    /// Whether countries are known to it.
    pub fn is_located(&self) -> bool {
        self.loaded.catalog.is_located()
    }

    /// Whether some policy asks who is on call.
    pub(crate) fn asks_who_is_on_call(&self) -> bool {
        self.asks_on_call
    }

    /// Whether `rule` exists, so that grants that it issued may still be worth something.
    pub fn issues(&self, rule: &PolicyId) -> bool {
        let policy = self.loaded.policies.lookup(rule.as_str());
        policy.is_some_and(|(_, policy)| policy.terms.is_some())
    }

    /// The same of grants of this kind: those of an emergency are worth nothing under a rule that is for
    /// emergencies no more.
    pub fn issues_as(&self, rule: &PolicyId, kind: GrantKind) -> bool {
        self.issues(rule) && (kind != GrantKind::Emergency || self.is_for_emergencies(rule))
    }

    /// Whether `rule` is one for emergencies.
    pub fn is_for_emergencies(&self, rule: &PolicyId) -> bool {
        let policy = self.loaded.policies.lookup(rule.as_str());
        policy.and_then(|(_, policy)| policy.terms).is_some_and(|terms| terms.emergency)
    }

    /// How long an emergency by `rule` lasts at most on `service`, if it is a rule for emergencies that
    /// is about any of its operations.
    pub fn longest_emergency(&self, rule: &PolicyId, service: &ServiceName) -> Option<Window> {
        let (_, policy) = self.loaded.policies.lookup(rule.as_str())?;
        let terms = policy.terms.filter(|terms| terms.emergency)?;
        let of_service = self.loaded.catalog.service(service)?.source().max_grant;
        let concerns = !self.operations_under(rule, service).is_empty();
        concerns.then(|| terms.max_duration.min(of_service))
    }

    /// Whether the head of `rule` is about `subject`.
    pub fn admits(&self, rule: &PolicyId, subject: &Subject) -> bool {
        let policy = self.loaded.policies.lookup(rule.as_str());
        let prepared = subject.prepared();
        policy
            .zip(prepared)
            .is_some_and(|((_, policy), prepared)| policy.head.admits_principal(prepared.scoped()))
    }

    /// The operations of `service`, and its classes of data to be seen, that the head of `rule` matches;
    /// none if there is no such rule.
    pub fn operations_under(&self, rule: &PolicyId, service: &ServiceName) -> Vec<OperationName> {
        let Some((_, policy)) = self.loaded.policies.lookup(rule.as_str()) else {
            return Vec::new();
        };
        let all = self.loaded.catalog.service(service).into_iter();
        let names = all.flat_map(|service| {
            let operations = service.operations().map(crate::catalog::Operation::name);
            operations.chain(service.reveals())
        });
        let matching = names.filter(|name| {
            let place = self.places.operation(name);
            place.is_some_and(|place| {
                let class = place.class.as_ref();
                policy.head.admits_action(place.action.scoped())
                    && class.is_none_or(|class| policy.head.admits_resource(class.scoped()))
            })
        });
        matching.cloned().collect()
    }

    /// Who hears of access requests under `rule`.
    pub fn notices(&self, rule: &PolicyId) -> Option<&Notices> {
        self.loaded.policies.lookup(rule.as_str()).map(|(_, policy)| &policy.notices)
    }

    /// Whether the head of any permit matches `subject` on any operation of `service`. If not, the
    /// service does not exist for it.
    pub fn head_matches_service(&self, subject: &Subject, service: &ServiceName) -> bool {
        let Some(prepared) = subject.prepared() else { return false };
        let mut permits = self.places.permits_of(service);
        permits.any(|at| {
            let policy = self.loaded.policies.at(at);
            policy.is_some_and(|policy| policy.head.admits_principal(prepared.scoped()))
        })
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.loaded.policies
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.loaded.schema
    }

    pub(crate) fn entities(&self) -> &Entities {
        &self.loaded.entities
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    pub(crate) fn claims(&self, kind: PrincipalKind) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        match kind {
            PrincipalKind::Anonymous => &NONE,
            PrincipalKind::User => &self.user_claims,
            PrincipalKind::Workload => &self.claims,
        }
    }
}

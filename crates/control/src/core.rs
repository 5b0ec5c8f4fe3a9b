//! What every use case works with.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use portcullis_identity::{AuthMethod, Deciders, RelyingParty};
use portcullis_model::{
    Clock, Entropy, Event, EventId, EventType, GrantId, PrincipalId, Secret, SignInId, TokenHash,
    Window,
};
use portcullis_policy::{Bundle, BundleSource, Snapshot};
use portcullis_store::{Store, index::Index};

use crate::{
    OpContext,
    alerts::Alerts,
    brought::BroughtBundles,
    connections::Connections,
    connector::{
        Connectors,
        contact::Contacts,
        slack::{Slack, SlackParts},
    },
    content_keys::ContentKeys,
    expiry::Deadlines,
    export::Exports,
    feed::Feed,
    heartbeats::Heartbeats,
    holds::Holds,
    keeping::Retention,
    outbox::Outbox,
    paces::Paces,
    ports::{EventLog, Notifier, PeopleProvider, WorkloadVerifier},
    publisher::Publisher,
    rate::RateLimits,
    rates::ExactRates,
    rights::ReviewerNames,
    sealing::Sealing,
    settle::HeldBack,
    usecase::{
        connectors, device::Polls, idle::Seen, notices, recheck::ProviderTokens,
        sightings::Sightings,
    },
};

/// How long things live.
#[derive(Debug, Clone)]
pub struct Settings {
    /// An access request that nobody answers.
    pub access_request: Window,
    /// A sign-in at the gate.
    pub gate_sign_in: Window,
    /// A sign-in at control.
    pub control_sign_in: Window,
    /// A browser's sign-in that nobody uses.
    pub idle: Window,
    /// Ports that gates are reached at, beside that of https.
    pub gate_ports: Vec<u16>,
    /// Browsers may sign in without TLS: the demo, on loopback.
    pub cleartext: bool,
    /// Seals what providers are asked with again. Kept beside the store, never in it.
    pub store_key: Secret,
    /// Principals that are one person by configuration, beside those linked by verified e-mail.
    pub people: Vec<Vec<PrincipalId>>,
    /// For whom passkeys sign; without one there are none.
    pub relying_party: Option<RelyingParty>,
    /// Who vouches for people, by their names in configuration.
    pub sources: BTreeMap<String, Source>,
    /// How workloads prove who they are, by the names of their entries in configuration.
    pub methods: BTreeMap<String, AuthMethod>,
    /// The identity provider that may keep the directory, if one may.
    pub provisioning: Option<Provisioning>,
    /// What sealed credentials are made with; without it there are none.
    pub sealing: Option<Sealing>,
    /// What is kept of requests is sealed with these; without any, nothing is kept.
    pub content_keys: ContentKeys,
    /// Where the index of the record is kept; without it, searches look at one entry after the other.
    pub index: Option<PathBuf>,
    /// How long the record is kept, and by what it is removed; for ever without.
    pub retention: Option<Retention>,
    /// What links to pages of control begin with.
    pub base_url: String,
    /// The systems whose decisions are accepted.
    pub deciders: Deciders,
}

/// Who vouches for people, as `whoami --explain` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As it calls itself.
    pub issuer: String,
    /// The claim that lists groups.
    pub groups_claim: Option<String>,
    /// How.
    pub by: Vouching,
}

/// How somebody vouches for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouching {
    /// By ID tokens.
    OpenIdConnect,
    /// By what is said of access tokens (RFC 7662).
    Introspection,
}

/// The identity provider that keeps the directory by SCIM.
#[derive(Debug, Clone)]
pub struct Provisioning {
    /// The hash of its token.
    pub token: TokenHash,
    /// Its people's provider: the first half of their principals' names.
    pub provider: String,
    /// What is the second half.
    pub subject: ScimSubject,
}

/// Which attribute of a SCIM user is their subject when they sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScimSubject {
    /// `externalId`.
    ExternalId,
    /// `userName`.
    UserName,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_request: Window::minutes(60),
            gate_sign_in: Window::minutes(10),
            control_sign_in: Window::minutes(12 * 60),
            idle: Window::minutes(60),
            gate_ports: Vec::new(),
            cleartext: false,
            store_key: Secret::new(""),
            people: Vec::new(),
            sources: BTreeMap::new(),
            methods: BTreeMap::new(),
            provisioning: None,
            sealing: None,
            content_keys: ContentKeys::default(),
            index: None,
            retention: None,
            base_url: String::new(),
            deciders: Deciders::default(),
            relying_party: None,
        }
    }
}

/// What control is built from.
#[derive(Debug)]
pub struct ControlParts {
    /// The state.
    pub store: Arc<dyn Store>,
    /// The record.
    pub log: Arc<dyn EventLog>,
    /// The policies to start with, as the configuration has them.
    pub bundle: Bundle,
    /// What they were loaded from.
    pub bundle_source: BundleSource,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// How long things live.
    pub settings: Settings,
    /// Where people sign in.
    pub people: Vec<Arc<dyn PeopleProvider>>,
    /// Who checks workloads' tokens.
    pub workloads: Arc<dyn WorkloadVerifier>,
    /// Who tells people of access requests.
    pub notifier: Arc<dyn Notifier>,
    /// Where people talk, if it is connected.
    pub slack: Option<SlackParts>,
    /// Where the record is passed on to.
    pub exports: Exports,
    /// What somebody is called for.
    pub alerts: Alerts,
    /// Other systems that know of incidents.
    pub connectors: Connectors,
}

/// Shared by all use cases and background tasks.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) settings: Settings,
    pub(crate) people: Vec<Arc<dyn PeopleProvider>>,
    pub(crate) workloads: Arc<dyn WorkloadVerifier>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) outbox: Outbox,
    pub(crate) feed: Feed,
    pub(crate) held_back: HeldBack,
    pub(crate) deadlines: Deadlines,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) holds: Holds,
    pub(crate) sightings: Sightings,
    pub(crate) connections: Connections,
    pub(crate) reviewer_names: ReviewerNames,
    pub(crate) notifier: Arc<dyn Notifier>,
    pub(crate) refusal_rates: RateLimits,
    pub(crate) ask_rates: RateLimits,
    pub(crate) exact_rates: ExactRates,
    pub(crate) polls: Polls,
    pub(crate) seen: Seen<SignInId>,
    pub(crate) grants_used: Seen<GrantId>,
    /// Up to when the store knows of it.
    pub(crate) grants_stored: Seen<GrantId>,
    pub(crate) brought: BroughtBundles,
    pub(crate) provider_tokens: ProviderTokens,
    /// How many people are asked about at one time.
    pub(crate) rechecks: tokio::sync::Semaphore,
    /// How many people are told at one time.
    pub(crate) telling: tokio::sync::Semaphore,
    /// How fast each of them is.
    pub(crate) paces: Paces,
    /// Keeps those who cannot prove who they are from filling the record.
    pub(crate) decision_rates: RateLimits,
    pub(crate) slack: Option<Arc<Slack>>,
    /// What was told and has to be taken back.
    pub(crate) told: notices::Told,
    pub(crate) exports: Exports,
    pub(crate) alerts: Alerts,
    pub(crate) connectors: Connectors,
    /// How contact with each connected system is.
    pub(crate) contacts: Arc<Contacts>,
    /// How many messages wait for each, when that was last counted.
    pub(crate) counted: connectors::Counted,
    /// Held while a bundle is activated: generations have one order.
    pub(crate) activating: tokio::sync::Mutex<()>,
    /// The event that says that this process started.
    pub(crate) started: OnceLock<EventId>,
    /// Whether the store knows what the record says must stay.
    pub(crate) caught_up: tokio::sync::watch::Sender<bool>,
    /// Absent while there is none that can be trusted.
    /// What the tests beside the policies found.
    pub(crate) policy_tests: arc_swap::ArcSwapOption<crate::views::PolicyTests>,
    pub(crate) index: ArcSwapOption<Index>,
}

impl Core {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.current()
    }

    /// An event of what `op` does, under the bundle in force.
    pub(crate) fn event(&self, op: &OpContext, kind: EventType) -> Event {
        let mut event = Event::new(EventId::new(op.now(), self.entropy.as_ref()), op.now(), kind);
        event.principal = op.caller().map(|caller| caller.principal().id.clone());
        event.source = op.source();
        event.bundle = Some(self.snapshot().stamp().clone());
        event.detail = op.cause().map(|cause| format!("by {cause}"));
        event
    }
}

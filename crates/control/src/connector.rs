//! Other systems: those that people read and work in, and those that know which incidents are open and who is on call.
//! None of it speaks HTTP: an adapter does.
//!
//! What is told to people goes through [`text`] first, whoever wrote it, and through what escapes for the medium after
//! that. No message carries a right: a link leads to a page where whoever opens it signs in.
//!
//! Systems of incidents tell, and are asked. A message that one sends takes effect at once if it is signed and newer than what is known. Beside
//! that each is asked over and over, so that a lost message is lost for a while only. Both come to one
//! state: an incident has the time, by the clock of its system, of what was last said of it, and
//! nothing older counts. What is known is known for a time; when a system falls silent, it becomes
//! unknown by itself. Here is what is common to them; a file each has
//! what is their own.

pub mod email;
pub mod grafana;
pub mod grafana_incidents;
pub mod incident_io;
pub mod jira;
pub mod pagerduty;
pub mod slack;
pub mod summary;
pub mod teams;
pub mod text;
pub mod vendor;
pub mod wire;

mod apply;
pub(crate) mod contact;
mod hook;
mod keep;
mod notes;
mod people;
mod shifts;
pub(crate) mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use portcullis_model::{IncidentId, PrincipalId, ScheduleName, ServiceName, Severity, Window};
use portcullis_store::Store;
use tokio::sync::Notify;

pub use contact::ConnectedSystem;
pub(crate) use hook::hook;
pub(crate) use keep::run;
pub use summary::Summary;

use self::{people::Emails, vendor::Vendor, wire::Line};
use crate::export::{Filter, Form, SinkSpec};

/// Incidents that are to be looked at soon; more than these are found by the next look at all.
const MOST_LOOKS: usize = 256;
/// Notes in a second, at most.
const NOTES: u32 = 20;

/// A system as configured.
#[derive(Debug, Clone)]
pub struct ConnectorSpec {
    /// What it is called in configuration, in sources and in the path of its messages: `pagerduty`.
    pub door: &'static str,
    /// What its incidents' ids begin with here: `PD`, for `PD-4711`.
    pub prefix: String,
    /// Its services, and those of ours that an incident there is about.
    pub services: BTreeMap<String, BTreeSet<ServiceName>>,
    /// Its severities in our words; its own where there are none.
    pub severities: BTreeMap<String, Severity>,
    /// Our schedules that it keeps, and what it calls them.
    pub schedules: BTreeMap<ScheduleName, String>,
    /// Who its people are here.
    pub people: PeopleMap,
    /// How often it is asked.
    pub every: Window,
    /// For how long what it said is known.
    pub fresh_for: Window,
    /// Where notes on its incidents say that evidence is; none are written without it.
    pub notes: Option<NotesTo>,
    /// How it speaks.
    pub vendor: Arc<dyn Vendor>,
    /// How it is reached.
    pub line: Line,
}

/// Who another system's people are here.
#[derive(Debug, Clone, Default)]
pub struct PeopleMap {
    /// By the verified e-mail address that this provider of people gives them.
    pub by_email: Option<String>,
    /// By their id there.
    pub named: BTreeMap<String, PrincipalId>,
}

/// Where notes lead, and what is on record when they cannot be written.
#[derive(Debug, Clone)]
pub struct NotesTo {
    /// What people call this server.
    pub base_url: String,
    /// It is on record when none could be written for so long.
    pub failing_after: Window,
}

/// All systems that are configured.
#[derive(Debug, Clone, Default)]
pub struct Connectors(Vec<Arc<Connector>>);

/// One system, and what is known of it just now.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) spec: ConnectorSpec,
    emails: Emails,
    looks: Mutex<BTreeSet<String>>,
    wake: Notify,
    refused: Mutex<hook::Refused>,
}

impl Connectors {
    /// Of `specs`.
    pub fn new(specs: impl IntoIterator<Item = ConnectorSpec>) -> Self {
        let connector = |spec| {
            Arc::new(Connector {
                spec,
                emails: Emails::default(),
                looks: Mutex::default(),
                wake: Notify::new(),
                refused: Mutex::default(),
            })
        };
        Self(specs.into_iter().map(connector).collect())
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &Arc<Connector>> {
        self.0.iter()
    }

    pub(crate) fn named(&self, door: &str) -> Option<&Arc<Connector>> {
        self.0.iter().find(|connector| connector.spec.door == door)
    }

    /// The system whose incident this would be, by its id.
    pub(crate) fn of_incident(&self, id: &IncidentId) -> Option<&Arc<Connector>> {
        self.0.iter().find(|connector| connector.has(id))
    }

    /// The system that says who is on call for `name`.
    pub(crate) fn of_schedule(&self, name: &ScheduleName) -> Option<&Arc<Connector>> {
        self.0.iter().find(|connector| connector.spec.schedules.contains_key(name))
    }

    /// How people know them.
    pub(crate) fn systems(&self) -> impl Iterator<Item = ConnectedSystem> {
        self.0.iter().map(|connector| ConnectedSystem {
            kind: connector.spec.door,
            name: connector.spec.door.to_owned(),
            place: connector.spec.line.place(),
        })
    }

    /// What brings notes to those that want them.
    pub(crate) fn notes(&self, store: &Arc<dyn Store>) -> Vec<SinkSpec> {
        let notes = self.0.iter().filter_map(|connector| {
            let to = connector.spec.notes.as_ref()?;
            let sink = notes::Notes::new(Arc::clone(connector), to.clone(), Arc::clone(store));
            Some(SinkSpec {
                name: connector.spec.door.to_owned(),
                place: connector.spec.line.place(),
                form: Form::Note,
                only: Filter {
                    types: notes::TYPES.map(str::to_owned).into(),
                    incidents: Some(format!("{}-", connector.spec.prefix)),
                    ..Filter::default()
                },
                from_the_beginning: false,
                rate: NOTES,
                failing_after: to.failing_after,
                source: to.base_url.clone(),
                sets_aside: None,
                sink: Arc::new(sink),
            })
        });
        notes.collect()
    }
}

impl Connector {
    /// The id here of what it calls `word`; `None` if that fits into no id.
    fn id(&self, word: &str) -> Option<IncidentId> {
        format!("{}-{word}", self.spec.prefix).parse().ok()
    }

    fn has(&self, id: &IncidentId) -> bool {
        let rest = id.as_str().strip_prefix(self.spec.prefix.as_str());
        rest.is_some_and(|rest| rest.starts_with('-'))
    }

    /// Ours that `theirs` stand for.
    fn services(&self, theirs: &[String]) -> BTreeSet<ServiceName> {
        let ours = theirs.iter().filter_map(|one| self.spec.services.get(one));
        ours.flatten().cloned().collect()
    }

    /// The first of `words` that is one of ours, or fits.
    fn severity(&self, words: &[String]) -> Option<Severity> {
        let ours = words.iter().find_map(|word| self.spec.severities.get(word).cloned());
        ours.or_else(|| words.iter().find_map(|word| word.parse().ok()))
    }

    /// This incident is asked about as soon as may be.
    fn look(&self, key: String) {
        let mut looks = self.looks();
        if looks.len() < MOST_LOOKS {
            looks.insert(key);
        }
        drop(looks);
        self.wake.notify_one();
    }

    fn looks(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when what is said of `at` is known.
    pub(crate) fn known_until(&self, at: Timestamp) -> Timestamp {
        at + self.spec.fresh_for.signed()
    }
}

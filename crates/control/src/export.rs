//! The record, passed on: each sink gets every event of the log that its filter names, in the order of the
//! log, at least once.
//!
//! A sink reads the log behind a cursor of its own, which moves only once what is before it has arrived:
//! what comes twice after a crash has the same id. Nobody waits for a sink; the log is the queue, so that
//! one that is down costs nothing but a longer way to go. Alerts go to webhooks in the same way: an
//! alert is an event.

pub(crate) mod form;
pub mod lifecycle;
pub mod ocsf;
pub mod port;
mod reader;
pub(crate) mod standing;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portcullis_model::Window;

pub use port::{Outgoing, Sink};
pub use portcullis_identity::standard_webhooks;
pub(crate) use reader::{cursor, run};
pub use standing::{SinkView, Standing};

/// A sink as configured.
#[derive(Debug, Clone)]
pub struct SinkSpec {
    /// Its name in configuration.
    pub name: String,
    /// Where it leads, for people and the record: without anything secret.
    pub place: String,
    /// In which form it gets events.
    pub form: Form,
    /// Which events it gets.
    pub only: Filter,
    /// Whether it begins with the oldest event, and not with the first one after it was configured.
    pub from_the_beginning: bool,
    /// Events in a second, at most: one that was down for long is not flooded.
    pub rate: u32,
    /// It is on record when it has taken nothing for so long.
    pub failing_after: Window,
    /// What brings events there.
    pub sink: Arc<dyn Sink>,
    /// Who says so, where messages name it: the address of control.
    pub source: String,
    /// A message that is refused for good, or that is this old and still not taken, is set aside, so that what
    /// comes after it goes on. Without it, nothing is ever passed over.
    pub sets_aside: Option<Window>,
}

/// In which form a sink gets events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As events of the Open Cybersecurity Schema Framework.
    Ocsf,
    /// Alerts only, as people read them.
    Alert,
    /// What happens to access requests and grants, as Standard Webhooks has it.
    Standard,
    /// The same as events of CloudEvents 1.0, in structured mode.
    CloudEvents,
    /// Entries as they are, for what makes notes of them on another system's incidents.
    Note,
}

/// Which events a sink gets; a list that is empty names all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these types.
    pub types: BTreeSet<String>,
    /// Of these services.
    pub services: BTreeSet<String>,
    /// Decided like this.
    pub decisions: BTreeSet<String>,
    /// About incidents whose ids begin like this.
    pub incidents: Option<String>,
}

/// What passes the record on, and how far it has come.
#[derive(Debug, Clone, Default)]
pub struct Exports(Vec<Export>);

/// A sink and how it is doing.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) spec: Arc<SinkSpec>,
    pub(crate) standing: Arc<Standing>,
}

impl Exports {
    /// The sink or webhook that its cursor is kept under this name of.
    pub(crate) fn named(&self, form: Form, name: &str) -> Option<&Export> {
        let is_it = |spec: &SinkSpec| spec.form.word() == form.word() && spec.name == name;
        self.0.iter().find(|export| is_it(&export.spec))
    }

    /// Of `sinks`.
    pub fn new(sinks: impl IntoIterator<Item = SinkSpec>) -> Self {
        let export = |spec| Export { spec: Arc::new(spec), standing: Arc::default() };
        Self(sinks.into_iter().map(export).collect())
    }

    /// These, and then `sinks`.
    pub(crate) fn and(self, sinks: Vec<SinkSpec>) -> Self {
        Self(self.0.into_iter().chain(Self::new(sinks).0).collect())
    }

    /// How they are doing, in the order of configuration.
    pub fn views(&self) -> Vec<SinkView> {
        self.0.iter().map(Export::view).collect()
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &Export> {
        self.0.iter()
    }
}

impl Export {
    /// How it is doing.
    pub(crate) fn view(&self) -> SinkView {
        self.standing.view(&self.spec)
    }
}

impl Form {
    /// What webhooks for the lifecycle are called.
    pub const LIFECYCLE: &str = "lifecycle";

    /// What sinks that get it are called.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ocsf => "export",
            Self::Alert => "webhook",
            Self::Standard | Self::CloudEvents => Self::LIFECYCLE,
            Self::Note => "notes",
        }
    }
}

impl SinkSpec {
    /// What its cursor is kept under: a sink and a webhook may have the same name.
    pub(crate) fn reader(&self) -> String {
        format!("{} {}", self.form.word(), self.name)
    }

    /// How long `count` events take at least.
    pub(crate) fn time_of(&self, count: usize) -> Duration {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Duration::from_secs_f64(f64::from(count) / f64::from(self.rate.max(1)))
    }
}

impl Filter {
    /// Whether an event is named by it.
    pub(crate) fn names(&self, leaf: &serde_json::Value) -> bool {
        let within = |all: &BTreeSet<String>, member: &str| {
            let value = || leaf.get(member).and_then(serde_json::Value::as_str);
            all.is_empty() || value().is_some_and(|value| all.contains(value))
        };
        within(&self.types, "type")
            && within(&self.services, "service")
            && within(&self.decisions, "decision")
            && self.incidents.as_ref().is_none_or(|begin| {
                let id = leaf.get("incident").and_then(serde_json::Value::as_str);
                id.is_some_and(|id| id.starts_with(begin))
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_names_what_all_of_its_lists_name() {
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let leaf = json!({"type": "attempt", "service": "payments", "decision": "deny"});
        assert!(Filter::default().names(&leaf) && Filter::default().names(&json!({})));
        let types = Filter { types: set(&["attempt", "started"]), ..Filter::default() };
        assert!(types.names(&leaf) && !types.names(&json!({"type": "stopped"})));
        let both = Filter { decisions: set(&["permit"]), ..types };
        assert!(!both.names(&leaf));
        let services = Filter { services: set(&["payments"]), ..Filter::default() };
        assert!(services.names(&leaf) && !services.names(&json!({"type": "started"})));
    }
}

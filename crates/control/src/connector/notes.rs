//! Notes on another system's incidents: who was given what for it, when that ended, and where the
//! evidence is.
//!
//! Made from the record behind a cursor, as whatever is passed on: at least once, across restarts, and
//! nobody waits for it. What gathered while the system was away becomes one note for each incident.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::SignedDuration;
use portcullis_model::IncidentId;
use portcullis_store::Store;
use serde_json::Value;

use super::{
    Connector, NotesTo,
    wire::{Trouble, text},
};
use crate::{
    export::{Outgoing, Sink},
    ports::NotDelivered,
};

/// What notes are made of.
pub(super) const TYPES: [&str; 3] = ["grant_ended", "grant_extended", "grant_started"];
/// Entries that one note holds.
const MOST: usize = 50;

/// Brings notes to one system.
#[derive(Debug)]
pub(super) struct Notes {
    connector: Arc<Connector>,
    to: NotesTo,
    store: Arc<dyn Store>,
    /// How far each incident's notes went, of those that did not all get through.
    noted: Mutex<HashMap<String, u64>>,
}

impl Notes {
    pub(super) fn new(connector: Arc<Connector>, to: NotesTo, store: Arc<dyn Store>) -> Self {
        Self { connector, to, store, noted: Mutex::default() }
    }

    async fn note(&self, id: &str, entries: &[&Outgoing]) -> Result<(), NotDelivered> {
        let again = |why: String| NotDelivered::yet(why);
        let Ok(incident) = id.parse::<IncidentId>() else { return Ok(()) };
        let known =
            self.store.incident(&incident).await.map_err(|error| again(error.to_string()))?;
        let ours = known.filter(|known| known.source.door == self.connector.spec.door);
        let Some(elsewhere) = ours.and_then(|known| known.elsewhere) else { return Ok(()) };
        let spec = &self.connector.spec;
        let note = written(id, entries, &self.to.base_url);
        match spec.vendor.note(&spec.line, &elsewhere.key, &note).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::warn!(system = spec.door, incident = id, "it is gone there; no note");
                Ok(())
            }
            Err(trouble) => Err(untaken(&trouble)),
        }
    }
}

/// A system that wants to be left alone is, by notes as by questions.
fn untaken(trouble: &Trouble) -> NotDelivered {
    let rest = match trouble {
        Trouble::Limited(rest) => SignedDuration::try_from(*rest).ok(),
        Trouble::Silent(_) | Trouble::Refused(_) | Trouble::Own(_) => None,
    };
    NotDelivered { rest, ..NotDelivered::yet(trouble.to_string()) }
}

#[async_trait]
impl Sink for Notes {
    fn most(&self) -> usize {
        MOST
    }

    async fn deliver(&self, batch: &[Outgoing]) -> Result<(), NotDelivered> {
        let mut by_incident: BTreeMap<String, Vec<&Outgoing>> = BTreeMap::new();
        for one in batch {
            let leaf: Value = serde_json::from_str(&one.json).unwrap_or_default();
            let Some(id) = text(&leaf, "/incident") else { continue };
            let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(&id).is_none_or(|last| *last < one.position) {
                by_incident.entry(id).or_default().push(one);
            }
        }
        for (id, entries) in &by_incident {
            self.note(id, entries).await?;
            if let Some(last) = entries.last() {
                let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.insert(id.clone(), last.position);
            }
        }
        // All got through: what comes next is behind them.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}

fn written(id: &str, entries: &[&Outgoing], base_url: &str) -> String {
    let mut note = String::new();
    for entry in entries {
        let leaf: Value = serde_json::from_str(&entry.json).unwrap_or_default();
        let said = |pointer| text(&leaf, pointer).unwrap_or_default();
        let grant = said("/grant");
        let _infallible = match said("/type").as_str() {
            "grant_started" => writeln!(
                note,
                "Access given: {} may {}, {} ({}; grant {grant})",
                said("/principal/id"),
                said("/operation"),
                said("/detail"),
                entry.time
            ),
            "grant_extended" => writeln!(
                note,
                "Access extended: {} may {}, {} (grant {grant})",
                said("/principal/id"),
                said("/operation"),
                said("/detail")
            ),
            _ => writeln!(
                note,
                "Access ended, {}: {}, {} ({}; grant {grant})",
                said("/decision").replace('_', " "),
                said("/operation"),
                said("/detail"),
                entry.time
            ),
        };
    }
    let _infallible = write!(note, "Evidence: {base_url}/v1/evidence/{id}");
    note
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_system_that_wants_to_be_left_alone_gets_no_note_before() {
        let limited = untaken(&Trouble::Limited(Duration::from_secs(90)));
        assert_eq!((limited.again, limited.rest), (true, Some(SignedDuration::from_secs(90))));
        let silent = untaken(&Trouble::Silent("it does not answer".to_owned()));
        assert_eq!((silent.again, silent.rest), (true, None));
    }
}

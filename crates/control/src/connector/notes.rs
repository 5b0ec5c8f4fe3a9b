//! Notes on another system's incidents: who was given what for it, when that ended, and where the
//! evidence is.
//!
//! Made from the record behind a cursor, as whatever is passed on: at least once, across restarts, and
//! nobody waits for it. What gathered while the system was away becomes one note for each incident.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::SignedDuration;
use portcullis_model::IncidentId;
use portcullis_store::Store;
use serde_json::Value;

use super::{
    Connector, NotesTo,
    text::visible,
    vendor::Note,
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
/// What says that a system will not have this note, and not that whoever writes it may not, or that it is down.
const UNWANTED: [u16; 4] = [400, 409, 413, 422];
/// Characters of what is said of one entry.
const LONGEST_LINE: usize = 1_000;
/// A note that is refused for good is brought so often.
const MOST_REFUSALS: u32 = 3;

/// Brings notes to one system.
#[derive(Debug)]
pub(super) struct Notes {
    connector: Arc<Connector>,
    to: NotesTo,
    store: Arc<dyn Store>,
    /// How it went with each incident's notes, where they did not all get through.
    noted: Mutex<HashMap<String, Noted>>,
}

/// How it went with the notes of one incident.
#[derive(Debug, Clone, Copy, Default)]
struct Noted {
    /// The place of the last entry that was noted.
    last: Option<u64>,
    /// How often what comes next was refused for good.
    refusals: u32,
}

impl Notes {
    pub(super) fn new(connector: Arc<Connector>, to: NotesTo, store: Arc<dyn Store>) -> Self {
        Self { connector, to, store, noted: Mutex::default() }
    }

    async fn note(&self, id: &str, entries: &[&Outgoing]) -> Result<(), NotDelivered> {
        let Ok(incident) = id.parse::<IncidentId>() else { return Ok(()) };
        let known = self.store.incident(&incident).await;
        let known = known.map_err(|error| NotDelivered::yet(error.to_string()))?;
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
            Err(Trouble::Refused(status)) if UNWANTED.contains(&status) => {
                self.unwanted(id, status)
            }
            Err(trouble) => {
                Err(NotDelivered { rest: rest(&trouble), ..NotDelivered::yet(trouble.to_string()) })
            }
        }
    }

    /// One incident that takes no note keeps no other from having theirs.
    fn unwanted(&self, id: &str, status: u16) -> Result<(), NotDelivered> {
        let refusals = {
            let mut noted = self.noted();
            let noted = noted.entry(id.to_owned()).or_default();
            noted.refusals += 1;
            noted.refusals
        };
        if refusals < MOST_REFUSALS {
            return Err(NotDelivered::yet(format!("it answered {status} to a note on `{id}`")));
        }
        let system = self.connector.spec.door;
        tracing::error!(system, incident = id, status, "it takes no note; the evidence has it all");
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<String, Noted>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a system wants to be left alone.
fn rest(trouble: &Trouble) -> Option<SignedDuration> {
    let Trouble::Limited(rest) = trouble else { return None };
    SignedDuration::try_from(*rest).ok()
}

#[async_trait]
impl Sink for Notes {
    fn most(&self) -> usize {
        MOST
    }

    fn gathers(&self) -> bool {
        true
    }

    async fn deliver(&self, batch: &[Outgoing]) -> Result<(), NotDelivered> {
        let mut by_incident: BTreeMap<String, Vec<&Outgoing>> = BTreeMap::new();
        for one in batch {
            let leaf: Value = serde_json::from_str(&one.json).unwrap_or_default();
            let Some(id) = text(&leaf, "/incident") else { continue };
            if self
                .noted()
                .get(&id)
                .and_then(|noted| noted.last)
                .is_none_or(|last| last < one.position)
            {
                by_incident.entry(id).or_default().push(one);
            }
        }
        let mut first = None;
        for (id, entries) in &by_incident {
            match self.note(id, entries).await {
                Ok(()) => {
                    let last = entries.last().map(|last| last.position);
                    self.noted().insert(id.clone(), Noted { last, refusals: 0 });
                }
                // Whoever wants to be left alone is asked for no other incident either.
                Err(limited) if limited.rest.is_some() => return Err(limited),
                Err(other) => first = first.or(Some(other)),
            }
        }
        if let Some(trouble) = first {
            return Err(trouble);
        }
        // All got through: what comes next is behind them.
        self.noted().clear();
        Ok(())
    }
}

fn written(id: &str, entries: &[&Outgoing], base_url: &str) -> Note {
    Note {
        lines: entries.iter().map(|entry| visible(&line(entry), LONGEST_LINE)).collect(),
        incident: id.to_owned(),
        evidence: format!("{base_url}/v1/evidence/{id}"),
    }
}

/// What one entry says. The same entry says the same: whoever finds it in a text has it already.
fn line(entry: &Outgoing) -> String {
    let leaf: Value = serde_json::from_str(&entry.json).unwrap_or_default();
    let said = |pointer| text(&leaf, pointer).unwrap_or_default();
    let (who, what, detail) = (said("/principal/id"), said("/operation"), said("/detail"));
    let (grant, time) = (said("/grant"), entry.time);
    match said("/type").as_str() {
        "grant_started" => {
            format!("Access given: {who} may {what}, {detail} ({time}; grant {grant})")
        }
        "grant_extended" => {
            format!("Access extended: {who} may {what}, {detail} ({time}; grant {grant})")
        }
        _ => {
            let why = said("/decision").replace('_', " ");
            format!("Access ended, {why}: {what}, {detail} ({time}; grant {grant})")
        }
    }
}

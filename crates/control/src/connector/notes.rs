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
use jiff::Timestamp;
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
/// A note that is refused for good, or that goes wrong while others are taken, is brought so often.
const MOST_REFUSALS: u32 = 3;
/// So many incidents that took notes are asked about, at most, to see whether a system is well.
const MOST_ASKED: usize = 3;

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
    /// How often what comes next was refused.
    refusals: u32,
    /// Whether what was brought last was taken.
    takes: bool,
}

impl Notes {
    pub(super) fn new(connector: Arc<Connector>, to: NotesTo, store: Arc<dyn Store>) -> Self {
        Self { connector, to, store, noted: Mutex::default() }
    }

    /// Whether it is written there now: not if it is gone, or none of theirs.
    async fn note(&self, id: &str, entries: &[&Outgoing]) -> Result<bool, Trouble> {
        let Some(key) = self.key(id).await? else { return Ok(false) };
        let spec = &self.connector.spec;
        let note = written(id, entries, &self.to.base_url);
        let is_there = spec.vendor.note(&spec.line, &key, &note).await?;
        if !is_there {
            tracing::warn!(system = spec.door, incident = id, "it is gone there; no note");
        }
        Ok(is_there)
    }

    /// What they call an incident, if it is theirs.
    async fn key(&self, id: &str) -> Result<Option<String>, Trouble> {
        let Ok(incident) = id.parse::<IncidentId>() else { return Ok(None) };
        let known = self.store.incident(&incident).await?;
        let ours = known.filter(|known| known.source.door == self.connector.spec.door);
        Ok(ours.and_then(|known| known.elsewhere).map(|elsewhere| elsewhere.key))
    }

    /// Whether what kept the note of this incident back counts as a refusal of that incident, and not as trouble of the whole
    /// system: it says so, or it takes notes on others and answers still. `now` is what it is asked for.
    async fn refuses(&self, trouble: &Trouble, now: Timestamp) -> bool {
        match trouble {
            Trouble::Refused(status) if UNWANTED.contains(status) => true,
            Trouble::Failed(_) | Trouble::Refused(..=400 | 402..) => self.serves_others(now).await,
            // Silence is everybody's, and so is that nobody is let in.
            Trouble::Limited(_) | Trouble::Silent(_) | Trouble::Own(_) | Trouble::Refused(_) => {
                false
            }
        }
    }

    /// Whether one that took its last note can be asked about.
    async fn serves_others(&self, now: Timestamp) -> bool {
        let spec = &self.connector.spec;
        for id in self.takers() {
            let Ok(Some(key)) = self.key(&id).await else { continue };
            if spec.vendor.one(&spec.line, &key, now).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Some of those that took their last note.
    fn takers(&self) -> Vec<String> {
        let noted = self.noted();
        let all = noted.iter().filter(|(_, noted)| noted.takes);
        all.map(|(id, _)| id.clone()).take(MOST_ASKED).collect()
    }

    /// One incident that takes no note keeps no other from having theirs: whether it goes without.
    fn goes_without(&self, id: &str, trouble: &Trouble) -> bool {
        let refusals = {
            let mut noted = self.noted();
            let noted = noted.entry(id.to_owned()).or_default();
            noted.refusals += 1;
            noted.refusals
        };
        if refusals < MOST_REFUSALS {
            return false;
        }
        let system = self.connector.spec.door;
        tracing::error!(system, incident = id, %trouble, "it takes no note; the evidence has it all");
        true
    }

    /// These are behind us: `takes` if they are written there.
    fn came_through(&self, id: &str, entries: &[&Outgoing], takes: bool) {
        let last = entries.last().map(|last| last.position);
        self.noted().insert(id.to_owned(), Noted { last, refusals: 0, takes });
    }

    /// Whoever takes no note now speaks for nobody else.
    fn takes_none(&self, id: &str) {
        if let Some(noted) = self.noted().get_mut(id) {
            noted.takes = false;
        }
    }

    /// What is not noted yet, by incident.
    fn waiting<'b>(&self, batch: &'b [Outgoing]) -> BTreeMap<String, Vec<&'b Outgoing>> {
        let mut waiting: BTreeMap<String, Vec<&Outgoing>> = BTreeMap::new();
        let noted = self.noted();
        for one in batch {
            let leaf: Value = serde_json::from_str(&one.json).unwrap_or_default();
            let Some(id) = text(&leaf, "/incident") else { continue };
            let last = noted.get(&id).and_then(|noted| noted.last);
            if last.is_none_or(|last| last < one.position) {
                waiting.entry(id).or_default().push(one);
            }
        }
        waiting
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<String, Noted>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It comes again, when whoever wants to be left alone was.
fn not_yet(id: &str, trouble: &Trouble) -> NotDelivered {
    let why = match trouble {
        Trouble::Failed(_) | Trouble::Refused(_) => format!("{trouble} to a note on `{id}`"),
        _ => trouble.to_string(),
    };
    NotDelivered { rest: trouble.rest(), ..NotDelivered::yet(why) }
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
        let waiting = self.waiting(batch);
        let mut kept = Vec::new();
        for (id, entries) in &waiting {
            match self.note(id, entries).await {
                Ok(takes) => self.came_through(id, entries, takes),
                // Whoever wants to be left alone is asked for no other incident either.
                Err(limited @ Trouble::Limited(_)) => return Err(not_yet(id, &limited)),
                Err(trouble) => {
                    self.takes_none(id);
                    kept.push((id, entries, trouble));
                }
            }
        }
        let mut first = None;
        for (id, entries, trouble) in kept {
            let now = entries.last().map(|last| last.time).unwrap_or_default();
            if self.refuses(&trouble, now).await && self.goes_without(id, &trouble) {
                self.came_through(id, entries, false);
            } else {
                first = first.or_else(|| Some(not_yet(id, &trouble)));
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

//! A log that is gone when its test is, and fails when it is told to.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_control::ports::{EventLog, LogEntry, LogPath, LogUnavailable};
use portcullis_model::{Event, EventId, EventType};

/// A log in memory that can be broken.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    leaves: Mutex<Vec<Event>>,
    /// What stands at these positions instead.
    attempts: Mutex<BTreeMap<u64, String>>,
    /// What lies at these positions for whoever reads, and was never signed.
    overwritten: Mutex<BTreeMap<u64, String>>,
    pub(crate) broken: AtomicBool,
    /// Takes nothing more, and can still be read.
    pub(crate) full: AtomicBool,
}

impl MemoryLog {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.leaves.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, kind: EventType) -> usize {
        self.events().iter().filter(|event| event.kind == kind).count()
    }

    /// What a gate would put there: an attempt with this text; its position.
    pub(crate) fn attempt(&self, json: String) -> u64 {
        let mut leaves = self.leaves.lock().unwrap();
        let (id, time) = (EventId::from_bits(leaves.len() as u128), Timestamp::UNIX_EPOCH);
        leaves.push(Event::new(id, time, EventType::Attempt));
        let position = leaves.len() as u64 - 1;
        self.attempts.lock().unwrap().insert(position, json);
        position
    }

    /// Somebody writes this over an entry.
    pub(crate) fn overwrite(&self, position: u64, json: String) {
        self.overwritten.lock().unwrap().insert(position, json);
    }

    /// The entries from `from` on as they were signed.
    pub(crate) fn signed(&self, from: u64, limit: usize) -> Vec<LogEntry> {
        let leaves = self.leaves.lock().unwrap();
        let numbered = leaves.iter().zip(0_u64..).filter(|(_, position)| *position >= from);
        let attempts = self.attempts.lock().unwrap();
        let entry = |(event, position)| {
            let attempt = attempts.get(&position).cloned();
            let json = attempt.unwrap_or_else(|| serde_json::to_string(event).unwrap());
            LogEntry { position, json }
        };
        numbered.take(limit).map(entry).collect()
    }

    fn check(&self) -> Result<(), LogUnavailable> {
        if self.broken.load(Ordering::SeqCst) { Err(LogUnavailable) } else { Ok(()) }
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, event: &Event) -> Result<u64, LogUnavailable> {
        self.check()?;
        if self.full.load(Ordering::SeqCst) {
            return Err(LogUnavailable);
        }
        let mut leaves = self.leaves.lock().unwrap();
        // As the real one does: what is there already is not appended again.
        if let Some(position) = leaves.iter().position(|leaf| leaf.id == event.id) {
            return Ok(position as u64);
        }
        leaves.push(event.clone());
        Ok(leaves.len() as u64 - 1)
    }

    async fn size(&self) -> Result<u64, LogUnavailable> {
        self.check()?;
        Ok(self.leaves.lock().unwrap().len() as u64)
    }

    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, LogUnavailable> {
        self.check()?;
        let mut entries = self.signed(from, limit);
        let overwritten = self.overwritten.lock().unwrap();
        for entry in &mut entries {
            if let Some(json) = overwritten.get(&entry.position) {
                entry.json.clone_from(json);
            }
        }
        Ok(entries)
    }

    async fn file(&self, path: &str) -> Result<Option<Vec<u8>>, LogUnavailable> {
        self.check()?;
        Ok((path == "checkpoint").then(|| b"checkpoint".to_vec()))
    }

    /// Nothing is proved of what is in memory only.
    async fn prove(&self, _: u64) -> Result<Option<String>, LogUnavailable> {
        Err(LogUnavailable)
    }

    async fn prove_all(&self, _: &[u64]) -> Result<Option<Vec<String>>, LogUnavailable> {
        Err(LogUnavailable)
    }

    async fn inclusion(&self, _: u64, _: Option<u64>) -> Result<Option<LogPath>, LogUnavailable> {
        Err(LogUnavailable)
    }

    async fn consistency(&self, _: u64, _: Option<u64>) -> Result<Option<LogPath>, LogUnavailable> {
        Err(LogUnavailable)
    }
}

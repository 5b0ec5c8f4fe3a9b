//! Moves events from the store to the log: each once, in the order of their commits.
//!
//! The store is where an event becomes certain, the log is where it becomes public. Between the two
//! lies one mark per event. A crash between appending and marking is repaired at start, by looking
//! at the end of the log for what was appended.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portcullis_model::EventId;
use portcullis_store::{Store, StoreError};
use tokio::sync::{Mutex, Notify};

use crate::ports::{EventLog, LogUnavailable};

const BATCH: u32 = 256;
const PAGE: usize = 1024;
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Outbox {
    store: Arc<dyn Store>,
    log: Arc<dyn EventLog>,
    /// Whoever holds it moves events; others find theirs moved when they get it.
    moving: Mutex<()>,
    waiting: Notify,
    broken: AtomicBool,
}

/// Why events did not reach the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    #[error(transparent)]
    Log(#[from] LogUnavailable),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Outbox {
    pub(crate) fn new(store: Arc<dyn Store>, log: Arc<dyn EventLog>) -> Self {
        let (moving, waiting) = (Mutex::new(()), Notify::new());
        Self { store, log, moving, waiting, broken: AtomicBool::new(false) }
    }

    /// Whether the last attempt to reach the log failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Lets the background task move what is there; never waits.
    pub(crate) fn wake(&self) {
        self.waiting.notify_one();
    }

    /// Returns once every event committed before the call is in the log.
    pub(crate) async fn drain(&self) -> Result<(), OutboxError> {
        let _turn = self.moving.lock().await;
        let result = self.move_all().await;
        self.broken.store(result.is_err(), Ordering::Release);
        result
    }

    async fn move_all(&self) -> Result<(), OutboxError> {
        loop {
            let events = self.store.unlogged(BATCH).await?;
            if events.is_empty() {
                return Ok(());
            }
            for stored in events {
                let position = self.log.append(&stored.event).await?;
                self.store.logged(stored.seq, position).await?;
            }
        }
    }

    /// Marks what the log has already, as far as a crash kept the marks from being made, and moves
    /// the rest. Runs once, before anything else appends.
    pub(crate) async fn replay(&self) -> Result<(), OutboxError> {
        let mut missing: HashMap<EventId, i64> = HashMap::new();
        for stored in self.store.unlogged(u32::MAX).await? {
            missing.insert(stored.event.id, stored.seq);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut from = self.store.last_logged().await?.map_or(0, |position| position + 1);
        loop {
            let page = self.log.entries(from, PAGE).await?;
            let Some(last) = page.last() else { break };
            from = last.position + 1;
            for entry in &page {
                let found = event_id(&entry.json).and_then(|id| missing.remove(&id));
                if let Some(seq) = found {
                    self.store.logged(seq, entry.position).await?;
                }
            }
        }
        self.drain().await
    }

    /// The background task: moves events when woken, and tries again while the log is broken.
    pub(crate) async fn run(&self, moved: impl Fn()) {
        loop {
            if self.is_broken() {
                tokio::time::sleep(RETRY).await;
            } else {
                self.waiting.notified().await;
            }
            match self.drain().await {
                Ok(()) => moved(),
                Err(error) => tracing::error!(%error, "events wait for the log"),
            }
        }
    }
}

fn event_id(json: &str) -> Option<EventId> {
    #[derive(serde::Deserialize)]
    struct Id {
        id: EventId,
    }
    serde_json::from_str::<Id>(json).ok().map(|found| found.id)
}

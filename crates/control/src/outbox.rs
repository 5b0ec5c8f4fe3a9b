//! Moves events from the store to the log: each once, in the order of their commits.
//!
//! The store is where an event becomes certain, the log is where it becomes public. Between the two
//! lies one mark per event. A crash between appending and marking is repaired at start, by looking
//! at the end of the log for what was appended.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use portcullis_model::EventId;
use portcullis_store::{LogMark, Store, StoreError, StoredEvent};
use tokio::sync::{Mutex, Notify};

use crate::{
    feed::Feed,
    ports::{EventLog, LogEntry, LogUnavailable},
};

const BATCH: u32 = 256;
const PAGE: usize = 1024;
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Outbox {
    store: Arc<dyn Store>,
    log: Arc<dyn EventLog>,
    feed: Feed,
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
    pub(crate) fn new(store: Arc<dyn Store>, log: Arc<dyn EventLog>, feed: Feed) -> Self {
        let (moving, waiting) = (Mutex::new(()), Notify::new());
        Self { store, log, feed, moving, waiting, broken: AtomicBool::new(false) }
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
            let (marks, failed) = self.append(&events).await;
            self.store.logged(&marks).await?;
            // INVARIANT: what is told can be looked up by its position from then on.
            for (mark, stored) in marks.iter().zip(&events) {
                self.feed.tell(mark.position, &stored.event);
            }
            if let Some(error) = failed {
                return Err(error.into());
            }
        }
    }

    /// Appends `events` in their order, without waiting for one before the next is on its way: they
    /// become durable together. Stops counting at the first that failed.
    ///
    // INVARIANT: at most BATCH events are in the log without their mark; after a failure the same
    // ones are appended again, and the log knows far more than BATCH of the newest by their ids.
    async fn append(&self, events: &[StoredEvent]) -> (Vec<LogMark>, Option<LogUnavailable>) {
        let mut waiting: Vec<_> =
            events.iter().map(|stored| (self.log.append(&stored.event), None)).collect();
        poll_fn(|context| {
            let mut all = true;
            // From the first on: the log takes them in the order in which it is first asked.
            for (append, done) in waiting.iter_mut().filter(|(_, done)| done.is_none()) {
                match append.as_mut().poll(context) {
                    Poll::Ready(result) => *done = Some(result),
                    Poll::Pending => all = false,
                }
            }
            if all { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let mut marks = Vec::with_capacity(events.len());
        for (stored, (_, done)) in events.iter().zip(waiting) {
            match done {
                Some(Ok(position)) => marks.push(LogMark { seq: stored.seq, position }),
                Some(Err(error)) => return (marks, Some(error)),
                None => return (marks, Some(LogUnavailable)),
            }
        }
        (marks, None)
    }

    /// Marks what the log has already, as far as a crash kept the marks from being made, and moves
    /// the rest. Runs once, before anything else appends.
    pub(crate) async fn replay(&self) -> Result<(), OutboxError> {
        let result = self.find().await;
        self.broken.store(result.is_err(), Ordering::Release);
        result?;
        self.drain().await
    }

    async fn find(&self) -> Result<(), OutboxError> {
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
            let mark = |entry: &LogEntry| {
                let seq = event_id(&entry.json).and_then(|id| missing.remove(&id))?;
                Some(LogMark { seq, position: entry.position })
            };
            let marks: Vec<LogMark> = page.iter().filter_map(mark).collect();
            self.store.logged(&marks).await?;
        }
        Ok(())
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
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "events wait for the log");
                }
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

//! The sync thread: one for all cores. It makes journals durable, at once where a strict attempt
//! waits and within five milliseconds otherwise. All that wait share one `fdatasync`.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::segments::Segments;
use crate::{Health, LogError, give_way::give_way};

/// How long a write at the standard level may stay in memory only.
const STANDARD_DELAY: Duration = Duration::from_millis(5);

#[derive(Debug)]
enum Wish {
    /// Somebody waits.
    Now(Arc<Segments>),
    /// Within [`STANDARD_DELAY`].
    Soon(Arc<Segments>),
    Stop,
}

/// Asks the sync thread. Cheap to clone, one per journal.
#[derive(Debug, Clone)]
pub struct SyncHandle {
    wishes: mpsc::Sender<Wish>,
}

impl SyncHandle {
    pub(crate) fn now(&self, journal: &Arc<Segments>) {
        // The thread ends only after the record is broken or closed, which every waiter checks.
        let _gone = self.wishes.send(Wish::Now(Arc::clone(journal)));
    }

    pub(crate) fn soon(&self, journal: &Arc<Segments>) {
        let _gone = self.wishes.send(Wish::Soon(Arc::clone(journal)));
    }
}

/// The thread itself; stops when dropped.
#[derive(Debug)]
pub(crate) struct SyncThread {
    handle: SyncHandle,
    thread: Option<JoinHandle<()>>,
}

impl SyncThread {
    pub(crate) fn start(health: Arc<Health>) -> Result<Self, LogError> {
        let (wishes, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("log-sync".to_owned())
            .spawn(move || {
                give_way();
                run(&received, &health);
            })
            .map_err(|source| LogError::io("start", "log-sync", source))?;
        Ok(Self { handle: SyncHandle { wishes }, thread: Some(thread) })
    }

    pub(crate) fn handle(&self) -> SyncHandle {
        self.handle.clone()
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        let _gone = self.handle.wishes.send(Wish::Stop);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Journals to sync, each once.
#[derive(Debug, Default)]
struct Due {
    now: Vec<Arc<Segments>>,
    soon: Vec<Arc<Segments>>,
    soon_at: Option<Instant>,
}

impl Due {
    fn add(&mut self, wish: Wish) -> bool {
        let (list, journal) = match wish {
            Wish::Now(journal) => (&mut self.now, journal),
            Wish::Soon(journal) => {
                self.soon_at.get_or_insert_with(|| Instant::now() + STANDARD_DELAY);
                (&mut self.soon, journal)
            }
            Wish::Stop => return false,
        };
        if !list.iter().any(|known| Arc::ptr_eq(known, &journal)) {
            list.push(journal);
        }
        true
    }

    fn wait(&self) -> Duration {
        let idle = Duration::from_hours(1);
        self.soon_at.map_or(idle, |at| at.saturating_duration_since(Instant::now()))
    }

    fn take(&mut self) -> Vec<Arc<Segments>> {
        let mut due = std::mem::take(&mut self.now);
        if self.soon_at.is_some_and(|at| at <= Instant::now()) {
            self.soon_at = None;
            due.append(&mut self.soon);
        }
        due
    }
}

fn run(wishes: &mpsc::Receiver<Wish>, health: &Health) {
    let mut due = Due::default();
    let mut going_on = true;
    while going_on {
        match wishes.recv_timeout(due.wait()) {
            Ok(wish) => going_on = due.add(wish),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => going_on = false,
        }
        while let Ok(wish) = wishes.try_recv() {
            going_on = due.add(wish) && going_on;
        }
        for journal in due.take() {
            // A sync that failed may have dropped the pages: another attempt would succeed and lie.
            if !health.is_broken()
                && let Err(error) = journal.sync()
            {
                health.break_down(error.to_string());
            }
            if health.is_broken() {
                journal.wake_all();
            }
        }
    }
}

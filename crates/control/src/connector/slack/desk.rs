//! What messages have to be looked at, and how long Slack is left alone.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portcullis_model::AccessRequestId;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Which access requests have to be looked at, and from when on.
#[derive(Debug, Default)]
pub(super) struct Desk {
    due: Mutex<BTreeMap<AccessRequestId, Instant>>,
    changed: Notify,
}

impl Desk {
    /// Not before `at`; earlier if that was said before.
    pub(super) fn look_at(&self, id: AccessRequestId, at: Instant) {
        let mut due = self.due();
        let entry = due.entry(id).or_insert(at);
        *entry = at.min(*entry);
        drop(due);
        self.changed.notify_one();
    }

    pub(super) fn take_due(&self, now: Instant) -> Option<AccessRequestId> {
        let mut due = self.due();
        let (id, _) = due.iter().filter(|(_, at)| **at <= now).min_by_key(|(_, at)| **at)?;
        let id = *id;
        due.remove(&id);
        Some(id)
    }

    pub(super) fn waiting(&self) -> usize {
        self.due().len()
    }

    /// Returns when something is due.
    pub(super) async fn wait(&self) {
        loop {
            let next = self.due().values().min().copied();
            match next {
                None => self.changed.notified().await,
                Some(at) if at <= Instant::now() => return,
                Some(at) => tokio::select! {
                    () = sleep_until(at) => return,
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<AccessRequestId, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until when something is not done, and for how long the next time.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
    length: Duration,
}

impl Pause {
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|until| *until > Instant::now())
    }

    pub(super) fn for_so_long(&mut self, length: Duration) -> Instant {
        let until = Instant::now() + length;
        self.until = Some(until);
        until
    }

    pub(super) fn longer(&mut self) -> Instant {
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.for_so_long(self.length)
    }
}

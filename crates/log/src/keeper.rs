//! The keeper's thread: what is done to the record when it is long finished. Nobody waits for it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{Health, LogError, give_way::give_way_to_all, quota::Quota, segment::Sealer};

/// How often the keeper looks for something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it lets be what could not be done for want of room.
const LET_BE: Duration = Duration::from_secs(10);

/// The thread itself; stops when dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Keeps the log in `log`.
    pub(crate) fn start(log: &Path, quota: Quota, health: Arc<Health>) -> Result<Self, LogError> {
        let sealer = Sealer::open(log)?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("log-keeper".to_owned())
            .spawn(move || {
                give_way_to_all();
                let work = AssertUnwindSafe(|| run(sealer, quota, &health, &stopped));
                if catch_unwind(work).is_err() {
                    give_up(&health);
                }
            })
            .map_err(|source| LogError::io("start", "log-keeper", source))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Nobody measures or seals any more: a quota that was reached then must not hold for ever.
fn give_up(health: &Health) {
    tracing::error!(
        "the keeper's thread panicked: nothing is sealed or measured until the next start"
    );
    health.not_sealed("the keeper's thread panicked".to_owned());
    health.over_quota(false);
}

fn run(sealer: Sealer, mut quota: Quota, health: &Health, stopped: &mpsc::Receiver<()>) {
    let (mut sealer, mut pause) = (Some(sealer), Duration::ZERO);
    let mut seal_at = Instant::now();
    while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
        quota.look(health);
        pause = LOOK_EVERY;
        let Some(seals) = sealer.as_mut().filter(|_| Instant::now() >= seal_at) else { continue };
        health.sealed_until(seals.sealed());
        // Where requests want every core, a segment takes its time.
        match seals.seal(health.size(), || quota.look(health)) {
            Ok(true) => pause = Duration::ZERO,
            Ok(false) => {}
            Err(error) if error.passes() => {
                tracing::warn!(%error, "a part of the record is not sealed yet");
                seal_at = Instant::now() + LET_BE;
            }
            Err(error) => {
                // The entries are as they were, and read as they were.
                tracing::error!(%error, "the record is not sealed any more until the next start");
                health.not_sealed(error.to_string());
                sealer = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_that_is_gone_holds_nobody_up_and_is_told_of() {
        let health = Health::new(Duration::from_secs(1));
        health.over_quota(true);
        assert_eq!(health.unsealed(), None);
        give_up(&health);
        assert!(!health.is_over_quota());
        assert!(health.unsealed().is_some());
    }
}

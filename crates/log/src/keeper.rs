//! The keeper's thread: what is done to the record when it is long finished. Nobody waits for it.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use crate::{Health, LogError, give_way::give_way, segment::Sealer};

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
    pub(crate) fn start(log: &Path, health: Arc<Health>) -> Result<Self, LogError> {
        let sealer = Sealer::open(log)?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("log-keeper".to_owned())
            .spawn(move || {
                give_way();
                run(sealer, &health, &stopped);
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

fn run(mut sealer: Sealer, health: &Health, stopped: &mpsc::Receiver<()>) {
    let mut pause = Duration::ZERO;
    while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
        health.sealed_until(sealer.sealed());
        pause = match sealer.seal(health.size()) {
            Ok(true) => Duration::ZERO,
            Ok(false) => LOOK_EVERY,
            Err(error) if error.passes() => {
                tracing::warn!(%error, "a part of the record is not sealed yet");
                LET_BE
            }
            Err(error) => {
                // The entries are as they were, and read as they were.
                tracing::error!(%error, "the record is not sealed any more until the next start");
                return;
            }
        };
    }
}

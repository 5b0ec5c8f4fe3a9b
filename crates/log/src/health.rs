//! Whether the record can be written. One object for the whole process: the journals ask it before
//! every intent, `/readyz` shows it.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How far the sequencer may be behind the journals before the gate closes, beyond the time that it
/// takes between two checkpoints anyway.
const MOST_BEHIND: Duration = Duration::from_secs(4);

/// What [`Health::state`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthState {
    /// Everything that was promised is kept.
    Working,
    /// The sequencer is more than four seconds behind its pace; ends by itself when it has caught up.
    Behind,
    /// A write or a sync failed: over, until the process starts again.
    Broken(String),
}

/// The health of the record, shared by all threads.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    checkpoint_every: Duration,
    broken: AtomicBool,
    reason: OnceLock<String>,
    /// INVARIANT: everything written to a journal up to this many milliseconds after `started` is in
    /// a signed checkpoint.
    sequenced_ms: AtomicU64,
    /// No sequencer watches (it has not started yet, or stopped in good order).
    unwatched: AtomicBool,
}

impl Health {
    pub(crate) fn new(checkpoint_every: Duration) -> Self {
        Self {
            started: Instant::now(),
            checkpoint_every,
            broken: AtomicBool::new(false),
            reason: OnceLock::new(),
            sequenced_ms: AtomicU64::new(0),
            unwatched: AtomicBool::new(true),
        }
    }

    /// Whether intents are accepted. One clock reading: cheap enough for every tick.
    pub fn is_working(&self) -> bool {
        !self.is_broken() && !self.is_behind()
    }

    /// The same in words.
    pub fn state(&self) -> HealthState {
        if self.is_broken() {
            HealthState::Broken(self.reason())
        } else if self.is_behind() {
            HealthState::Behind
        } else {
            HealthState::Working
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn reason(&self) -> String {
        self.reason.get().cloned().unwrap_or_default()
    }

    /// Breaks the record for good. The first reason stays.
    pub(crate) fn break_down(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(%reason, "the record cannot be written");
        let _later = self.reason.set(reason);
        self.broken.store(true, Ordering::Release);
    }

    /// The record ends in good order.
    pub(crate) fn close(&self) {
        let _earlier = self.reason.set("it was closed".to_owned());
        self.broken.store(true, Ordering::Release);
    }

    /// Everything that was written before `moment` is in a signed checkpoint.
    pub(crate) fn sequenced_until(&self, moment: Instant) {
        let elapsed = moment.saturating_duration_since(self.started).as_millis();
        self.sequenced_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Release);
        self.unwatched.store(false, Ordering::Release);
    }

    pub(crate) fn unwatched(&self) {
        self.unwatched.store(true, Ordering::Release);
    }

    /// How long the oldest of what is not in a signed checkpoint may have waited for that.
    pub fn lag(&self) -> Duration {
        if self.unwatched.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        let sequenced = Duration::from_millis(self.sequenced_ms.load(Ordering::Acquire));
        self.started.elapsed().saturating_sub(sequenced)
    }

    fn is_behind(&self) -> bool {
        self.lag() > self.checkpoint_every.saturating_add(MOST_BEHIND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seconds_behind_is_behind_and_catching_up_ends_it() {
        let mut health = Health::new(Duration::from_secs(1));
        health.sequenced_until(Instant::now());
        assert_eq!(health.state(), HealthState::Working);

        let Some(earlier) = health.started.checked_sub(Duration::from_secs(6)) else { return };
        health.started = earlier;
        health.sequenced_until(earlier);
        assert_eq!(health.state(), HealthState::Behind);
        assert!(!health.is_working());

        health.sequenced_until(Instant::now());
        assert_eq!(health.state(), HealthState::Working);
    }

    #[test]
    fn a_breakdown_is_for_good_and_keeps_its_first_reason() {
        let health = Health::new(Duration::from_secs(1));
        health.break_down("the disk is full");
        health.break_down("something later");
        health.sequenced_until(Instant::now());
        assert_eq!(health.state(), HealthState::Broken("the disk is full".to_owned()));
    }
}

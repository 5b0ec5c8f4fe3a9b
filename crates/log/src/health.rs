//! Whether the record can be written. One object for the whole process: the journals ask it before
//! every intent, `/readyz` shows it.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::LogError;

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
    /// There is no room, or the disk takes no writes: ends by itself when it does again.
    Stalled(String),
    /// A sync failed, or a file is not what it must be: over, until the process starts again.
    Broken(String),
}

/// The health of the record, shared by all threads.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    checkpoint_every: Duration,
    broken: AtomicBool,
    reason: OnceLock<String>,
    stalled: AtomicBool,
    /// Why, while it is stalled.
    want: Mutex<String>,
    /// How often it was.
    stalls: AtomicU64,
    /// Entries that are signed.
    size: AtomicU64,
    /// Segments that are sealed.
    sealed: AtomicU64,
    /// Why nothing is sealed until the next start.
    unsealed: OnceLock<String>,
    /// Bytes that the record takes, if that is measured.
    used: AtomicU64,
    /// It takes more than it may.
    over: AtomicBool,
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
            stalled: AtomicBool::new(false),
            want: Mutex::default(),
            stalls: AtomicU64::new(0),
            size: AtomicU64::new(0),
            sealed: AtomicU64::new(0),
            unsealed: OnceLock::new(),
            used: AtomicU64::new(0),
            over: AtomicBool::new(false),
            sequenced_ms: AtomicU64::new(0),
            unwatched: AtomicBool::new(true),
        }
    }

    /// Whether intents are accepted. One clock reading: cheap enough for every tick.
    pub fn is_working(&self) -> bool {
        !self.is_broken() && !self.is_stalled() && !self.is_behind()
    }

    /// The same in words.
    pub fn state(&self) -> HealthState {
        if self.is_broken() {
            HealthState::Broken(self.reason())
        } else if self.is_stalled() {
            HealthState::Stalled(self.want())
        } else if self.is_behind() {
            HealthState::Behind
        } else {
            HealthState::Working
        }
    }

    /// How often the disk had no room since the start.
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// Entries that are signed.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Spans of 65,536 entries that are sealed: one compressed file each.
    pub fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Why nothing is sealed any more, if it is not. The record goes on.
    pub fn unsealed(&self) -> Option<String> {
        self.unsealed.get().cloned()
    }

    pub(crate) fn not_sealed(&self, why: String) {
        let _first_stays = self.unsealed.set(why);
    }

    /// Bytes that the record takes on its disk, its journals aside; 0 where there is no quota.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn takes(&self, bytes: u64) {
        self.used.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn over_quota(&self, over: bool) {
        self.over.store(over, Ordering::Release);
    }

    pub(crate) fn is_over_quota(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn signed_until(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub(crate) fn sealed_until(&self, segments: u64) {
        self.sealed.store(segments, Ordering::Relaxed);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    pub(crate) fn want(&self) -> String {
        self.want.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something could not be written: the record waits for room, or is broken for good.
    pub(crate) fn fail(&self, error: &LogError) {
        if error.passes() {
            self.stall(error.to_string());
        } else {
            self.break_down(error.to_string());
        }
    }

    /// Nothing is accepted until [`Self::go_on`]: the sequencer looks for room, and says so.
    pub(crate) fn stall(&self, reason: String) {
        let mut want = self.want.lock().unwrap_or_else(PoisonError::into_inner);
        // The lock is held: of two that fail at the same time, one is told.
        if !self.stalled.swap(true, Ordering::AcqRel) {
            tracing::error!(%reason, "the record waits for room: nothing is forwarded until then");
            self.stalls.fetch_add(1, Ordering::Relaxed);
            *want = reason;
        }
    }

    /// There is room again, and what waited for it is written.
    pub(crate) fn go_on(&self) {
        let _want = self.want.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stalled.swap(false, Ordering::AcqRel) {
            tracing::warn!("there is room for the record again: it goes on");
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

    #[test]
    fn want_of_room_passes_and_a_failed_sync_does_not() {
        let failed = |action, errno| {
            LogError::io(action, "journal", std::io::Error::from_raw_os_error(errno))
        };
        let health = Health::new(Duration::from_secs(1));
        // ENOSPC, EDQUOT, EROFS, EFBIG.
        for errno in [28, 122, 30, 27] {
            health.fail(&failed("write", errno));
            assert!(matches!(health.state(), HealthState::Stalled(_)), "{errno}");
            assert!(!health.is_working());
            health.go_on();
            assert_eq!(health.state(), HealthState::Working);
        }
        assert_eq!(health.stalls(), 4);
        // Even for want of room: what a failed sync has dropped, nobody knows.
        health.fail(&failed("sync", 28));
        assert!(matches!(health.state(), HealthState::Broken(_)));
        health.go_on();
        assert!(!health.is_working());
        let other = Health::new(Duration::from_secs(1));
        other.fail(&failed("write", 5));
        assert!(matches!(other.state(), HealthState::Broken(_)));
    }
}

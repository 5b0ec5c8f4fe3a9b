//! The keys of one issuer, kept at hand.
//!
//! Fetches are single, bounded in pace and done on the control runtime, whoever asks for them: a
//! caller can neither make the issuer's server busy nor make a core of the data plane wait for
//! anything but a notification. The last good set stays in use up to a maximum age; after that
//! the issuer counts as unavailable.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use portcullis_model::Clock;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    jwks::KeySet,
    provider::{Provider, ProviderError},
};

/// How often keys are fetched, and for how long they are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The least time between two fetches that callers cause. Default 10 s.
    pub min_interval: Duration,
    /// The time between two fetches in the background, and so the longest time for which a key
    /// that its issuer removed is still accepted. Default 5 min.
    pub refresh_every: Duration,
    /// How old the last good set may become while the issuer does not answer. Default 1 h.
    pub max_age: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(10),
            refresh_every: Duration::from_mins(5),
            max_age: Duration::from_hours(1),
        }
    }
}

/// Numbers the states of all key sets of the process. A cache that holds what a key vouched for
/// compares numbers, and a number never comes twice, also across a reload.
#[derive(Debug)]
pub(crate) struct KeysVersion(AtomicU64);

static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

impl KeysVersion {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(NEXT_VERSION.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn advance(&self) {
        self.0.store(NEXT_VERSION.fetch_add(1, Ordering::Relaxed), Ordering::Release);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct KeySource {
    provider: Provider,
    pace: Pace,
    clock: Arc<dyn Clock>,
    control: Handle,
    held: ArcSwapOption<HeldKeys>,
    attempts: Mutex<Attempts>,
    version: Arc<KeysVersion>,
}

/// A key set that is good until a certain time.
#[derive(Debug)]
pub(crate) struct HeldKeys {
    pub(crate) keys: KeySet,
    fetched_at: Timestamp,
    pub(crate) good_until: Timestamp,
}

#[derive(Debug, Default)]
struct Attempts {
    /// Closes when the fetch that is under way has ended.
    flight: Option<watch::Receiver<()>>,
    /// When the last one ended.
    ended_at: Option<Timestamp>,
    /// How many failed in a row.
    failures: u32,
}

/// What there is to hope for, when no key at hand fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// A fetch may bring it: wait for it.
    Fetch,
    /// The issuer has answered a moment ago: there is no such key.
    None,
    /// The issuer has not answered a moment ago.
    Unavailable,
}

impl KeySource {
    pub(crate) fn new(
        provider: Provider,
        pace: Pace,
        clock: Arc<dyn Clock>,
        control: Handle,
        version: Arc<KeysVersion>,
    ) -> Arc<Self> {
        let (held, attempts) = (ArcSwapOption::empty(), Mutex::default());
        Arc::new(Self { provider, pace, clock, control, held, attempts, version })
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The keys, unless there are none or they are too old.
    pub(crate) fn held(&self, now: Timestamp) -> Option<Arc<HeldKeys>> {
        self.held.load_full().filter(|held| now < held.good_until)
    }

    /// Whether something read at `since` need not be read again yet.
    pub(crate) fn is_fresh(&self, since: Timestamp, now: Timestamp) -> bool {
        since <= now && now.duration_since(since).unsigned_abs() < self.pace.refresh_every
    }

    pub(crate) fn prospect(&self, now: Timestamp) -> Prospect {
        let attempts = self.attempts();
        if attempts.flight.is_some() || self.is_due(&attempts, now) {
            Prospect::Fetch
        } else if attempts.failures > 0 {
            Prospect::Unavailable
        } else {
            Prospect::None
        }
    }

    /// Waits for a fetch: the one under way, or a new one if the pace allows one.
    pub(crate) async fn refresh(self: &Arc<Self>) {
        let flight = self.board(false);
        if let Some(mut flight) = flight {
            // An error means that the sender is gone, which is the sign that we wait for.
            let _ = flight.changed().await;
        }
    }

    /// Waits for a fetch, however lately there was one. Not for what anybody can cause.
    pub(crate) async fn refresh_at_once(self: &Arc<Self>) {
        if let Some(mut flight) = self.board(true) {
            let _ = flight.changed().await;
        }
    }

    /// Whether the last fetch failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.attempts().failures > 0
    }

    /// Fetches in the background for as long as this source is in use.
    pub(crate) fn keep_fresh(self: &Arc<Self>) {
        let source = Arc::downgrade(self);
        self.control.spawn(async move {
            while let Some(pause) = fetch_once(&source).await {
                tokio::time::sleep(pause).await;
            }
        });
    }

    fn board(self: &Arc<Self>, at_any_pace: bool) -> Option<watch::Receiver<()>> {
        let mut attempts = self.attempts();
        if attempts.flight.is_some() {
            return attempts.flight.clone();
        }
        if !at_any_pace && !self.is_due(&attempts, self.clock.now()) {
            return None;
        }
        let (landed, flight) = watch::channel(());
        attempts.flight = Some(flight.clone());
        let landing = Landing { source: Arc::clone(self), landed: Some(landed) };
        self.control.spawn(async move { landing.fly().await });
        Some(flight)
    }

    /// Whether callers may cause a fetch. A clock that went back counts as time gone by.
    fn is_due(&self, attempts: &Attempts, now: Timestamp) -> bool {
        let Some(ended_at) = attempts.ended_at else { return true };
        let wait =
            if attempts.failures == 0 { self.pace.min_interval } else { self.backoff(attempts) };
        now < ended_at || now.duration_since(ended_at).unsigned_abs() >= wait
    }

    /// 1 s, 2 s, 4 s and so on after failures, up to the least interval.
    fn backoff(&self, attempts: &Attempts) -> Duration {
        let doubled = 1_u64 << attempts.failures.saturating_sub(1).min(10);
        Duration::from_secs(doubled).min(self.pace.min_interval)
    }

    fn store(&self, fetched: Result<KeySet, ProviderError>) {
        let now = self.clock.now();
        let mut attempts = self.attempts();
        attempts.ended_at = Some(now);
        match fetched {
            Ok(keys) => {
                attempts.failures = 0;
                self.replace(keys, now);
            }
            Err(error) => {
                attempts.failures = attempts.failures.saturating_add(1);
                let failures = attempts.failures;
                tracing::warn!(issuer = %self.provider.issuer, %error, failures, "keys.fetch failed");
            }
        }
    }

    fn replace(&self, keys: KeySet, now: Timestamp) {
        let max_age = SignedDuration::try_from(self.pace.max_age).unwrap_or(SignedDuration::MAX);
        let good_until = now.checked_add(max_age).unwrap_or(Timestamp::MAX);
        let before = self.held.load_full();
        let count = keys.len();
        let changed = before.as_ref().is_none_or(|before| before.keys != keys);
        self.held.store(Some(Arc::new(HeldKeys { keys, fetched_at: now, good_until })));
        if changed {
            // After the store: who sees the new number sees the new keys too.
            self.version.advance();
            let since = before.map(|before| before.fetched_at.to_string());
            tracing::info!(issuer = %self.provider.issuer, keys = count, since, "keys.changed");
        }
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches and says how long to pause; `None` once nobody uses the source any more.
async fn fetch_once(source: &Weak<KeySource>) -> Option<Duration> {
    let flight = source.upgrade()?.board(true);
    if let Some(mut flight) = flight {
        let _ = flight.changed().await;
    }
    let source = source.upgrade()?;
    let attempts = source.attempts();
    let failed = attempts.failures > 0;
    Some(if failed { source.backoff(&attempts) } else { source.pace.refresh_every })
}

/// A fetch under way. However it ends, also by a panic, the next one may start.
struct Landing {
    source: Arc<KeySource>,
    landed: Option<watch::Sender<()>>,
}

impl Landing {
    async fn fly(self) {
        let fetched = self.source.provider.keys().await;
        self.source.store(fetched);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.source.attempts().flight = None;
        drop(self.landed.take());
    }
}

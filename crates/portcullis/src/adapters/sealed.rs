//! Sealed credentials: what the gate has on its own disk, and how control reads it.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use portcullis_control::{
    ports::LogUnavailable,
    sealing::{SealedEntry, SealedLog, SealedLogBroken},
};
use portcullis_identity::sealed::{Opened, SealedNote, SealingKey, SealingPublicKey};
use portcullis_log::{Chain, ChainBroken, ChainEntry, Link, read_chain};
use portcullis_model::{Clock, GrantId, SealedId};
use portcullis_proxy::ports::{RecordBroken, SealedUses};
use portcullis_store::SealedMark;

const LOG: &str = "uses";

/// The gate's half. Writes what it cannot read again.
#[derive(Debug)]
pub(crate) struct SealedDesk {
    key: SealingPublicKey,
    clock: Arc<dyn Clock>,
    /// What was revoked when this process started.
    revoked: BTreeSet<SealedId>,
    time: Mutex<Seen>,
    pad: Arc<Mutex<Pad>>,
}

/// The latest time that was seen, and when that was by the clock that nobody sets.
#[derive(Debug)]
struct Seen {
    at: Timestamp,
    uptime: Instant,
}

impl Seen {
    /// Later than anything seen before, however the clock on the wall is set.
    fn on(&mut self, now: Timestamp, uptime: Instant) -> Timestamp {
        let passed = uptime.saturating_duration_since(self.uptime);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let least = self.at.checked_add(passed).unwrap_or(Timestamp::MAX);
        *self = Self { at: least.max(now), uptime };
        self.at
    }
}

#[derive(Debug)]
struct Pad {
    chain: Chain,
    /// The openings that are written down, and until when they are good.
    opened: HashMap<GrantId, Timestamp>,
}

impl SealedDesk {
    /// With what is in `folder`.
    pub(crate) fn open(
        folder: &Path,
        key: SealingPublicKey,
        revoked: BTreeSet<SealedId>,
        seen: Timestamp,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let chain = Chain::open(&folder.join(LOG))?;
        let pad = Arc::new(Mutex::new(Pad { chain, opened: HashMap::new() }));
        let time = Mutex::new(Seen { at: seen, uptime: Instant::now() });
        Ok(Self { key, clock, revoked, time, pad })
    }

    /// The time that sealed credentials are judged by now, to be kept over a restart.
    pub(crate) fn time(&self) -> Timestamp {
        self.judged_at(self.clock.now())
    }

    /// Writes `note` down, away from the gate's core: disks may be slow.
    async fn write(
        &self,
        note: SealedNote,
        of: Option<(GrantId, Timestamp)>,
    ) -> Result<(), RecordBroken> {
        let (pad, key, now) = (Arc::clone(&self.pad), self.key.clone(), self.clock.now());
        let written = tokio::task::spawn_blocking(move || {
            let mut pad = pad.lock().unwrap_or_else(PoisonError::into_inner);
            // Another core may have written the same meanwhile.
            if of.is_some_and(|(grant, _)| pad.opened.contains_key(&grant)) {
                return Ok(());
            }
            let text = serde_json::to_vec(&note).map_err(io::Error::other)?;
            let letter = key.write_letter(&about(pad.chain.next()), &text);
            pad.chain.append(&letter.ok_or_else(|| io::Error::other("cannot be encrypted"))?)?;
            pad.opened.retain(|_, until| *until > now);
            pad.opened.extend(of);
            Ok::<_, io::Error>(())
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, "a sealed credential cannot be used: nothing can be written down");
                Err(RecordBroken)
            }
            Err(_) => Err(RecordBroken),
        }
    }
}

/// What a letter belongs to: its place in the log.
fn about(link: &Link) -> Vec<u8> {
    format!("{} {}", link.number, link.before).into_bytes()
}

#[async_trait]
impl SealedUses for SealedDesk {
    fn key(&self) -> &SealingPublicKey {
        &self.key
    }

    fn is_revoked(&self, id: SealedId) -> bool {
        self.revoked.contains(&id)
    }

    fn judged_at(&self, now: Timestamp) -> Timestamp {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        time.on(now, Instant::now())
    }

    async fn opened(
        &self,
        token: &str,
        opened: &Arc<Opened>,
        source: IpAddr,
    ) -> Result<(), RecordBroken> {
        let grant = opened.grant.id;
        let known = {
            let pad = self.pad.lock().unwrap_or_else(PoisonError::into_inner);
            pad.opened.contains_key(&grant)
        };
        if known {
            return Ok(());
        }
        let note = SealedNote::Opened { token: token.to_owned(), at: self.clock.now(), source };
        self.write(note, Some((grant, opened.grant.expires_at))).await
    }

    async fn request(&self, opened: &Arc<Opened>, attempt: String) -> Result<(), RecordBroken> {
        let (grant, at) = (opened.grant.id, self.clock.now());
        self.write(SealedNote::Request { grant, at, attempt }, None).await
    }
}

/// Control's half: reads what gates wrote.
#[derive(Debug)]
pub(crate) struct SealedReader {
    key: Arc<SealingKey>,
    path: PathBuf,
    done: Arc<Mutex<Option<Done>>>,
}

/// The length of the log, and up to where it was read, when there was nothing more to read.
type Done = (u64, Option<SealedMark>);

impl SealedReader {
    /// Of the log in `folder`.
    pub(crate) fn new(folder: &Path, key: Arc<SealingKey>) -> Self {
        Self { key, path: folder.join(LOG), done: Arc::default() }
    }
}

#[async_trait]
impl SealedLog for SealedReader {
    async fn entries(
        &self,
        from: Option<&SealedMark>,
    ) -> Result<Result<Vec<SealedEntry>, SealedLogBroken>, LogUnavailable> {
        let (path, key, done) = (self.path.clone(), Arc::clone(&self.key), Arc::clone(&self.done));
        let from = from.cloned();
        let read = tokio::task::spawn_blocking(move || {
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            let here = Some((length, from.clone()));
            if *done == here {
                return Ok(Ok(Vec::new()));
            }
            let link = from.map(|SealedMark { number, before }| Link { number, before });
            let found = read_chain(&path, link.as_ref())?;
            if found.as_ref().is_ok_and(Vec::is_empty) {
                *done = here;
            }
            Ok::<_, io::Error>(found)
        });
        match read.await {
            Ok(Ok(Ok(entries))) => {
                Ok(Ok(entries.into_iter().map(|one| entry(&key, one)).collect()))
            }
            Ok(Ok(Err(ChainBroken(number)))) => Ok(Err(SealedLogBroken(number))),
            Ok(Err(_)) | Err(_) => Err(LogUnavailable),
        }
    }
}

fn entry(key: &SealingKey, one: ChainEntry) -> SealedEntry {
    let note = key.read_letter(&about(&one.link), &one.bytes);
    let next = SealedMark { number: one.next.number, before: one.next.before };
    SealedEntry { number: one.link.number, next, note }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn e32_time_goes_on_whatever_the_wall_says() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut seen = Seen { at: at("2026-11-22T02:00:00Z"), uptime: begun };
        assert_eq!(seen.on(at("2026-11-22T02:10:00Z"), begun), at("2026-11-22T02:10:00Z"));
        let back = at("2026-11-22T01:00:00Z");
        assert_eq!(seen.on(back, begun), at("2026-11-22T02:10:00Z"), "set back");
        assert_eq!(seen.on(back, begun + second), at("2026-11-22T02:10:01Z"), "and it goes on");
        assert_eq!(seen.on(Timestamp::MAX, begun + second), Timestamp::MAX);
        assert_eq!(seen.on(back, begun + 9 * second), Timestamp::MAX, "nothing overflows");
    }
}

//! Ships the record: copies sealed segments, tiles and checkpoints to another place while it grows.
//!
//! At least once, from a durable place: what was copied and not noted down is copied again, which
//! changes nothing. The gate does not wait for it. A place that holds a record which this one is not the
//! continuation of is left alone, and so is one that another record has claimed before: of two that begin in one
//! empty place at once, the second says whose it is.

pub(crate) mod target;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use futures_util::{StreamExt, stream};
use portcullis_log::{LogError, Reader, Shipment, Shipped};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use self::target::{Target, TargetError};
use crate::config::{Loaded, Ship};

/// Says whose the place is, from before the first file of a copy on.
const CLAIM: &str = "claim";
/// Characters of somebody else's claim that are shown.
const SHOWN: usize = 80;
/// Files that are under way at the same time.
const AT_ONCE: usize = 8;

/// Starts to ship the record in `log`, if the configuration says where to.
pub(crate) fn start(
    loaded: &Loaded,
    log: &Path,
    runtime: &Handle,
) -> anyhow::Result<Option<Arc<Shipping>>> {
    let Some(ship) = &loaded.config.audit.ship else { return Ok(None) };
    let shipper = Shipper::open(ship, &loaded.base, log)?;
    let state = Arc::clone(&shipper.state);
    runtime.spawn(shipper.run());
    Ok(Some(state))
}

/// Where the shipping is.
#[derive(Debug)]
pub(crate) struct Shipping {
    target: Arc<Target>,
    /// Held by whoever changes what is there: what is removed must not be copied again by a copy under way.
    turn: tokio::sync::Mutex<()>,
    /// What the copy's checkpoint speaks of, as it was seen or put there since the start.
    signed: AtomicU64,
    entries: AtomicU64,
    segments: AtomicU64,
    failures: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Shipping {
    fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            turn: tokio::sync::Mutex::default(),
            signed: AtomicU64::default(),
            entries: AtomicU64::default(),
            segments: AtomicU64::default(),
            failures: AtomicU64::default(),
            trouble: Mutex::default(),
        }
    }

    /// Whether the copy has the record at `position`, under a checkpoint.
    pub(crate) fn says(&self, position: u64) -> Result<(), String> {
        if self.signed.load(Ordering::Acquire) > position {
            return Ok(());
        }
        Err(format!(
            "the copy has no checkpoint yet that speaks of record {position}, which says so"
        ))
    }

    /// Removes files from the copy of what `reader` reads, if it has the record at `position`, which says that
    /// they are. Those that are not there do no harm.
    pub(crate) async fn remove(
        &self,
        reader: &Reader,
        position: u64,
        files: Vec<String>,
    ) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        // INVARIANT: without it, whoever verifies the copy finds a gap that nothing explains.
        self.says(position)?;
        let said = copy(reader.clone(), Arc::clone(&self.target), Reader::REMOVED.to_owned());
        said.await.map_err(|error| error.to_string())?;
        let removals = stream::iter(files).map(|name| {
            let target = Arc::clone(&self.target);
            async move { target.remove(&name).await }
        });
        let mut removals = removals.buffer_unordered(AT_ONCE);
        while let Some(removed) = removals.next().await {
            removed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Entries that are copied.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Acquire)
    }

    /// Spans of 65,536 entries that the copy has as sealed segments.
    pub(crate) fn segments(&self) -> u64 {
        self.segments.load(Ordering::Acquire)
    }

    /// How often it failed since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Why the last attempt failed, if it did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reached(&self, shipped: &Shipped) {
        self.entries.store(shipped.size, Ordering::Release);
        self.segments.store(shipped.segments, Ordering::Release);
    }

    fn signs(&self, size: u64) {
        self.signed.store(size, Ordering::Release);
    }

    /// Tells of trouble when it begins or changes, and when it is over.
    fn tell(&self, to: &str, error: Option<&ShipError>) {
        let found = error.map(ToString::to_string);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        self.failures.fetch_add(u64::from(found.is_some()), Ordering::Relaxed);
        if *trouble != found {
            if let Some(error) = &found {
                tracing::error!(to, %error, "the record is not shipped");
            } else {
                tracing::info!(to, "the record is shipped again");
            }
            *trouble = found;
        }
    }
}

/// Why nothing was copied, or not all.
#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("`{}` cannot be written: {source}", path.display())]
    Cursor { path: PathBuf, source: io::Error },
    #[error("there is another record, or a later state of this one, which would be lost: {0}")]
    NotOurs(String),
    #[error(
        "the place belongs to the record `{0}`, as the file `claim` there says: ship this one to another place, or \
         empty it if that record is gone"
    )]
    Taken(String),
    #[error("`{0}` is missing in the record itself: `portcullis audit verify` says more")]
    Missing(String),
    #[error("a thread of the shipping ended")]
    Gone,
}

/// How far which copy is, as it lies in `audit/shipped`.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Cursor {
    /// The place, with the endpoint.
    to: String,
    /// What the copy's checkpoint speaks of.
    signed: u64,
    /// A file that was copied on the way to the next checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    landmark: Option<String>,
    #[serde(flatten)]
    shipped: Shipped,
}

/// Copies one record to one place.
#[derive(Debug)]
struct Shipper {
    reader: Reader,
    target: Arc<Target>,
    path: PathBuf,
    cursor: Cursor,
    every: Duration,
    state: Arc<Shipping>,
    /// Who this record is: the first key that its log ever had.
    name: String,
    /// The place was ours when somebody last looked.
    is_ours: bool,
    /// The checkpoint that was there when somebody last looked.
    last: Option<Vec<u8>>,
}

impl Shipper {
    /// Goes on where the cursor beside the log says; `log` is the audit directory's `log`.
    fn open(ship: &Ship, base: &Path, log: &Path) -> anyhow::Result<Self> {
        let path = log.with_file_name("shipped");
        let endpoint = ship.s3.as_ref().and_then(|s3| s3.endpoint.as_ref());
        let at = endpoint.map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
        let to = format!("{}{at}", ship.to);
        // A cursor that is torn or of another place only means that more is copied again.
        let known = fs::read(&path).ok();
        let known = known.and_then(|bytes| serde_json::from_slice::<Cursor>(&bytes).ok());
        let known = known.filter(|known| known.to == to);
        let cursor = known.unwrap_or_else(|| Cursor { to, ..Cursor::default() });
        let (reader, target) = (Reader::open(log)?, Arc::new(Target::open(ship, base)?));
        let state = Arc::new(Shipping::new(Arc::clone(&target)));
        state.reached(&cursor.shipped);
        let every = ship.every.get();
        let keys = log.with_file_name("log.pub");
        let keys = fs::read_to_string(&keys)
            .with_context(|| format!("cannot read `{}`", keys.display()))?;
        let name = keys.split_whitespace().next().unwrap_or_default().to_owned();
        Ok(Self { reader, target, path, cursor, every, state, name, is_ours: false, last: None })
    }

    /// Copies until it is aborted.
    async fn run(mut self) {
        loop {
            let done = self.catch_up().await;
            self.state.tell(&self.cursor.to, done.as_ref().err());
            tokio::time::sleep(self.every).await;
        }
    }

    async fn catch_up(&mut self) -> Result<(), ShipError> {
        loop {
            let state = Arc::clone(&self.state);
            let _turn = state.turn.lock().await;
            self.look().await?;
            let (reader, shipped) = (self.reader.clone(), self.cursor.shipped.clone());
            let Some(shipment) = blocking(move || reader.shipment(&shipped)).await?? else {
                return Ok(());
            };
            self.copy(&shipment).await?;
        }
    }

    /// What is there must be a beginning of this record: nothing else is overwritten. A copy that is
    /// gone, or was set back, is made anew. Says whether all was as it was left.
    async fn look(&mut self) -> Result<bool, ShipError> {
        let there = self.target.get("checkpoint").await?;
        if there.is_some() && there == self.last {
            return Ok(true);
        }
        let lost = if let Some(there) = &there {
            let reader = self.reader.clone();
            let there = String::from_utf8_lossy(there).into_owned();
            let found = blocking(move || reader.continues(&there)).await??;
            self.state.signs(found.as_ref().copied().unwrap_or_default());
            found.map_err(ShipError::NotOurs)? < self.cursor.signed
        } else {
            self.state.signs(0);
            !self.has_landmark().await?
        };
        if there.is_none() || !self.is_ours {
            self.claim().await?;
        }
        let same = there == self.last && !lost;
        if lost {
            self.cursor = Cursor { to: self.cursor.to.clone(), ..Cursor::default() };
            self.state.reached(&self.cursor.shipped);
        }
        self.last = there;
        Ok(same)
    }

    /// Takes the place if it is nobody's. Two that begin at once would not see each other's checkpoints, and write
    /// over each other's files.
    async fn claim(&mut self) -> Result<(), ShipError> {
        self.is_ours = false;
        if self.target.get(CLAIM).await?.is_none() {
            self.target.create(CLAIM, self.name.clone().into_bytes()).await?;
        }
        // Also where it was created just now: not every store keeps to conditions.
        let there = self.target.get(CLAIM).await?.unwrap_or_default();
        self.is_ours = there == self.name.as_bytes();
        if self.is_ours {
            return Ok(());
        }
        let there = String::from_utf8_lossy(&there);
        let shown = there.chars().filter(char::is_ascii_graphic).take(SHOWN).collect();
        Err(ShipError::Taken(shown))
    }

    /// Whether a copy without a checkpoint is the one that was begun.
    async fn has_landmark(&self) -> Result<bool, ShipError> {
        if self.cursor.signed > 0 {
            return Ok(false);
        }
        let Some(name) = self.cursor.landmark.clone() else {
            return Ok(self.cursor.shipped == Shipped::default());
        };
        let there = self.target.get(&name).await?;
        let reader = self.reader.clone();
        Ok(there.is_some() && there == blocking(move || reader.shipped_file(&name)).await??)
    }

    async fn copy(&mut self, shipment: &Shipment) -> Result<(), ShipError> {
        let (reader, target) = (self.reader.clone(), Arc::clone(&self.target));
        let copies = stream::iter(shipment.files.clone())
            .map(move |name| copy(reader.clone(), Arc::clone(&target), name));
        let mut copies = copies.buffer_unordered(AT_ONCE);
        while let Some(copied) = copies.next().await {
            copied?;
        }
        drop(copies);
        // Whoever emptied the place meanwhile, or put something else there: it is looked at anew.
        if !self.look().await? {
            return Ok(());
        }
        if let Some(checkpoint) = &shipment.checkpoint {
            let checkpoint = checkpoint.clone().into_bytes();
            self.target.put("checkpoint", checkpoint.clone()).await?;
            self.last = Some(checkpoint);
            self.cursor.signed = shipment.then.size;
            self.state.signs(self.cursor.signed);
            self.cursor.landmark = None;
        } else {
            self.cursor.landmark = shipment.files.last().cloned();
        }
        self.cursor.shipped = shipment.then.clone();
        self.state.reached(&self.cursor.shipped);
        let (path, cursor) = (self.path.clone(), self.cursor.clone());
        blocking(move || note(&path, &cursor)).await??;
        for name in &shipment.obsolete {
            // Where nothing can be removed, as in a bucket with a lock, it stays and does no harm.
            let _stays = self.target.remove(name).await;
        }
        Ok(())
    }
}

async fn copy(reader: Reader, target: Arc<Target>, name: String) -> Result<(), ShipError> {
    let of = name.clone();
    match blocking(move || reader.shipped_file(&of)).await?? {
        Some(bytes) => Ok(target.put(&name, bytes).await?),
        None => Err(ShipError::Missing(name)),
    }
}

/// Makes `cursor` durable. If that fails, more is copied again after the next start.
fn note(path: &Path, cursor: &Cursor) -> Result<(), ShipError> {
    let scratch = path.with_added_extension("new");
    let written = serde_json::to_vec(cursor).map_err(io::Error::from).and_then(|bytes| {
        let mut file = fs::File::create(&scratch)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&scratch, path)
    });
    written.map_err(|source| ShipError::Cursor { path: path.to_owned(), source })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ShipError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ShipError::Gone)
}

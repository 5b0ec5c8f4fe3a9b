//! Ships the record: copies sealed segments, tiles and checkpoints to another place while it grows.
//!
//! At least once, from a durable place: what was copied and not noted down is copied again, which
//! changes nothing. The gate does not wait for it. A place that holds a record which this one is not the
//! continuation of is left alone.

mod target;

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

use futures_util::{StreamExt, stream};
use portcullis_log::{LogError, Reader, Shipment, Shipped};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use self::target::{Target, TargetError};
use crate::config::{Loaded, Ship};

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
#[derive(Debug, Default)]
pub(crate) struct Shipping {
    entries: AtomicU64,
    segments: AtomicU64,
    failures: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Shipping {
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
    /// The log has grown over what was to be copied: there is a newer checkpoint.
    #[error("the record grows faster than it can be read")]
    Moved,
    #[error("`{0}` is missing in the record itself: `portcullis audit verify` says more")]
    Missing(String),
    #[error("a thread of the shipping ended")]
    Gone,
}

/// How far which copy is, as it lies in `audit/shipped`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    to: String,
    /// What the copy's checkpoint speaks of.
    signed: u64,
    #[serde(flatten)]
    shipped: Shipped,
}

/// Copies one record to one place.
#[derive(Debug)]
struct Shipper {
    reader: Reader,
    target: Arc<Target>,
    to: String,
    cursor: PathBuf,
    shipped: Shipped,
    signed: u64,
    every: Duration,
    state: Arc<Shipping>,
    /// What is at the target was looked at.
    looked: bool,
}

impl Shipper {
    /// Goes on where the cursor beside the log says; `log` is the audit directory's `log`.
    fn open(ship: &Ship, base: &Path, log: &Path) -> anyhow::Result<Self> {
        let (to, cursor) = (ship.to.to_string(), log.with_file_name("shipped"));
        // A cursor that is torn or of another place only means that more is copied again.
        let known = fs::read(&cursor).ok();
        let known = known.and_then(|bytes| serde_json::from_slice::<Cursor>(&bytes).ok());
        let known = known.filter(|known| known.to == to).unwrap_or_default();
        let (shipped, signed) = (known.shipped, known.signed);
        let state = Arc::new(Shipping::default());
        state.reached(&shipped);
        let (reader, target) = (Reader::open(log)?, Arc::new(Target::open(ship, base)?));
        let every = ship.every.get();
        Ok(Self { reader, target, to, cursor, shipped, signed, every, state, looked: false })
    }

    /// Copies until it is aborted.
    async fn run(mut self) {
        loop {
            let done = self.catch_up().await;
            self.state.tell(&self.to, done.as_ref().err());
            tokio::time::sleep(self.every).await;
        }
    }

    async fn catch_up(&mut self) -> Result<(), ShipError> {
        self.look().await?;
        let mut moved = 0;
        loop {
            let (reader, shipped) = (self.reader.clone(), self.shipped.clone());
            let Some(shipment) = blocking(move || reader.shipment(&shipped)).await?? else {
                return Ok(());
            };
            match self.copy(&shipment).await {
                Err(ShipError::Moved) if moved < 10 => moved += 1,
                copied => copied?,
            }
        }
    }

    /// What is there must be a beginning of this record: nothing else is overwritten.
    async fn look(&mut self) -> Result<(), ShipError> {
        if self.looked {
            return Ok(());
        }
        let mut signed = 0;
        if let Some(there) = self.target.get("checkpoint").await? {
            let reader = self.reader.clone();
            let there = String::from_utf8_lossy(&there).into_owned();
            let found = blocking(move || reader.continues(&there)).await??;
            signed = found.map_err(ShipError::NotOurs)?;
        }
        if signed < self.signed {
            // Somebody removed the copy, or set it back: it is made anew.
            self.shipped = Shipped::default();
        }
        self.looked = true;
        Ok(())
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
        if let Some(checkpoint) = &shipment.checkpoint {
            self.target.put("checkpoint", checkpoint.clone().into_bytes()).await?;
            self.signed = shipment.then.size;
        }
        self.shipped = shipment.then.clone();
        self.state.reached(&self.shipped);
        let (to, shipped) = (self.to.clone(), self.shipped.clone());
        let cursor = Cursor { to, signed: self.signed, shipped };
        let path = self.cursor.clone();
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
        // It was finished since: there is a newer checkpoint, which speaks of the finished one.
        None if name.contains(".p/") => Err(ShipError::Moved),
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

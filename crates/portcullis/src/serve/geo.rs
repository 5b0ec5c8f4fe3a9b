//! The database of countries, kept up to date while the process runs.
//!
//! Looked at every few seconds and at every reload. What is good takes the place of what was; what is not
//! good changes nothing, and is told. Without one, a request that a policy asks about is not decided.

use std::{
    fs::Metadata,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use arc_swap::ArcSwapOption;
use maxminddb::{Reader, path};
use portcullis_policy::{Country, LoadError};
use portcullis_proxy::ports::{Countries, NoDatabase};

use super::certificates::USABLE;
use crate::{config::Config, diagnostics};

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Default)]
pub(crate) struct Geo {
    reader: ArcSwapOption<Reader<Vec<u8>>>,
    /// The file in force, and what it looked like.
    file: Mutex<Option<(PathBuf, Seen)>>,
}

/// A database that can be put in force.
pub(crate) struct Opened {
    path: PathBuf,
    seen: Seen,
    reader: Reader<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    length: u64,
    modified: Option<std::time::SystemTime>,
    inode: u64,
}

impl std::fmt::Debug for Geo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Geo({})", if self.reader.load().is_some() { "open" } else { "none" })
    }
}

impl Geo {
    /// With the database that `config` names, if it names one.
    pub(super) fn first(config: &Config, base: &Path) -> Result<Arc<Self>> {
        let geo = Self::default();
        let opened = geo.open(config, base);
        if let Some(opened) = opened.map_err(|error| diagnostics::error(&[*error], base))? {
            geo.commit(opened);
        }
        Ok(Arc::new(geo))
    }

    /// The database that `config` names, if it is another or has changed. One that is no longer named stays:
    /// the bundle in force may still ask.
    pub(crate) fn open(
        &self,
        config: &Config,
        base: &Path,
    ) -> Result<Option<Opened>, Box<LoadError>> {
        let Some(geo) = &config.geo else { return Ok(None) };
        let before = self.file().clone();
        Opened::unless(before.as_ref(), base.join(&geo.database)).map_err(|error| {
            let message = format!("`geo.database`: {error:#}");
            Box::new(geo.spot.mistake(message, Some(USABLE.into())))
        })
    }

    /// Whether any is in force.
    pub(super) fn is_there(&self) -> bool {
        self.reader.load().is_some()
    }

    /// Puts `opened` in force.
    pub(super) fn commit(&self, opened: Opened) {
        self.put(&mut self.file(), opened);
    }

    fn put(&self, file: &mut Option<(PathBuf, Seen)>, opened: Opened) {
        let Opened { path, seen, reader } = opened;
        let built = reader.metadata().build_epoch;
        self.reader.store(Some(Arc::new(reader)));
        tracing::info!(database = %path.display(), built, "geo.opened");
        *file = Some((path, seen));
    }

    fn file(&self) -> MutexGuard<'_, Option<(PathBuf, Seen)>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the file now and then, until aborted. Needs a runtime.
    pub(super) fn keep_fresh(self: &Arc<Self>) {
        let geo = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut told = None;
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(geo) = geo.upgrade() else { return };
                let looked = tokio::task::spawn_blocking(move || geo.look_again()).await;
                let trouble = match looked {
                    Ok(looked) => looked.err().map(|error| format!("{error:#}")),
                    Err(_) => Some("reading it broke off".to_owned()),
                };
                if let Some(trouble) =
                    trouble.as_ref().filter(|trouble| told.as_ref() != Some(*trouble))
                {
                    tracing::error!(%trouble, "geo.stale: the last good database stays in force");
                }
                told = trouble;
            }
        });
    }

    fn look_again(&self) -> Result<()> {
        // Held meanwhile: what a reload puts in force must not be followed by what was before it.
        let mut file = self.file();
        let Some((path, _)) = &*file else { return Ok(()) };
        if let Some(opened) = Opened::unless(file.as_ref(), path.clone())? {
            self.put(&mut file, opened);
        }
        Ok(())
    }
}

impl Opened {
    /// Opens the database at `path`, unless it is as it was `before`.
    fn unless(before: Option<&(PathBuf, Seen)>, path: PathBuf) -> Result<Option<Self>> {
        let named = || format!("{} is not usable as a database of countries", path.display());
        let seen = Seen::of(&std::fs::metadata(&path).with_context(named)?);
        if before.is_some_and(|(known, was)| *known == path && *was == seen) {
            return Ok(None);
        }
        let reader = opened(&path).with_context(named)?;
        Ok(Some(Self { path, seen, reader }))
    }
}

impl Countries for Geo {
    fn country(&self, ip: IpAddr) -> Result<Option<Country>, NoDatabase> {
        let reader = self.reader.load();
        let reader = reader.as_ref().ok_or(NoDatabase)?;
        country(reader, ip)
    }
}

impl Seen {
    fn of(file: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { length: file.len(), modified: file.modified().ok(), inode: file.ino() }
    }
}

/// Opens and tries it.
fn opened(path: &Path) -> Result<Reader<Vec<u8>>> {
    let reader = Reader::open_readfile(path)?;
    // Whoever comes by IPv6 would be nowhere, and pass what was written to stop them.
    ensure!(
        reader.metadata().ip_version == 6,
        "it knows IPv4 addresses only; take one that knows IPv6, which has both"
    );
    for tried in [IpAddr::from([1, 1, 1, 1]), IpAddr::from([0; 16])] {
        country(&reader, tried).map_err(|NoDatabase| anyhow!("it says what is no country"))?;
    }
    Ok(reader)
}

/// What cannot be read is not the same as what is not there: a policy might let pass what it was written to
/// stop.
fn country(reader: &Reader<Vec<u8>>, ip: IpAddr) -> Result<Option<Country>, NoDatabase> {
    let found = reader.lookup(ip).map_err(|_| NoDatabase)?;
    let code: Option<&str> =
        found.decode_path(&path!["country", "iso_code"]).map_err(|_| NoDatabase)?;
    code.map(|code| code.parse().map_err(|_| NoDatabase)).transpose()
}

//! What sealed credentials take: control's key beside the store, and a folder that the gate can do with
//! when everything else is gone.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use portcullis_control::{Snapshots, sealing::Sealing};
use portcullis_identity::sealed::{SealingKey, SealingPublicKey};
use portcullis_model::{Clock, Entropy, SealedId};
use tokio::task::JoinHandle;

use crate::{
    adapters::{SealedDesk, SealedReader},
    config::Loaded,
};

const PUBLIC: &str = "control.pub";
const REVOKED: &str = "revoked";
const CLOCK: &str = "clock";
/// How often the time is kept: what was over for longer than this stays over, also if the clock is set
/// back and the gate started again.
const KEEP_TIME_EVERY: Duration = Duration::from_secs(10);

/// The folder, and what is in it.
#[derive(Debug)]
pub(super) struct SealedFolder {
    path: PathBuf,
    public: SealingPublicKey,
    revoked: BTreeSet<SealedId>,
    /// The latest time that was seen here.
    seen: Timestamp,
}

/// Control's half, if configuration wants sealed credentials.
pub(super) fn sealing(loaded: &Loaded, entropy: &dyn Entropy) -> Result<Option<Sealing>> {
    let Some(section) = &loaded.config.sealed else { return Ok(None) };
    let folder = loaded.base.join(&section.directory);
    fs::create_dir_all(&folder)
        .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let mut name = loaded.base.join(loaded.config.store.path()).into_os_string();
    name.push(".sealing-key");
    let key = Arc::new(sealing_key(Path::new(&name), entropy)?);
    publish_key(&folder.join(PUBLIC), key.public())?;
    let log = Arc::new(SealedReader::new(&folder, Arc::clone(&key)));
    Ok(Some(Sealing { key, log }))
}

/// The key at `path`; a new one if there is none.
fn sealing_key(path: &Path, entropy: &dyn Entropy) -> Result<SealingKey> {
    let shown = path.display();
    match fs::read_to_string(path) {
        Ok(text) => SealingKey::read(text.trim()).with_context(|| {
            format!("{shown} is no sealing key; restore it: sealed credentials are worth nothing under another")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (key, text) = SealingKey::generate(entropy).context("no sealing key can be made")?;
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let mut file = made.with_context(|| format!("the key {shown} cannot be made"))?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("the key {shown} cannot be read")),
    }
}

/// INVARIANT: a gate that knows another control's key keeps it. It may be a folder of another house.
fn publish_key(path: &Path, key: &SealingPublicKey) -> Result<()> {
    match public_key(path) {
        Ok(Some(known)) if known == *key => Ok(()),
        Ok(Some(_)) => bail!(
            "{} is the public half of another sealing key; restore the key beside the store, or remove \
             the file to make all sealed credentials worthless",
            path.display()
        ),
        Ok(None) => write_whole(path, serde_json::to_string(key)?.as_bytes()),
        Err(error) => Err(error),
    }
}

fn public_key(path: &Path) -> Result<Option<SealingPublicKey>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    let key = serde_json::from_str(&text);
    key.map(Some).with_context(|| format!("{} is no public key of control", path.display()))
}

impl SealedFolder {
    /// What a gate has of it; `None` if configuration wants none.
    pub(super) fn open(loaded: &Loaded) -> Result<Option<Self>> {
        let Some(section) = &loaded.config.sealed else { return Ok(None) };
        let path = loaded.base.join(&section.directory);
        let file = path.join(PUBLIC);
        let public = public_key(&file)?;
        let public = public.with_context(|| format!("{} is not there", file.display()))?;
        let revoked = match fs::read_to_string(path.join(REVOKED)) {
            Ok(text) => text.lines().map(str::parse).collect::<Result<_, _>>(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => return Err(error).context("what was revoked cannot be read"),
        };
        // INVARIANT: a gate that does not know what was revoked accepts nothing.
        let revoked =
            revoked.with_context(|| format!("{REVOKED} in {} is damaged", path.display()))?;
        let seen = match fs::read_to_string(path.join(CLOCK)) {
            Ok(text) => text.trim().parse::<Timestamp>().with_context(|| {
                format!("{CLOCK} in {} is no time; remove it if the clock is right", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Timestamp::MIN,
            Err(error) => return Err(error).context("the time that was seen last cannot be read"),
        };
        Ok(Some(Self { path, public, revoked, seen }))
    }

    /// What the gate does with it.
    pub(super) fn desk(&self, clock: Arc<dyn Clock>) -> Result<SealedDesk> {
        if clock.now() < self.seen {
            tracing::error!(
                seen = %self.seen, file = %self.path.join(CLOCK).display(),
                "the clock was set back; sealed credentials are judged by the time that was seen \
                 last, until the file is removed and the gate started again"
            );
        }
        let (key, revoked) = (self.public.clone(), self.revoked.clone());
        let desk = SealedDesk::open(&self.path, key, revoked, self.seen, clock);
        desk.with_context(|| format!("the sealed log in {} cannot be opened", self.path.display()))
    }

    /// Keeps what is revoked on disk, and the time, for the day on which control says nothing.
    pub(super) fn keep(self, desk: Arc<SealedDesk>, snapshots: Arc<Snapshots>) -> JoinHandle<()> {
        tokio::spawn(async move {
            let Self { path, mut revoked, .. } = self;
            let mut changes = snapshots.changes();
            let mut kept: Option<Instant> = None;
            loop {
                let mut now = revoked.clone();
                now.extend(snapshots.current().sealed_revoked());
                if now != revoked {
                    let mut text =
                        now.iter().map(SealedId::to_string).collect::<Vec<_>>().join("\n");
                    text.push('\n');
                    if keep(path.join(REVOKED), text).await {
                        revoked = now;
                    }
                }
                if kept.is_none_or(|kept| kept.elapsed() >= KEEP_TIME_EVERY) {
                    keep(path.join(CLOCK), format!("{}\n", desk.time())).await;
                    kept = Some(Instant::now());
                }
                // What could not be kept is tried again soon.
                let soon = Duration::from_secs(1);
                if let Ok(Err(_)) = tokio::time::timeout(soon, changes.changed()).await {
                    return;
                }
            }
        })
    }
}

/// Whether the file is on stable storage now.
async fn keep(path: PathBuf, text: String) -> bool {
    let name = path.display().to_string();
    let written = tokio::task::spawn_blocking(move || write_whole(&path, text.as_bytes())).await;
    match written {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, file = name, "what the gate has to know cannot be kept on disk");
            false
        }
        Err(_) => false,
    }
}

/// All of it or nothing, on stable storage.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

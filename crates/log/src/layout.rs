//! Where everything lies below the audit directory, and how files get there for good.
//!
//! ```text
//! audit/lock              held while a process has the log open
//! audit/log.key, log.pub  the key (0600) and what auditors need of it and of the keys before
//! audit/log.key.next      while the log is handed over to another key
//! audit/committed         the commit record: see `sequencer::committed`
//! audit/journal/core-N/   frames that are not in the log yet
//! audit/shipped           how far a copy elsewhere is
//! audit/log/              what auditors copy: `checkpoint` and `tile/`, as C2SP tlog-tiles has them,
//!                         and `segment/`: finished entries, compressed; `removed`: see `removal`
//! ```

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{LogError, error::SYNC};

/// The paths of one audit directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the directories that are missing.
    pub(crate) fn create(root: &Path) -> Result<Self, LogError> {
        let layout = Self { root: root.to_owned() };
        for directory in [layout.log(), layout.journal()] {
            fs::create_dir_all(&directory)
                .map_err(|source| LogError::io("create", directory, source))?;
        }
        // A process that died while it looked for room has left it there.
        let _mostly_not_there = fs::remove_file(layout.room());
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.root.join("log.key")
    }

    pub(crate) fn public_key(&self) -> PathBuf {
        self.root.join("log.pub")
    }

    /// The key that the log is being handed over to.
    pub(crate) fn next_key(&self) -> PathBuf {
        self.root.join("log.key.next")
    }

    pub(crate) fn committed(&self) -> PathBuf {
        self.root.join("committed")
    }

    fn room(&self) -> PathBuf {
        self.root.join("room")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(crate) fn core_journal(&self, core: usize) -> PathBuf {
        self.journal().join(format!("core-{core}"))
    }
}

/// Replaces `target` as a whole: whoever reads sees the old text or the new one, also after a power
/// cut. `scratch` is on the same file system.
pub(crate) fn replace_durably(
    target: &Path,
    scratch: &Path,
    content: &[u8],
) -> Result<(), LogError> {
    let mut file =
        File::create(scratch).map_err(|source| LogError::io("create", scratch, source))?;
    file.write_all(content).map_err(|source| LogError::io("write", scratch, source))?;
    file.sync_data().map_err(|source| LogError::io(SYNC, scratch, source))?;
    fs::rename(scratch, target).map_err(|source| LogError::io("replace", target, source))?;
    target.parent().map_or(Ok(()), sync_directory)
}

/// How much must fit on the disk before the record goes on: it shall not stall with the next tick.
const ROOM: usize = 1 << 20;

/// Whether there is room for the record, found out by taking some and giving it back.
pub(crate) fn has_room(layout: &Layout) -> bool {
    let path = layout.room();
    let written = File::create(&path).and_then(|mut file| {
        let block = [0x5A; 16 << 10];
        (0..ROOM / block.len()).try_for_each(|_| file.write_all(&block))
    });
    let removed = fs::remove_file(&path);
    written.is_ok() && removed.is_ok()
}

/// What was not there need not be deleted.
pub(crate) fn gone(deleted: io::Result<()>, path: &Path) -> Result<(), LogError> {
    match deleted {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io("delete", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), LogError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| LogError::io(SYNC, directory, source))
}

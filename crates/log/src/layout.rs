//! Where everything lies below the audit directory, and how files get there for good.
//!
//! ```text
//! audit/lock              held while a process has the log open
//! audit/log.key, log.pub  the key (0600) and what auditors need of it and of the keys before
//! audit/log.key.next      while the log is handed over to another key
//! audit/committed         the commit record: see `sequencer::committed`
//! audit/journal/core-N/   frames that are not in the log yet
//! audit/log/              what auditors copy: `checkpoint` and `tile/`, as C2SP tlog-tiles has them
//! ```

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use crate::LogError;

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
    file.write_all(content)
        .and_then(|()| file.sync_data())
        .map_err(|source| LogError::io("write", scratch, source))?;
    fs::rename(scratch, target).map_err(|source| LogError::io("replace", target, source))?;
    target.parent().map_or(Ok(()), sync_directory)
}

/// Makes the names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), LogError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| LogError::io("sync", directory, source))
}

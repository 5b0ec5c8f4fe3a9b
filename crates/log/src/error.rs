//! What can go wrong with the log, in words for whoever runs it.

use std::{io, path::PathBuf};

/// The action of [`LogError::Io`] that makes something durable.
pub(crate) const SYNC: &str = "sync";

/// The log cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error("`{}` is in use by another process: stop that one first", .0.display())]
    InUse(PathBuf),
    /// A file does not say what it must.
    #[error("`{}` is damaged: {what}; restore it, or start a new log in another directory", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The key is not one, or belongs to another log.
    #[error("the log's key: {0}")]
    Key(String),
    /// An entry is longer than the C2SP format can hold.
    #[error("an entry of {0} bytes does not fit into the log: the most is 65535")]
    TooLarge(usize),
    /// The log stopped working earlier; the reason was logged and is in [`crate::Health`].
    #[error("the log does not work any more: {0}")]
    Broken(String),
    /// There is no room for the record. Ends by itself.
    #[error("the log waits for room: {0}")]
    Stalled(String),
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    /// Whether trying again later can succeed, and do no harm: nothing was written, or a part of what
    /// nobody counts on. Never for a sync: after a failed one the system may have dropped the pages,
    /// and another would succeed and lie.
    pub(crate) fn passes(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match self {
            Self::Io { action, source, .. } => {
                *action != SYNC
                    && matches!(
                        source.kind(),
                        StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge
                    )
            }
            Self::Stalled(_) => true,
            _ => false,
        }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), what: what.into() }
    }
}

/// The record cannot be written: nothing may be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be written")]
pub struct RecordBroken;

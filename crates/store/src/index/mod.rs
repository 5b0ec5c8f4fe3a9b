//! The index of the record: where in the log an answer may be. A file of its own, which nothing depends on: it is
//! made from the log, and made anew when it is missing, damaged or of another version.
//!
//! Positions are cut into blocks of 4096. For each term (a field and its value) there is one row per block that it
//! is in, with the positions in it; words are in a full-text table. What is found is a candidate: who asks reads
//! the entry from the log and looks whether it answers, so that a mistake here can hide an entry, but not invent one.
//!
//! All statements have their text compiled in; values are bound, and words are letters and digits only.

mod bits;
mod find;
mod open;
mod streams;
mod tables;
mod write;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use portcullis_model::EventFilter;
use sqlx::SqlitePool;
use tokio::sync::Mutex;

pub use find::Found;
pub use open::{give_way, has_room, remove};

/// Positions in one block.
pub(crate) const BLOCK: u64 = 4096;

/// Why the index does not help.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// What is in it cannot be right: it has to be made anew.
    #[error("the index of the record is damaged: {0}")]
    Damaged(String),
    /// It does not answer, or the disk is full. May work later.
    #[error("the index of the record does not answer")]
    Unavailable(#[source] sqlx::Error),
}

type Result<T> = std::result::Result<T, IndexError>;

/// Up to where the index goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Covered {
    /// The first position that is not in it.
    pub next: u64,
    /// The entry before it, as it was then: another one there means another log.
    pub last: Option<String>,
}

/// An entry to be indexed.
#[derive(Debug, Clone, Copy)]
pub struct Indexed<'a> {
    /// Its position.
    pub position: u64,
    /// Its text.
    pub json: &'a str,
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    writer: Mutex<write::Writer>,
    readers: SqlitePool,
    is_damaged: AtomicBool,
}

impl Index {
    /// Opens the index at `path`, or makes an empty one. One of another version is damaged to us.
    pub async fn open(path: &Path) -> Result<Self> {
        let (writer, readers) = open::open(path).await?;
        let writer = Mutex::new(write::Writer::new(writer));
        Ok(Self { writer, readers, is_damaged: AtomicBool::new(false) })
    }

    /// Up to where it goes.
    pub async fn covered(&self) -> Result<Covered> {
        let covered = tables::covered(&self.readers).await;
        self.noted(covered)
    }

    /// Adds the entries that follow; all of them or none. An entry that is no event is skipped.
    pub async fn add(&self, entries: &[Indexed<'_>]) -> Result<()> {
        let added = self.writer.lock().await.add(entries).await;
        self.noted(added)
    }

    /// Forgets what is between these positions, the second not included; both begin a block.
    pub async fn forget(&self, from: u64, to: u64) -> Result<()> {
        let forgotten = self.writer.lock().await.forget(from, to).await;
        self.noted(forgotten)
    }

    /// At most `at_most` positions where an answer to `filter` may be, in the order that it asks for.
    pub async fn find(&self, filter: &EventFilter, at_most: usize) -> Result<Found> {
        let found = find::find(&self.readers, filter, at_most).await;
        self.noted(found)
    }

    /// Whether something in it was found to be wrong.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Lets go of its file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.lock().await.close().await;
    }

    fn noted<T>(&self, result: Result<T>) -> Result<T> {
        if matches!(result, Err(IndexError::Damaged(_))) {
            self.is_damaged.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// What SQLite says when a file is not what it should be, in the low byte of its codes: CORRUPT, NOTADB. And a file
/// that ends too early. An error of SQL is one only if a table or a column is missing.
const DAMAGE: [u32; 2] = [11, 26];
const SHORT_READ: u32 = 522;

impl From<sqlx::Error> for IndexError {
    fn from(error: sqlx::Error) -> Self {
        let damage = match &error {
            sqlx::Error::Database(cause) => {
                let code = cause.code().and_then(|code| code.parse::<u32>().ok());
                let is_missing = ["no such table", "no such column"]
                    .iter()
                    .any(|what| cause.message().starts_with(what));
                code.is_some_and(|code| code == SHORT_READ || DAMAGE.contains(&(code & 0xff)))
                    || is_missing
            }
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound
            | sqlx::Error::ColumnNotFound(_) => true,
            _ => false,
        };
        if damage { Self::Damaged(error.to_string()) } else { Self::Unavailable(error) }
    }
}

#[cfg(test)]
mod tests;

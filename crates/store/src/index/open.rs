//! Opening the file of the index, and giving it up.

use std::{io, path::Path};

use sqlx::{
    ConnectOptions, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{IndexError, Result, tables};
use crate::sqlite::open::{PATIENCE, pool, private};

/// Searches at one time; more of them wait.
const READERS: u32 = 2;
/// KiB of pages that a connection keeps, with the sign that SQLite takes for KiB.
const WRITER_CACHE: &str = "-65536";
const READER_CACHE: &str = "-16384";
/// Bytes of a disk that are left to others.
const ROOM: u64 = 128 << 20;
/// Everything that has to do with requests goes first.
const NICER: i32 = 19;

/// Lets all other threads go before this one, and before those that it starts. Where the system does not allow
/// it, all are alike.
pub fn give_way() {
    let _as_it_was = rustix::process::nice(NICER);
}

/// Whether the disk has room for an index: the last of it is for the log, without which nothing is forwarded.
pub fn has_room(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    let free = rustix::fs::statvfs(folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    free.is_ok_and(|free| free >= ROOM)
}

/// Removes the file and what SQLite keeps beside it.
pub fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

pub(super) async fn open(path: &Path) -> Result<(SqliteConnection, SqlitePool)> {
    let cannot = |error: io::Error| IndexError::Unavailable(sqlx::Error::Io(error));
    private(path).map_err(cannot)?;
    // NORMAL: a power cut may undo what was added last, and does no damage (SQLite, "Write-Ahead Logging").
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(PATIENCE)
        // What is forgotten is overwritten.
        .pragma("secure_delete", "ON")
        .disable_statement_logging();
    let mut writer = options.clone().pragma("cache_size", WRITER_CACHE).connect().await?;
    tables::make(&mut writer).await?;
    let readers = options.pragma("cache_size", READER_CACHE).read_only(true);
    Ok((writer, pool(READERS, readers).await?))
}

//! Opening: ownership, permissions, settings, migrations.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use sqlx::{
    Connection as _, SqlSafeStr, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{SqliteStore, contents};
use crate::StoreError;

const READERS: u32 = 4;
/// How long a statement waits for another, and a task for a connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    let owned = own(path)?;
    private(path).map_err(|error| cannot_open(path, error))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is erased is gone from the file, and not only from the table.
        .pragma("secure_delete", "ON")
        .busy_timeout(PATIENCE);
    let writer = pool(1, options.clone()).await.map_err(|error| cannot_open(path, error))?;
    migrations().run(&writer).await.map_err(|error| cannot_open(path, error))?;
    // What was erased just before the process was killed.
    contents::scrub(&writer).await.map_err(|error| cannot_open(path, error))?;
    let readers = pool(READERS, options.read_only(true)).await;
    let readers = readers.map_err(|error| cannot_open(path, error))?;
    Ok(SqliteStore { writer, readers, owned: Mutex::new(Some(owned)) })
}

/// The text of each migration is compiled in, so that a change of it is a change of the program.
fn migrations() -> Migrator {
    let all = [
        (1, "first", include_str!("../../migrations/0001_first.sql")),
        (2, "answers", include_str!("../../migrations/0002_answers.sql")),
        (3, "browsers", include_str!("../../migrations/0003_browsers.sql")),
        (5, "jobs", include_str!("../../migrations/0005_jobs.sql")),
        (6, "passkeys", include_str!("../../migrations/0006_passkeys.sql")),
        (7, "facts", include_str!("../../migrations/0007_facts.sql")),
        (8, "lifecycle", include_str!("../../migrations/0008_lifecycle.sql")),
        (10, "grant_tokens", include_str!("../../migrations/0010_grant_tokens.sql")),
        (11, "emergencies", include_str!("../../migrations/0011_emergencies.sql")),
        (12, "sealed_credentials", include_str!("../../migrations/0012_sealed_credentials.sql")),
        (13, "bound_tokens", include_str!("../../migrations/0013_bound_tokens.sql")),
        (14, "exports", include_str!("../../migrations/0014_exports.sql")),
        (16, "places_of_grants", include_str!("../../migrations/0016_places_of_grants.sql")),
        (17, "contents", include_str!("../../migrations/0017_contents.sql")),
        (18, "retention", include_str!("../../migrations/0018_retention.sql")),
        (19, "chat", include_str!("../../migrations/0019_chat.sql")),
        (22, "long_lists", include_str!("../../migrations/0022_long_lists.sql")),
        (23, "undelivered", include_str!("../../migrations/0023_undelivered.sql")),
        (24, "own_emergencies", include_str!("../../migrations/0024_own_emergencies.sql")),
    ];
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(all.map(migration).into())
}

/// Connections that stay.
pub(crate) async fn pool(
    connections: u32,
    options: SqliteConnectOptions,
) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        // SQLite ends a transaction by itself where the disk is full or fails; the library still believes in it then,
        // and refuses every other one.
        .before_acquire(|connection, _| {
            let is_free = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_free) })
        })
        .connect_with(options)
        .await
}

/// Takes the lock beside the file. SQLite's own locks last as long as a transaction; ownership
/// lasts as long as the process.
fn own(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = private(&PathBuf::from(name)).map_err(|error| cannot_open(path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(cannot_open(path, error)),
    }
}

/// A file for its owner alone. SQLite gives its journal files the mode of the database file.
pub(crate) fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn cannot_open(
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Open { path: path.display().to_string(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn k10_it_writes_again_after_the_disk_was_full_in_the_middle_of_a_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("store"))
            .create_if_missing(true);
        let writer = pool(1, options).await.unwrap();
        sqlx::query("CREATE TABLE kept (bytes BLOB)").execute(&writer).await.unwrap();
        sqlx::query("PRAGMA max_page_count = 8").execute(&writer).await.unwrap();
        let add = "INSERT INTO kept VALUES (randomblob(100000))";
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let full = sqlx::query(add).execute(&mut *tx).await.unwrap_err();
        assert_eq!(full.as_database_error().unwrap().code().unwrap(), "13", "{full}");
        drop(tx);
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
        sqlx::query("PRAGMA max_page_count = 4294967294").execute(&mut *tx).await.unwrap();
        sqlx::query(add).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

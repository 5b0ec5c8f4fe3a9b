//! The tables of the index.

use sqlx::{Connection, Row, SqliteConnection, SqlitePool};

use super::{Covered, IndexError, Result};

/// Raised when the tables, or what stands in them, change: an older index is then made anew.
const VERSION: i64 = 2;
/// What the file is, for those who find it: `ptcl`.
const APPLICATION: i64 = 0x7074_636c;

const TABLES: [&str; 6] = [
    "CREATE TABLE term (id INTEGER PRIMARY KEY, field INTEGER NOT NULL, value TEXT NOT NULL, \
     UNIQUE (field, value))",
    "CREATE TABLE posting (term INTEGER NOT NULL, block INTEGER NOT NULL, places BLOB NOT NULL, \
     PRIMARY KEY (term, block)) WITHOUT ROWID",
    "CREATE TABLE block (block INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL)",
    "CREATE TABLE covered (id INTEGER PRIMARY KEY CHECK (id = 0), next INTEGER NOT NULL, last TEXT)",
    "INSERT INTO covered VALUES (0, 0, NULL)",
    // Words come lower-cased and with one space between them, so that this tokenizer has nothing to
    // decide: it takes every byte above 127 for a letter.
    // The text is not kept, and its words can be taken out without it.
    "CREATE VIRTUAL TABLE words USING fts5(text, content='', contentless_delete=1, detail=full, \
     tokenize='ascii')",
];

/// Makes the tables in an empty file; refuses those of another version, and files of others.
pub(super) async fn make(writer: &mut SqliteConnection) -> Result<()> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *writer).await?;
    let made: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *writer).await?;
    let owner: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *writer).await?;
    if made > 0 {
        let is_ours = (version, owner) == (VERSION, APPLICATION);
        let other = || IndexError::Damaged(format!("it is of version {version}"));
        return is_ours.then_some(()).ok_or_else(other);
    }
    let mut tx = writer.begin().await?;
    for table in TABLES {
        sqlx::query(table).execute(&mut *tx).await?;
    }
    // INVARIANT: both are constants; a pragma takes no bound values.
    sqlx::query("PRAGMA user_version = 2").execute(&mut *tx).await?;
    sqlx::query("PRAGMA application_id = 1886675820").execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn covered(readers: &SqlitePool) -> Result<Covered> {
    let row = sqlx::query("SELECT next, last FROM covered").fetch_one(readers).await?;
    Ok(Covered { next: position(row.try_get(0)?)?, last: row.try_get(1)? })
}

/// A number as it is stored, as the one that it stands for.
pub(super) fn position(stored: i64) -> Result<u64> {
    u64::try_from(stored).map_err(|_| IndexError::Damaged("a position is negative".into()))
}

/// The number to store; what does not fit is behind everything.
pub(super) fn stored(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pragmas_say_what_is_checked() {
        assert_eq!((VERSION, APPLICATION), (2, 1_886_675_820));
    }
}

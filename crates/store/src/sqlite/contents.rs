//! What is kept of requests beside the record, and what of it was erased.

use portcullis_model::EventId;
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{micros, time, unreadable},
    write::guarded,
};
use crate::{ContentChange, ContentsUnderKey, StoreError, StoredContent, StoredErasure};

const TABLE: &str = "contents";
const ERASURES: &str = "content_erasures";

pub(super) async fn apply(tx: &mut SqliteConnection, change: &ContentChange) -> Result<()> {
    match change {
        ContentChange::Keep(content) => keep(tx, content).await,
        ContentChange::Bind { commitment, seq } => {
            let seq = i64::try_from(*seq).map_err(|error| unreadable(TABLE, error))?;
            let sql = "UPDATE contents SET seq = ? WHERE commitment = ?";
            sqlx::query(sql).bind(seq).bind(commitment.clone()).execute(tx).await?;
            Ok(())
        }
        ContentChange::Erase { erasure, seen_holds } => erase(tx, erasure, *seen_holds).await,
        ContentChange::Sweep { before } => {
            let sql = "DELETE FROM contents WHERE seq IS NULL AND kept_at < ?";
            let swept = sqlx::query(sql).bind(micros(*before)).execute(tx).await?.rows_affected();
            if swept > 0 {
                tracing::info!(swept, "content that no record commits to is gone");
            }
            Ok(())
        }
    }
}

async fn keep(tx: &mut SqliteConnection, content: &StoredContent) -> Result<()> {
    let sql = "INSERT INTO contents (commitment, request, key, kept_at, sealed) \
               VALUES (?, ?, ?, ?, ?) ON CONFLICT (commitment) DO NOTHING";
    let query = sqlx::query(sql)
        .bind(content.commitment.clone())
        .bind(content.request.to_string())
        .bind(content.key.clone())
        .bind(micros(content.kept_at))
        .bind(content.sealed.clone());
    guarded(tx, query).await
}

async fn erase(
    tx: &mut SqliteConnection,
    erasure: &StoredErasure,
    seen_holds: Option<u32>,
) -> Result<()> {
    let sql = "DELETE FROM contents WHERE commitment = ?";
    sqlx::query(sql).bind(erasure.commitment.clone()).execute(&mut *tx).await?;
    // INVARIANT: nothing is erased that a hold keeps which was placed while it was looked at.
    let sql = "INSERT INTO content_erasures (commitment, event, principal, erased_at, reason) \
               SELECT ?, ?, ?, ?, ? WHERE coalesce(?, (SELECT count(*) FROM legal_holds)) \
               = (SELECT count(*) FROM legal_holds) ON CONFLICT (commitment) DO NOTHING";
    let query = sqlx::query(sql)
        .bind(erasure.commitment.clone())
        .bind(erasure.event.to_string())
        .bind(erasure.principal.clone())
        .bind(micros(erasure.erased_at))
        .bind(erasure.reason.clone())
        .bind(seen_holds);
    guarded(tx, query).await
}

pub(super) async fn one(pool: &SqlitePool, commitment: &str) -> Result<Option<StoredContent>> {
    let sql = "SELECT request, key, kept_at, sealed FROM contents WHERE commitment = ?";
    let row: Option<(String, String, i64, String)> =
        sqlx::query_as(sql).bind(commitment.to_owned()).fetch_optional(pool).await?;
    let content = |(request, key, kept_at, sealed): (String, String, i64, String)| {
        let request = request.parse().map_err(|error| unreadable(TABLE, error))?;
        let (commitment, kept_at) = (commitment.to_owned(), time(TABLE, kept_at)?);
        Ok(StoredContent { commitment, request, key, kept_at, sealed })
    };
    row.map(content).transpose()
}

pub(super) async fn erasure(pool: &SqlitePool, commitment: &str) -> Result<Option<StoredErasure>> {
    let sql =
        "SELECT event, principal, erased_at, reason FROM content_erasures WHERE commitment = ?";
    let row: Option<(String, String, i64, String)> =
        sqlx::query_as(sql).bind(commitment.to_owned()).fetch_optional(pool).await?;
    let erasure = |(event, principal, erased_at, reason): (String, String, i64, String)| {
        let event: EventId = event.parse().map_err(|error| unreadable(ERASURES, error))?;
        let (commitment, erased_at) = (commitment.to_owned(), time(ERASURES, erased_at)?);
        Ok(StoredErasure { commitment, event, principal, erased_at, reason })
    };
    row.map(erasure).transpose()
}

pub(super) async fn under_keys(pool: &SqlitePool) -> Result<Vec<ContentsUnderKey>> {
    let sql = "SELECT key, count(*) FROM contents GROUP BY key ORDER BY key";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(pool).await?;
    let count = |(key, count)| ContentsUnderKey { key, count: u64::try_from(count).unwrap_or(0) };
    Ok(rows.into_iter().map(count).collect())
}

/// INVARIANT: what was deleted was overwritten with zeros (`secure_delete`); older pages stand in the log of
/// changes until it is put into the database and cut.
pub(super) async fn scrub(writer: &SqlitePool) -> Result<()> {
    let row: (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(writer).await?;
    if row.0 == 0 { Ok(()) } else { Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)) }
}

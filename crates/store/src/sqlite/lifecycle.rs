//! Uses of grants that end unused, and who is told of access requests.

use jiff::Timestamp;
use portcullis_model::{GrantId, NoticeId};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{json, micros, parsed, time, unreadable},
    write::guarded,
};
use crate::{NoticeChange, StoredNotice};

pub(super) async fn see_grant(tx: &mut SqliteConnection, id: GrantId, at: Timestamp) -> Result<()> {
    // One that has ended meanwhile needs it no more.
    let sql = "UPDATE grants SET used_at = ? WHERE id = ? AND state = 'in_force'";
    sqlx::query(sql).bind(micros(at)).bind(id.to_string()).execute(tx).await?;
    Ok(())
}

pub(super) async fn grants_used(pool: &SqlitePool) -> Result<Vec<(GrantId, Timestamp)>> {
    let sql = "SELECT id, used_at FROM grants WHERE state = 'in_force' AND used_at IS NOT NULL";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(pool).await?;
    let read = |(id, at): &(String, i64)| {
        Ok((id.parse().map_err(|error| unreadable("grants", error))?, time("grants", *at)?))
    };
    rows.iter().map(read).collect()
}

pub(super) async fn notice_change(tx: &mut SqliteConnection, change: &NoticeChange) -> Result<()> {
    match change {
        NoticeChange::Add(notice) => add_notice(tx, notice).await,
        NoticeChange::Move { notice, seen_attempts } => {
            move_notice(tx, notice, *seen_attempts).await
        }
        NoticeChange::End(id) => end_notice(tx, *id).await,
    }
}

async fn add_notice(tx: &mut SqliteConnection, notice: &StoredNotice) -> Result<()> {
    let sql = "INSERT INTO notices (id, access_request, attempts, body) VALUES (?, ?, ?, ?)";
    let query = sqlx::query(sql)
        .bind(notice.id.to_string())
        .bind(notice.access_request.to_string())
        .bind(notice.attempts)
        .bind(json("notices", notice)?);
    guarded(tx, query).await
}

async fn move_notice(
    tx: &mut SqliteConnection,
    notice: &StoredNotice,
    seen_attempts: u32,
) -> Result<()> {
    let sql = "UPDATE notices SET attempts = ?, body = ? WHERE id = ? AND attempts = ?";
    let query = sqlx::query(sql)
        .bind(notice.attempts)
        .bind(json("notices", notice)?)
        .bind(notice.id.to_string())
        .bind(seen_attempts);
    guarded(tx, query).await
}

async fn end_notice(tx: &mut SqliteConnection, id: NoticeId) -> Result<()> {
    let sql = "DELETE FROM notices WHERE id = ?";
    guarded(tx, sqlx::query(sql).bind(id.to_string())).await
}

pub(super) async fn notice(pool: &SqlitePool, id: NoticeId) -> Result<Option<StoredNotice>> {
    let sql = "SELECT body FROM notices WHERE id = ?";
    let query = sqlx::query_scalar(sql).bind(id.to_string());
    let body: Option<String> = query.fetch_optional(pool).await?;
    body.map(|body| parsed("notices", &body)).transpose()
}

pub(super) async fn notices(pool: &SqlitePool) -> Result<Vec<StoredNotice>> {
    let bodies: Vec<String> =
        sqlx::query_scalar("SELECT body FROM notices").fetch_all(pool).await?;
    // One that were left out would never be told of.
    bodies.iter().map(|body| parsed("notices", body)).collect()
}

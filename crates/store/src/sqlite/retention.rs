//! Legal holds, and removals from the record that are under way.

use portcullis_model::{EventId, LegalHold, LegalHoldId};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{json, parsed, unreadable},
    write::guarded,
};
use crate::RetentionChange;

pub(super) async fn apply(tx: &mut SqliteConnection, change: &RetentionChange) -> Result<()> {
    match change {
        RetentionChange::Place { hold, at_most } => place(tx, hold, *at_most).await,
        RetentionChange::Release(hold) => {
            let sql = "UPDATE legal_holds SET state = 'released', body = ? \
                       WHERE id = ? AND state = 'in_force'";
            let query = sqlx::query(sql).bind(json("legal_holds", hold)?);
            guarded(tx, query.bind(hold.id.to_string())).await
        }
        RetentionChange::Recorded(hold) => recorded(tx, hold).await,
        RetentionChange::Begin { event, seen_holds } => {
            // INVARIANT: nothing is removed that a hold keeps which was placed while it was looked at.
            let sql = "INSERT INTO removal_under_way (one, event) SELECT 1, ? \
                       WHERE (SELECT count(*) FROM legal_holds) = ? \
                       AND NOT EXISTS (SELECT 1 FROM removal_under_way)";
            guarded(tx, sqlx::query(sql).bind(event.to_string()).bind(*seen_holds)).await
        }
        RetentionChange::Forget { from, to } => {
            let at = |position: u64| {
                i64::try_from(position).map_err(|error| unreadable("events", error))
            };
            let sql = "DELETE FROM events WHERE log_position >= ? AND log_position < ?";
            sqlx::query(sql).bind(at(*from)?).bind(at(*to)?).execute(&mut *tx).await?;
            // What they committed to goes with them.
            let sql = "DELETE FROM contents WHERE seq >= ? AND seq < ?";
            sqlx::query(sql).bind(at(*from)?).bind(at(*to)?).execute(tx).await?;
            Ok(())
        }
        RetentionChange::Done(event) => {
            let sql = "DELETE FROM removal_under_way WHERE event = ?";
            guarded(tx, sqlx::query(sql).bind(event.to_string())).await
        }
    }
}

async fn place(tx: &mut SqliteConnection, hold: &LegalHold, at_most: u32) -> Result<()> {
    let sql = "INSERT INTO legal_holds (id, state, body) SELECT ?, 'in_force', ? \
               WHERE (SELECT count(*) FROM legal_holds WHERE state = 'in_force') < ?";
    let query = sqlx::query(sql).bind(hold.id.to_string()).bind(json("legal_holds", hold)?);
    guarded(tx, query.bind(at_most)).await
}

async fn recorded(tx: &mut SqliteConnection, hold: &LegalHold) -> Result<()> {
    let state = if hold.is_in_force() { "in_force" } else { "released" };
    // INVARIANT: what is released stays so, whichever event is read again.
    let sql = "INSERT INTO legal_holds (id, state, body) VALUES (?, ?, ?) ON CONFLICT (id) \
               DO UPDATE SET state = excluded.state, body = excluded.body \
               WHERE legal_holds.state = 'in_force'";
    let query = sqlx::query(sql).bind(hold.id.to_string()).bind(state);
    query.bind(json("legal_holds", hold)?).execute(tx).await?;
    Ok(())
}

/// One that cannot be read is an error, and not one less: what it keeps would go.
pub(super) async fn legal_holds(pool: &SqlitePool) -> Result<Vec<LegalHold>> {
    let sql = "SELECT body FROM legal_holds ORDER BY id DESC";
    let bodies: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    bodies.iter().map(|body| parsed("legal_holds", body)).collect()
}

pub(super) async fn legal_hold(pool: &SqlitePool, id: LegalHoldId) -> Result<Option<LegalHold>> {
    let sql = "SELECT body FROM legal_holds WHERE id = ?";
    let query = sqlx::query_scalar(sql).bind(id.to_string());
    let body: Option<String> = query.fetch_optional(pool).await?;
    body.map(|body| parsed("legal_holds", &body)).transpose()
}

pub(super) async fn removal_under_way(pool: &SqlitePool) -> Result<Option<EventId>> {
    let sql = "SELECT event FROM removal_under_way";
    let event: Option<String> = sqlx::query_scalar(sql).fetch_optional(pool).await?;
    event.map(|id| id.parse().map_err(|e| unreadable("removal_under_way", e))).transpose()
}

pub(super) async fn place_of_event(pool: &SqlitePool, id: EventId) -> Result<Option<u64>> {
    let sql = "SELECT log_position FROM events WHERE id = ? AND log_position IS NOT NULL";
    let position: Option<i64> =
        sqlx::query_scalar(sql).bind(id.to_string()).fetch_optional(pool).await?;
    position.map(u64::try_from).transpose().map_err(|error| unreadable("events", error))
}

//! What receivers did not take in the end.

use jiff::Timestamp;
use portcullis_model::DeliveryId;
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{json, parsed, readable},
    write::guarded,
};
use crate::{DueMessages, MessageCounts, StoredDelivery, UndeliveredChange};

pub(super) async fn apply(tx: &mut SqliteConnection, change: &UndeliveredChange) -> Result<()> {
    match change {
        UndeliveredChange::SetAside { delivery, at_most } => {
            let sql = "INSERT INTO undelivered (id, receiver, message, attempts, body) \
                       SELECT ?1, ?2, ?3, ?4, ?5 \
                       WHERE (SELECT count(*) FROM undelivered WHERE receiver = ?2) < ?6 \
                       ON CONFLICT DO NOTHING";
            let query = sqlx::query(sql)
                .bind(delivery.id.to_string())
                .bind(delivery.receiver.clone())
                .bind(delivery.unsent.message())
                .bind(delivery.attempts)
                .bind(json("undelivered", delivery)?);
            guarded(tx, query.bind(*at_most)).await
        }
        UndeliveredChange::Tried { delivery, seen_attempts } => {
            let sql = "UPDATE undelivered SET attempts = ?, body = ? WHERE id = ? AND attempts = ?";
            let query = sqlx::query(sql)
                .bind(delivery.attempts)
                .bind(json("undelivered", delivery)?)
                .bind(delivery.id.to_string());
            guarded(tx, query.bind(*seen_attempts)).await
        }
        UndeliveredChange::End(id) => {
            let sql = "DELETE FROM undelivered WHERE id = ?";
            guarded(tx, sqlx::query(sql).bind(id.to_string())).await
        }
    }
}

pub(super) async fn all(pool: &SqlitePool, limit: u32) -> Result<Vec<StoredDelivery>> {
    let sql = "SELECT body FROM undelivered ORDER BY id DESC LIMIT ?";
    let bodies: Vec<String> = sqlx::query_scalar(sql).bind(limit).fetch_all(pool).await?;
    Ok(readable("undelivered", &bodies))
}

pub(super) async fn between(
    pool: &SqlitePool,
    receiver: Option<&str>,
    (after, last): (DeliveryId, DeliveryId),
    limit: u32,
) -> Result<Vec<StoredDelivery>> {
    let sql = "SELECT body FROM undelivered WHERE (?1 IS NULL OR receiver = ?1) \
               AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4";
    let query = sqlx::query_scalar(sql).bind(receiver.map(str::to_owned));
    let query = query.bind(after.to_string()).bind(last.to_string()).bind(limit);
    let bodies: Vec<String> = query.fetch_all(pool).await?;
    Ok(readable("undelivered", &bodies))
}

pub(super) async fn one(pool: &SqlitePool, id: DeliveryId) -> Result<Option<StoredDelivery>> {
    let sql = "SELECT body FROM undelivered WHERE id = ?";
    let query = sqlx::query_scalar(sql).bind(id.to_string());
    let body: Option<String> = query.fetch_optional(pool).await?;
    body.map(|body| parsed("undelivered", &body)).transpose()
}

pub(super) async fn counts(pool: &SqlitePool, now: Timestamp) -> Result<MessageCounts> {
    // Times are in UTC; of fractions of seconds there may be some or none.
    let sql = "SELECT json_extract(body, '$.target'), attempts > 0, count(*) FROM notices \
               WHERE attempts > 0 \
               OR substr(json_extract(body, '$.due_at'), 1, 19) <= substr(?, 1, 19) \
               GROUP BY 1, 2 ORDER BY 1, 2";
    let due: Vec<(String, bool, i64)> =
        sqlx::query_as(sql).bind(now.to_string()).fetch_all(pool).await?;
    let due = due.into_iter().map(|(target, tried, count)| {
        let count = u64::try_from(count).unwrap_or_default();
        DueMessages { target, tried, count }
    });
    let sql = "SELECT receiver, count(*) FROM undelivered GROUP BY receiver ORDER BY receiver";
    let set_aside: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(pool).await?;
    let set_aside = set_aside
        .into_iter()
        .map(|(receiver, count)| (receiver, u64::try_from(count).unwrap_or_default()));
    Ok(MessageCounts { due: due.collect(), set_aside: set_aside.collect() })
}

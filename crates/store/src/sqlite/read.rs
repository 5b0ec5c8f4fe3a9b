//! Reading.

use jiff::Timestamp;
use portcullis_model::{
    AccessRequest, AccessRequestId, BundleDigest, Event, Grant, GrantId, PersonId, Principal,
    PrincipalId, RefusalId, TokenHash,
};
use serde::de::DeserializeOwned;
use sqlx::SqlitePool;

use super::{
    Result,
    rows::{all_readable, micros, parsed, readable, time, unreadable},
};
use crate::{
    AccessRequests, Grants, StoredAnswer, StoredBundle, StoredCode, StoredDevice, StoredEvent,
    StoredProviderToken, StoredRefusal, StoredSignIn,
};

pub(super) async fn access_request(
    pool: &SqlitePool,
    id: AccessRequestId,
) -> Result<Option<AccessRequest>> {
    let sql = "SELECT body FROM access_requests WHERE id = ?";
    one(pool, "access_requests", sql, &id.to_string()).await
}

pub(super) async fn access_requests(
    pool: &SqlitePool,
    which: &AccessRequests,
    limit: u32,
) -> Result<Vec<AccessRequest>> {
    let query = match which {
        AccessRequests::Pending(before) => sqlx::query_scalar(
            "SELECT body FROM access_requests WHERE state = 'pending' AND id < ? \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(end(before.as_ref())),
        AccessRequests::ToReviewAfterwards(before) => sqlx::query_scalar(
            "SELECT body FROM access_requests WHERE afterwards = 'open' AND id < ? \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(end(before.as_ref())),
        AccessRequests::PendingOf(principal) => sqlx::query_scalar(
            "SELECT body FROM access_requests WHERE principal = ? AND state = 'pending' \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(principal.to_string()),
        AccessRequests::ToReviewAfterwardsOf(principal, before) => sqlx::query_scalar(
            "SELECT body FROM access_requests WHERE principal = ? AND afterwards = 'open' AND id < ? \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(principal.to_string())
        .bind(end(before.as_ref())),
        AccessRequests::Of(principal, before) => sqlx::query_scalar(
            "SELECT body FROM access_requests WHERE principal = ? AND id < ? \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(principal.to_string())
        .bind(end(before.as_ref())),
        AccessRequests::Newest(before) => sqlx::query_scalar(
            "SELECT body FROM access_requests WHERE id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(end(before.as_ref())),
    };
    let bodies: Vec<String> = query.bind(limit).fetch_all(pool).await?;
    Ok(readable("access_requests", &bodies))
}

/// The id that all wanted ones are below; no id is as high as the letter behind all of theirs.
fn end(before: Option<&impl ToString>) -> String {
    before.map_or_else(|| "~".to_owned(), ToString::to_string)
}

pub(super) async fn grant(pool: &SqlitePool, id: GrantId) -> Result<Option<Grant>> {
    one(pool, "grants", "SELECT body FROM grants WHERE id = ?", &id.to_string()).await
}

pub(super) async fn grants(pool: &SqlitePool, which: &Grants, limit: u32) -> Result<Vec<Grant>> {
    let query = match which {
        Grants::InForce => sqlx::query_scalar(
            "SELECT body FROM grants WHERE state = 'in_force' ORDER BY id DESC LIMIT ?",
        ),
        Grants::InForceFor(incident) => sqlx::query_scalar(
            "SELECT body FROM grants WHERE incident = ? AND state = 'in_force' \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(incident.to_string()),
        Grants::For(incident) => sqlx::query_scalar(
            "SELECT body FROM grants WHERE incident = ? ORDER BY id DESC LIMIT ?",
        )
        .bind(incident.to_string()),
        Grants::InForceOf(principal) => sqlx::query_scalar(
            "SELECT body FROM grants WHERE principal = ? AND state = 'in_force' \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(principal.to_string()),
        Grants::Of(principal, before) => sqlx::query_scalar(
            "SELECT body FROM grants WHERE principal = ? AND id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(principal.to_string())
        .bind(end(before.as_ref())),
        Grants::Newest(before) => {
            sqlx::query_scalar("SELECT body FROM grants WHERE id < ? ORDER BY id DESC LIMIT ?")
                .bind(end(before.as_ref()))
        }
        Grants::After(time) => sqlx::query_scalar(
            "SELECT body FROM grants WHERE expires_at >= ? ORDER BY id DESC LIMIT ?",
        )
        .bind(micros(*time)),
    };
    let bodies: Vec<String> = query.bind(limit).fetch_all(pool).await?;
    if matches!(which, Grants::For(_)) {
        // Legal holds keep what was granted for an incident: what one left out led to would go.
        return bodies.iter().map(|body| parsed("grants", body)).collect();
    }
    Ok(readable("grants", &bodies))
}

pub(super) async fn sign_ins(pool: &SqlitePool) -> Result<Vec<StoredSignIn>> {
    let sql = "SELECT token_hash, body, seen_at FROM sign_ins ORDER BY id";
    let rows: Vec<(String, String, Option<i64>)> = sqlx::query_as(sql).fetch_all(pool).await?;
    Ok(all_readable("sign_ins", &rows, |(hash, body, seen_at)| {
        let hash = hash.parse().map_err(|error| unreadable("sign_ins", error))?;
        let seen_at = seen_at.map(|micros| time("sign_ins", micros)).transpose()?;
        Ok(StoredSignIn { hash, sign_in: parsed("sign_ins", body)?, seen_at })
    }))
}

pub(super) async fn principals(pool: &SqlitePool) -> Result<Vec<Principal>> {
    let sql = "SELECT body FROM principals ORDER BY id";
    let bodies: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    Ok(readable("principals", &bodies))
}

pub(super) async fn person_by_email(pool: &SqlitePool, email: &str) -> Result<Option<PersonId>> {
    let sql = "SELECT id FROM people WHERE email = ?";
    person(sqlx::query_scalar(sql).bind(email.to_owned()).fetch_optional(pool).await?)
}

pub(super) async fn person_of(
    pool: &SqlitePool,
    principal: &PrincipalId,
) -> Result<Option<PersonId>> {
    let sql = "SELECT person FROM principals WHERE id = ? AND person IS NOT NULL";
    person(sqlx::query_scalar(sql).bind(principal.to_string()).fetch_optional(pool).await?)
}

fn person(id: Option<String>) -> Result<Option<PersonId>> {
    id.map(|id| id.parse().map_err(|error| unreadable("people", error))).transpose()
}

pub(super) async fn device(pool: &SqlitePool, hash: &TokenHash) -> Result<Option<StoredDevice>> {
    one(pool, "devices", "SELECT body FROM devices WHERE token_hash = ?", &hash.to_string()).await
}

pub(super) async fn devices_under_way(pool: &SqlitePool) -> Result<u32> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM devices").fetch_one(pool).await?)
}

pub(super) async fn code(pool: &SqlitePool, hash: &TokenHash) -> Result<Option<StoredCode>> {
    let sql = "SELECT body FROM sign_in_codes WHERE code_hash = ?";
    one(pool, "sign_in_codes", sql, &hash.to_string()).await
}

pub(super) async fn provider_tokens(pool: &SqlitePool) -> Result<Vec<StoredProviderToken>> {
    let sql = "SELECT body FROM provider_tokens";
    let bodies: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    // One that were left out would never be asked about again.
    bodies.iter().map(|body| parsed("provider_tokens", body)).collect()
}

pub(super) async fn refusal(
    pool: &SqlitePool,
    principal: &PrincipalId,
    id: &RefusalId,
) -> Result<Option<StoredRefusal>> {
    let sql = "SELECT body FROM refusals WHERE principal = ? AND id = ?";
    let query = sqlx::query_scalar(sql).bind(principal.to_string()).bind(id.to_string());
    let body: Option<String> = query.fetch_optional(pool).await?;
    body.map(|body| parsed("refusals", &body)).transpose()
}

pub(super) async fn answer(
    pool: &SqlitePool,
    principal: &PrincipalId,
    key: &str,
) -> Result<Option<StoredAnswer>> {
    let sql = "SELECT asked, access_request, at FROM answers WHERE principal = ? AND key = ?";
    let query = sqlx::query_as(sql).bind(principal.to_string()).bind(key.to_owned());
    let row: Option<(String, String, i64)> = query.fetch_optional(pool).await?;
    let Some((asked, access_request, at)) = row else { return Ok(None) };
    let access_request = access_request.parse().map_err(|error| unreadable("answers", error))?;
    let (principal, key, at) = (principal.clone(), key.to_owned(), time("answers", at)?);
    Ok(Some(StoredAnswer { principal, key, asked, access_request, at }))
}

pub(super) async fn oldest_to_forget(
    pool: &SqlitePool,
) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
    let sql = "SELECT (SELECT min(time) FROM refusals), (SELECT min(expires_at) FROM (\
               SELECT expires_at FROM devices UNION ALL SELECT expires_at FROM sign_in_codes \
               UNION ALL SELECT expires_at FROM seen_once \
               UNION ALL SELECT expires_at FROM one_time_tokens WHERE redeemed = 0))";
    let (refusal, lapsing): (Option<i64>, Option<i64>) =
        sqlx::query_as(sql).fetch_one(pool).await?;
    Ok((
        refusal.map(|micros| time("refusals", micros)).transpose()?,
        lapsing.map(|micros| time("devices", micros)).transpose()?,
    ))
}

pub(super) async fn bundles(pool: &SqlitePool, limit: u32) -> Result<Vec<StoredBundle>> {
    newest_bundles(pool, "SELECT body FROM bundles ORDER BY generation DESC LIMIT ?", limit).await
}

pub(super) async fn bundle_heads(pool: &SqlitePool, limit: u32) -> Result<Vec<StoredBundle>> {
    let sql = "SELECT json_set(body, '$.source', NULL) FROM bundles \
               ORDER BY generation DESC LIMIT ?";
    newest_bundles(pool, sql, limit).await
}

async fn newest_bundles(
    pool: &SqlitePool,
    sql: &'static str,
    limit: u32,
) -> Result<Vec<StoredBundle>> {
    let bodies: Vec<String> = sqlx::query_scalar(sql).bind(limit).fetch_all(pool).await?;
    // A row that cannot be read must not make an older activation look like the newest.
    bodies.iter().map(|body| parsed("bundles", body)).collect()
}

pub(super) async fn bundle_at(pool: &SqlitePool, generation: u64) -> Result<Option<StoredBundle>> {
    let sql = "SELECT body FROM bundles WHERE generation = ?";
    one(pool, "bundles", sql, &generation.to_string()).await
}

pub(super) async fn bundle_other_than(
    pool: &SqlitePool,
    digest: &BundleDigest,
) -> Result<Option<StoredBundle>> {
    let sql = "SELECT body FROM bundles WHERE digest <> ? ORDER BY generation DESC LIMIT 1";
    one(pool, "bundles", sql, &digest.to_string()).await
}

pub(super) async fn unlogged(pool: &SqlitePool, limit: u32) -> Result<Vec<StoredEvent>> {
    let sql = "SELECT seq, body FROM events WHERE log_position IS NULL ORDER BY seq LIMIT ?";
    let rows: Vec<(i64, String)> = sqlx::query_as(sql).bind(limit).fetch_all(pool).await?;
    let read = |(seq, body): &(i64, String)| {
        Ok(StoredEvent { seq: *seq, event: parsed::<Event>("events", body)? })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn logged_after(
    pool: &SqlitePool,
    position: u64,
    limit: u32,
) -> Result<Vec<(u64, Event)>> {
    // No log has as many entries as would not fit.
    let Ok(position) = i64::try_from(position) else { return Ok(Vec::new()) };
    let sql = "SELECT log_position, body FROM events WHERE log_position > ? \
               ORDER BY log_position LIMIT ?";
    let rows: Vec<(i64, String)> =
        sqlx::query_as(sql).bind(position).bind(limit).fetch_all(pool).await?;
    let read = |(position, body): &(i64, String)| {
        let position = u64::try_from(*position).map_err(|error| unreadable("events", error))?;
        Ok((position, parsed::<Event>("events", body)?))
    };
    rows.iter().map(read).collect()
}

pub(super) async fn place_of_grant(pool: &SqlitePool, grant: GrantId) -> Result<Option<u64>> {
    // As the index has it, to the letter.
    let sql = "SELECT log_position FROM events WHERE json_extract(body, '$.grant') = ? \
               AND json_extract(body, '$.type') = 'grant_started' AND log_position IS NOT NULL";
    let position: Option<i64> =
        sqlx::query_scalar(sql).bind(grant.to_string()).fetch_optional(pool).await?;
    position.map(u64::try_from).transpose().map_err(|error| unreadable("events", error))
}

pub(super) async fn last_logged(pool: &SqlitePool) -> Result<Option<u64>> {
    let sql = "SELECT max(log_position) FROM events";
    let position: Option<i64> = sqlx::query_scalar(sql).fetch_one(pool).await?;
    position.map(u64::try_from).transpose().map_err(|error| unreadable("events", error))
}

async fn one<T: DeserializeOwned>(
    pool: &SqlitePool,
    table: &'static str,
    sql: &'static str,
    key: &str,
) -> Result<Option<T>> {
    let body: Option<String> =
        sqlx::query_scalar(sql).bind(key.to_owned()).fetch_optional(pool).await?;
    body.map(|body| parsed(table, &body)).transpose()
}

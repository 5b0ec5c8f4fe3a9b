//! Passkeys and what they are asked to sign.

use jiff::Timestamp;
use portcullis_model::{Passkey, PasskeyId, PrincipalId, TokenHash};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{json, micros, parsed, readable},
    write::guarded,
};
use crate::StoredChallenge;

/// Challenges that one principal may have open.
const MOST_CHALLENGES: i64 = 8;

pub(super) async fn add(tx: &mut SqliteConnection, passkey: &Passkey, at_most: u32) -> Result<()> {
    let sql = "INSERT INTO passkeys (id, credential, principal, counter, body) \
               SELECT ?1, ?2, ?3, ?4, ?5 \
               WHERE (SELECT count(*) FROM passkeys WHERE principal = ?3) < ?6";
    let query = sqlx::query(sql)
        .bind(passkey.id.to_string())
        .bind(passkey.credential.to_string())
        .bind(passkey.principal.to_string())
        .bind(passkey.counter)
        .bind(json("passkeys", passkey)?)
        .bind(at_most);
    guarded(tx, query).await
}

pub(super) async fn spend(
    tx: &mut SqliteConnection,
    passkey: &Passkey,
    seen_counter: u32,
) -> Result<()> {
    let sql = "UPDATE passkeys SET counter = ?, body = ? \
               WHERE id = ? AND principal = ? AND counter = ?";
    let query = sqlx::query(sql)
        .bind(passkey.counter)
        .bind(json("passkeys", passkey)?)
        .bind(passkey.id.to_string())
        .bind(passkey.principal.to_string())
        .bind(seen_counter);
    guarded(tx, query).await
}

pub(super) async fn remove(
    tx: &mut SqliteConnection,
    id: PasskeyId,
    principal: &PrincipalId,
) -> Result<()> {
    let sql = "DELETE FROM passkeys WHERE id = ? AND principal = ?";
    guarded(tx, sqlx::query(sql).bind(id.to_string()).bind(principal.to_string())).await
}

pub(super) async fn challenge(
    tx: &mut SqliteConnection,
    hash: &TokenHash,
    challenge: &StoredChallenge,
    now: Timestamp,
) -> Result<()> {
    let principal = challenge.principal.to_string();
    let sql = "DELETE FROM challenges WHERE expires_at <= ?1 OR (principal = ?2 AND hash NOT IN (\
               SELECT hash FROM challenges WHERE principal = ?2 ORDER BY expires_at DESC LIMIT ?3))";
    let query = sqlx::query(sql).bind(micros(now)).bind(principal.clone());
    query.bind(MOST_CHALLENGES - 1).execute(&mut *tx).await?;
    let sql = "INSERT INTO challenges (hash, principal, expires_at, body) VALUES (?, ?, ?, ?)";
    let query = sqlx::query(sql)
        .bind(hash.to_string())
        .bind(principal)
        .bind(micros(challenge.expires_at))
        .bind(json("challenges", challenge)?);
    guarded(tx, query).await
}

pub(super) async fn end_challenge(tx: &mut SqliteConnection, hash: &TokenHash) -> Result<()> {
    let sql = "DELETE FROM challenges WHERE hash = ?";
    guarded(tx, sqlx::query(sql).bind(hash.to_string())).await
}

pub(super) async fn of(pool: &SqlitePool, principal: &PrincipalId) -> Result<Vec<Passkey>> {
    let sql = "SELECT body FROM passkeys WHERE principal = ? ORDER BY id";
    let query = sqlx::query_scalar(sql).bind(principal.to_string());
    let bodies: Vec<String> = query.fetch_all(pool).await?;
    Ok(readable("passkeys", &bodies))
}

pub(super) async fn asked(pool: &SqlitePool, hash: &TokenHash) -> Result<Option<StoredChallenge>> {
    let sql = "SELECT body FROM challenges WHERE hash = ?";
    let query = sqlx::query_scalar(sql).bind(hash.to_string());
    let body: Option<String> = query.fetch_optional(pool).await?;
    body.map(|body| parsed("challenges", &body)).transpose()
}

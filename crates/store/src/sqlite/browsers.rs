//! Writing what browsers' sign-ins need.

use jiff::Timestamp;
use portcullis_model::{SignInId, TokenHash};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{json, micros},
    write::guarded,
};
use crate::{StoredCode, StoredProviderToken};

/// One that has ended meanwhile is not seen any more, and that is no conflict.
pub(super) async fn see(tx: &mut SqliteConnection, id: SignInId, at: Timestamp) -> Result<()> {
    let sql = "UPDATE sign_ins SET seen_at = max(coalesce(seen_at, 0), ?) WHERE id = ?";
    sqlx::query(sql).bind(micros(at)).bind(id.to_string()).execute(tx).await?;
    Ok(())
}

pub(super) async fn add_code(
    tx: &mut SqliteConnection,
    hash: &TokenHash,
    code: &StoredCode,
) -> Result<()> {
    let sql = "INSERT INTO sign_in_codes (code_hash, expires_at, body) VALUES (?, ?, ?)";
    let query = sqlx::query(sql).bind(hash.to_string()).bind(micros(code.expires_at));
    guarded(tx, query.bind(json("sign_in_codes", code)?)).await
}

pub(super) async fn end_code(tx: &mut SqliteConnection, hash: &TokenHash) -> Result<()> {
    let sql = "DELETE FROM sign_in_codes WHERE code_hash = ?";
    guarded(tx, sqlx::query(sql).bind(hash.to_string())).await
}

pub(super) async fn see_once(
    tx: &mut SqliteConnection,
    hash: &TokenHash,
    until: Timestamp,
) -> Result<()> {
    let sql =
        "INSERT INTO seen_once (hash, expires_at) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING";
    guarded(tx, sqlx::query(sql).bind(hash.to_string()).bind(micros(until))).await
}

pub(super) async fn is_seen(pool: &SqlitePool, hash: &TokenHash) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM seen_once WHERE hash = ?)";
    Ok(sqlx::query_scalar(sql).bind(hash.to_string()).fetch_one(pool).await?)
}

pub(super) async fn keep_provider_token(
    tx: &mut SqliteConnection,
    token: &StoredProviderToken,
) -> Result<()> {
    let sql = "INSERT INTO provider_tokens (sign_in, body) SELECT ?1, ?2 \
               WHERE EXISTS (SELECT 1 FROM sign_ins WHERE id = ?1) \
               ON CONFLICT (sign_in) DO UPDATE SET body = excluded.body";
    let query = sqlx::query(sql).bind(token.sign_in.to_string());
    guarded(tx, query.bind(json("provider_tokens", token)?)).await
}

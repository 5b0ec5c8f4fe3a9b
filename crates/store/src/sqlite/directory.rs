//! The directory and spent job tokens: reading and writing.

use portcullis_model::{DirectoryId, Principal, PrincipalId, TokenHash};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{all_readable, json, micros, parsed, time},
    write::guarded,
};
use crate::{SeenPlace, SeenPrincipal, StoredGroup, StoredUser};

pub(super) async fn users(pool: &SqlitePool) -> Result<Vec<StoredUser>> {
    let sql = "SELECT body FROM directory_users ORDER BY id";
    let bodies: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    // INVARIANT: one who cannot be read may be one who must not sign in: then nothing starts.
    bodies.iter().map(|body| parsed("directory_users", body)).collect()
}

pub(super) async fn groups(pool: &SqlitePool) -> Result<Vec<StoredGroup>> {
    let sql = "SELECT body FROM directory_groups ORDER BY id";
    let bodies: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    bodies.iter().map(|body| parsed("directory_groups", body)).collect()
}

type SeenRow = (i64, String);

pub(super) async fn seen(pool: &SqlitePool) -> Result<Vec<SeenPrincipal>> {
    let sql = "SELECT seen_at, body FROM principals ORDER BY id";
    Ok(read_seen(&sqlx::query_as(sql).fetch_all(pool).await?))
}

pub(super) async fn seen_before(
    pool: &SqlitePool,
    before: Option<&SeenPlace>,
    limit: u32,
) -> Result<Vec<SeenPrincipal>> {
    let query = match before {
        Some(SeenPlace { at, id }) => sqlx::query_as(
            "SELECT seen_at, body FROM principals WHERE (seen_at, id) < (?, ?) \
             ORDER BY seen_at DESC, id DESC LIMIT ?",
        )
        .bind(micros(*at))
        .bind(id.clone()),
        None => sqlx::query_as(
            "SELECT seen_at, body FROM principals ORDER BY seen_at DESC, id DESC LIMIT ?",
        ),
    };
    Ok(read_seen(&query.bind(limit).fetch_all(pool).await?))
}

pub(super) async fn seen_of(pool: &SqlitePool, ids: &[PrincipalId]) -> Result<Vec<SeenPrincipal>> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let sql = "SELECT seen_at, body FROM principals WHERE id IN (SELECT value FROM json_each(?))";
    let rows = sqlx::query_as(sql).bind(json("principals", &ids)?).fetch_all(pool).await?;
    Ok(read_seen(&rows))
}

fn read_seen(rows: &[SeenRow]) -> Vec<SeenPrincipal> {
    all_readable("principals", rows, |(at, body)| {
        let principal: Principal = parsed("principals", body)?;
        Ok(SeenPrincipal { principal, at: time("principals", *at)? })
    })
}

/// One user is as the store has it, or new; a deleted one of the same name gives way.
pub(super) async fn put_user(tx: &mut SqliteConnection, user: &StoredUser) -> Result<()> {
    let principal = user.principal.as_ref().map(ToString::to_string);
    let email = user.email().map(str::to_owned);
    if user.version == 0 {
        let sql = "DELETE FROM directory_users WHERE deleted = 1 \
                   AND (user_name = ?1 OR principal = ?2 OR email = ?3)";
        let query = sqlx::query(sql).bind(user.folded_name()).bind(principal.clone());
        query.bind(email.clone()).execute(&mut *tx).await?;
    }
    let sql = if user.version == 0 {
        "INSERT INTO directory_users \
         (id, user_name, principal, email, active, deleted, version, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
    } else {
        "UPDATE directory_users SET user_name = ?2, principal = ?3, email = ?4, active = ?5, \
         deleted = ?6, version = ?7, body = ?8 WHERE id = ?1 AND version = ?7 - 1 AND deleted = 0"
    };
    let query = sqlx::query(sql)
        .bind(user.id.to_string())
        .bind(user.folded_name())
        .bind(principal)
        .bind(email)
        .bind(user.active && !user.deleted)
        .bind(user.deleted)
        .bind(user.version)
        .bind(json("directory_users", user)?);
    guarded(tx, query).await
}

pub(super) async fn put_group(tx: &mut SqliteConnection, group: &StoredGroup) -> Result<()> {
    let sql = if group.version == 0 {
        "INSERT INTO directory_groups (id, name, version, body) VALUES (?1, ?2, ?3, ?4)"
    } else {
        "UPDATE directory_groups SET name = ?2, version = ?3, body = ?4 \
         WHERE id = ?1 AND version = ?3 - 1"
    };
    let query = sqlx::query(sql)
        .bind(group.id.to_string())
        .bind(group.name.clone())
        .bind(group.version)
        .bind(json("directory_groups", group)?);
    guarded(tx, query).await
}

pub(super) async fn remove_group(tx: &mut SqliteConnection, id: DirectoryId) -> Result<()> {
    let sql = "DELETE FROM directory_groups WHERE id = ?";
    guarded(tx, sqlx::query(sql).bind(id.to_string())).await
}

pub(super) async fn spend_job_token(
    tx: &mut SqliteConnection,
    key: &TokenHash,
    until: i64,
    now: i64,
) -> Result<()> {
    let sql = "DELETE FROM spent_job_tokens WHERE until <= ?";
    sqlx::query(sql).bind(now).execute(&mut *tx).await?;
    let sql = "INSERT INTO spent_job_tokens (key, until) VALUES (?, ?)";
    guarded(tx, sqlx::query(sql).bind(key.to_string()).bind(until)).await
}

pub(super) async fn forget_principal(tx: &mut SqliteConnection, id: &PrincipalId) -> Result<()> {
    let sql = "DELETE FROM principals WHERE id = ?";
    guarded(tx, sqlx::query(sql).bind(id.to_string())).await
}

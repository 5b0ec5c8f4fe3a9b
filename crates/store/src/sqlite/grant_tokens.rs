//! One-time tokens and grant tokens. One guard, in one statement, says who of many redeems.

use jiff::Timestamp;
use portcullis_model::{Grant, GrantState, GrantToken, OneTimeToken, TokenHash};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{all_readable, json, micros, parsed, unreadable},
    write::guarded,
};
use crate::{StoredGrantToken, StoredOneTimeToken, TokenChange};

/// How many one-time tokens of one grant there may be.
struct Bounds {
    at_most: u32,
    at_most_ever: u32,
}

pub(super) async fn apply(tx: &mut SqliteConnection, change: &TokenChange) -> Result<()> {
    match *change {
        TokenChange::AddOneTime { hash, token, at_most, at_most_ever, now } => {
            add_one_time(tx, &hash, &token, Bounds { at_most, at_most_ever }, now).await
        }
        TokenChange::RedeemOneTime { hash, now } => redeem(tx, &hash, now).await,
        TokenChange::NoteAgain(hash) => note_again(tx, &hash).await,
        TokenChange::AddGrantToken { hash, token, now } => add(tx, &hash, &token, now).await,
    }
}

async fn add_one_time(
    tx: &mut SqliteConnection,
    hash: &TokenHash,
    token: &OneTimeToken,
    bounds: Bounds,
    now: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO one_time_tokens \
               (token_hash, access_grant, expires_at, redeemed, again, body) \
               SELECT ?1, ?2, ?3, 0, 0, ?4 WHERE EXISTS (\
               SELECT 1 FROM grants WHERE id = ?2 AND state = 'in_force' AND expires_at > ?5) \
               AND (SELECT count(*) FROM one_time_tokens \
               WHERE access_grant = ?2 AND expires_at > ?5) < ?6 \
               AND (SELECT count(*) FROM one_time_tokens \
               WHERE access_grant = ?2 AND (redeemed = 1 OR expires_at > ?5)) < ?7";
    let query = sqlx::query(sql)
        .bind(hash.to_string())
        .bind(token.grant.to_string())
        .bind(micros(token.expires_at))
        .bind(json("one_time_tokens", token)?)
        .bind(micros(now))
        .bind(bounds.at_most)
        .bind(bounds.at_most_ever);
    guarded(tx, query).await
}

async fn redeem(tx: &mut SqliteConnection, hash: &TokenHash, now: Timestamp) -> Result<()> {
    let sql = "UPDATE one_time_tokens SET redeemed = 1 \
               WHERE token_hash = ? AND redeemed = 0 AND expires_at > ?";
    guarded(tx, sqlx::query(sql).bind(hash.to_string()).bind(micros(now))).await
}

async fn note_again(tx: &mut SqliteConnection, hash: &TokenHash) -> Result<()> {
    let sql = "UPDATE one_time_tokens SET again = 1 \
               WHERE token_hash = ? AND redeemed = 1 AND again = 0";
    guarded(tx, sqlx::query(sql).bind(hash.to_string())).await
}

async fn add(
    tx: &mut SqliteConnection,
    hash: &TokenHash,
    token: &GrantToken,
    now: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO grant_tokens (token_hash, access_grant, body, bound) \
               SELECT ?1, ?2, ?3, ?5 \
               WHERE EXISTS (\
               SELECT 1 FROM grants WHERE id = ?2 AND state = 'in_force' AND expires_at > ?4)";
    let query = sqlx::query(sql)
        .bind(hash.to_string())
        .bind(token.grant.to_string())
        .bind(json("grant_tokens", token)?)
        .bind(micros(now))
        .bind(token.bound_to.is_some());
    guarded(tx, query).await
}

/// INVARIANT: what stands for a grant ends in the transaction that ends the grant.
pub(super) async fn end_with(tx: &mut SqliteConnection, grant: &Grant) -> Result<()> {
    if grant.state == GrantState::InForce {
        return Ok(());
    }
    for sql in [
        "DELETE FROM grant_tokens WHERE access_grant = ?",
        "DELETE FROM one_time_tokens WHERE access_grant = ?",
    ] {
        sqlx::query(sql).bind(grant.id.to_string()).execute(&mut *tx).await?;
    }
    Ok(())
}

pub(super) async fn one_time(
    pool: &SqlitePool,
    hash: &TokenHash,
) -> Result<Option<StoredOneTimeToken>> {
    let sql = "SELECT body, redeemed, again FROM one_time_tokens WHERE token_hash = ?";
    let row: Option<(String, bool, bool)> =
        sqlx::query_as(sql).bind(hash.to_string()).fetch_optional(pool).await?;
    row.map(|(body, redeemed, again)| {
        let token = parsed("one_time_tokens", &body)?;
        Ok(StoredOneTimeToken { token, redeemed, again })
    })
    .transpose()
}

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<StoredGrantToken>> {
    let sql = "SELECT token_hash, body, bound FROM grant_tokens";
    let rows: Vec<(String, String, bool)> = sqlx::query_as(sql).fetch_all(pool).await?;
    Ok(all_readable("grant_tokens", &rows, |(hash, body, bound)| {
        let hash = hash.parse().map_err(|error| unreadable("grant_tokens", error))?;
        let token: GrantToken = parsed("grant_tokens", body)?;
        // INVARIANT: a token that was bound to a key is never read as one that is not.
        if token.bound_to.is_some() != *bound {
            return Err(unreadable("grant_tokens", "what it is bound to is not in the row"));
        }
        Ok(StoredGrantToken { hash, token })
    }))
}

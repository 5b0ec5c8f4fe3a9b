//! Sealed credentials, what came of them, and how far the sealed log is read.

use portcullis_model::{GrantId, GrantState, SealedCredential, SealedId, SealedState};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{json, parsed, readable, unreadable},
    write::{self, guarded},
};
use crate::{SealedChange, SealedMark};

pub(super) async fn apply(tx: &mut SqliteConnection, change: &SealedChange) -> Result<()> {
    match change {
        SealedChange::Propose(credential) => propose(tx, credential).await,
        SealedChange::Move { credential, seen_state } => {
            move_credential(tx, credential, seen_state).await
        }
        SealedChange::Open { request, grant, credential } => {
            write::insert_access_request(tx, request).await?;
            write::insert_grant(tx, grant).await?;
            // INVARIANT: what a revoked credential opened is never in force, whoever was first.
            let sql = "INSERT INTO sealed_uses (access_grant, credential) SELECT ?1, ?2 \
                       WHERE ?3 OR NOT EXISTS \
                       (SELECT 1 FROM sealed_credentials WHERE id = ?2 AND state = 'revoked')";
            let ended = matches!(grant.state, GrantState::Ended { .. });
            let query = sqlx::query(sql).bind(grant.id.to_string()).bind(credential.to_string());
            guarded(tx, query.bind(ended)).await
        }
        SealedChange::Read { seen, mark } => read_on(tx, seen.as_ref(), mark).await,
    }
}

async fn propose(tx: &mut SqliteConnection, credential: &SealedCredential) -> Result<()> {
    let sql = "INSERT INTO sealed_credentials (id, proposer, state, body) \
               SELECT ?1, ?2, 'proposed', ?3 \
               WHERE (SELECT count(*) FROM sealed_credentials WHERE state <> 'revoked') < ?4";
    let query = sqlx::query(sql)
        .bind(credential.id.to_string())
        .bind(credential.proposer.to_string())
        .bind(json("sealed_credentials", credential)?)
        .bind(SealedChange::MOST);
    guarded(tx, query).await
}

/// INVARIANT: whoever seals is another human being than who proposed, also by the table itself.
async fn move_credential(
    tx: &mut SqliteConnection,
    credential: &SealedCredential,
    seen_state: &str,
) -> Result<()> {
    let sql = "UPDATE sealed_credentials SET state = ?1, sealer = coalesce(?2, sealer), body = ?3 \
               WHERE id = ?4 AND state = ?5 AND (?2 IS NULL OR proposer <> ?2)";
    let sealer = match &credential.state {
        SealedState::Sealed { person, .. } => Some(person.to_string()),
        SealedState::Proposed | SealedState::Revoked { .. } => None,
    };
    let query = sqlx::query(sql)
        .bind(credential.state.as_str())
        .bind(sealer)
        .bind(json("sealed_credentials", credential)?)
        .bind(credential.id.to_string())
        .bind(seen_state.to_owned());
    guarded(tx, query).await
}

async fn read_on(
    tx: &mut SqliteConnection,
    seen: Option<&SealedMark>,
    mark: &SealedMark,
) -> Result<()> {
    let number = |mark: &SealedMark| i64::try_from(mark.number);
    let to = number(mark).map_err(|error| unreadable("sealed_log", error))?;
    let query = match seen {
        None => {
            let sql = "INSERT INTO sealed_log (one, number, before) VALUES (1, ?, ?)";
            sqlx::query(sql).bind(to).bind(mark.before.clone())
        }
        Some(seen) => {
            let from = number(seen).map_err(|error| unreadable("sealed_log", error))?;
            let sql =
                "UPDATE sealed_log SET number = ?, before = ? WHERE number = ? AND before = ?";
            let query = sqlx::query(sql).bind(to).bind(mark.before.clone());
            query.bind(from).bind(seen.before.clone())
        }
    };
    guarded(tx, query).await
}

pub(super) async fn credential(
    pool: &SqlitePool,
    id: SealedId,
) -> Result<Option<SealedCredential>> {
    let sql = "SELECT body FROM sealed_credentials WHERE id = ?";
    let query = sqlx::query_scalar(sql).bind(id.to_string());
    let body: Option<String> = query.fetch_optional(pool).await?;
    body.map(|body| parsed("sealed_credentials", &body)).transpose()
}

pub(super) async fn credentials(pool: &SqlitePool) -> Result<Vec<SealedCredential>> {
    let sql = "SELECT body FROM sealed_credentials ORDER BY id DESC";
    let bodies: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    Ok(readable("sealed_credentials", &bodies))
}

pub(super) async fn credential_of(pool: &SqlitePool, grant: GrantId) -> Result<Option<SealedId>> {
    let sql = "SELECT credential FROM sealed_uses WHERE access_grant = ?";
    let query = sqlx::query_scalar(sql).bind(grant.to_string());
    let id: Option<String> = query.fetch_optional(pool).await?;
    id.map(|id| id.parse().map_err(|error| unreadable("sealed_uses", error))).transpose()
}

pub(super) async fn mark(pool: &SqlitePool) -> Result<Option<SealedMark>> {
    let sql = "SELECT number, before FROM sealed_log";
    let row: Option<(i64, String)> = sqlx::query_as(sql).fetch_optional(pool).await?;
    let mark = |(number, before)| {
        let number = u64::try_from(number).map_err(|error| unreadable("sealed_log", error))?;
        Ok(SealedMark { number, before })
    };
    row.map(mark).transpose()
}

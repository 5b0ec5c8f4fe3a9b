//! Incidents and schedules.

use portcullis_model::{Incident, IncidentId, Schedule};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{json, parsed, readable},
    write::guarded,
};
use crate::Incidents;

pub(super) async fn add_incident(tx: &mut SqliteConnection, incident: &Incident) -> Result<()> {
    let sql = "INSERT INTO incidents (id, state, version, body) VALUES (?, ?, ?, ?) \
               ON CONFLICT (id) DO NOTHING";
    let query = sqlx::query(sql)
        .bind(incident.id.to_string())
        .bind(incident.state.as_str())
        .bind(incident.version)
        .bind(json("incidents", incident)?);
    guarded(tx, query).await
}

/// INVARIANT: a closed incident has no grant in force, whatever was issued at the same moment.
pub(super) async fn move_incident(
    tx: &mut SqliteConnection,
    incident: &Incident,
    seen_version: u32,
) -> Result<()> {
    let sql = "UPDATE incidents SET state = ?1, version = ?2, body = ?3 \
               WHERE id = ?4 AND version = ?5 AND (?1 = 'open' OR NOT EXISTS (\
               SELECT 1 FROM grants WHERE incident = ?4 AND state = 'in_force'))";
    let query = sqlx::query(sql)
        .bind(incident.state.as_str())
        .bind(incident.version)
        .bind(json("incidents", incident)?)
        .bind(incident.id.to_string())
        .bind(seen_version);
    guarded(tx, query).await
}

pub(super) async fn put_schedule(tx: &mut SqliteConnection, schedule: &Schedule) -> Result<()> {
    let sql = "INSERT INTO schedules (name, version, body) VALUES (?1, ?2, ?3) \
               ON CONFLICT (name) DO UPDATE SET version = excluded.version, body = excluded.body \
               WHERE schedules.version = excluded.version - 1";
    let query = sqlx::query(sql)
        .bind(schedule.name.to_string())
        .bind(schedule.version)
        .bind(json("schedules", schedule)?);
    guarded(tx, query).await
}

pub(super) async fn incident(pool: &SqlitePool, id: &IncidentId) -> Result<Option<Incident>> {
    let sql = "SELECT body FROM incidents WHERE id = ?";
    let query = sqlx::query_scalar(sql).bind(id.to_string());
    let body: Option<String> = query.fetch_optional(pool).await?;
    body.map(|body| parsed("incidents", &body)).transpose()
}

pub(super) async fn incidents(
    pool: &SqlitePool,
    which: Incidents,
    limit: u32,
) -> Result<Vec<Incident>> {
    let query = match which {
        Incidents::Open => sqlx::query_scalar(
            "SELECT body FROM incidents WHERE state = 'open' ORDER BY rowid DESC LIMIT ?",
        ),
        Incidents::Newest => {
            sqlx::query_scalar("SELECT body FROM incidents ORDER BY rowid DESC LIMIT ?")
        }
    };
    let bodies: Vec<String> = query.bind(limit).fetch_all(pool).await?;
    Ok(readable("incidents", &bodies))
}

pub(super) async fn schedules(pool: &SqlitePool) -> Result<Vec<Schedule>> {
    let bodies: Vec<String> =
        sqlx::query_scalar("SELECT body FROM schedules ORDER BY name").fetch_all(pool).await?;
    Ok(readable("schedules", &bodies))
}

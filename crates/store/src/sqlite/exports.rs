//! How far readers of the record have come, and what alert rules remember.

use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{all_readable, micros, time, unreadable},
    write::guarded,
};
use crate::{ExportChange, ExportCursor, StoredFiring, StoredHabit};

pub(super) async fn apply(tx: &mut SqliteConnection, change: &ExportChange) -> Result<()> {
    match change {
        ExportChange::Begin(cursor) => {
            let sql = "INSERT INTO export_cursors (reader, next, said) VALUES (?, ?, ?) \
                       ON CONFLICT (reader) DO NOTHING";
            let query = sqlx::query(sql).bind(cursor.reader.clone());
            guarded(tx, query.bind(position(cursor.next)?).bind(cursor.said)).await
        }
        ExportChange::Advance { cursor, seen } => {
            let sql = "UPDATE export_cursors SET next = ?, said = ? WHERE reader = ? AND next = ?";
            let query = sqlx::query(sql).bind(position(cursor.next)?).bind(cursor.said);
            guarded(tx, query.bind(cursor.reader.clone()).bind(position(*seen)?)).await
        }
        ExportChange::Habit(habit) => put_habit(tx, habit).await,
        ExportChange::ForgetHabits { kind, before } => {
            let sql = "DELETE FROM alert_habits WHERE kind = ? AND last_seen < ?";
            sqlx::query(sql).bind(*kind).bind(micros(*before)).execute(tx).await?;
            Ok(())
        }
        ExportChange::Fired(firing) => put_firing(tx, firing).await,
        ExportChange::ForgetFirings(before) => {
            let sql = "DELETE FROM alert_firings WHERE fired_at < ?";
            sqlx::query(sql).bind(micros(*before)).execute(tx).await?;
            Ok(())
        }
    }
}

async fn put_habit(tx: &mut SqliteConnection, habit: &StoredHabit) -> Result<()> {
    let sql = "INSERT INTO alert_habits (kind, principal, what, first_seen, last_seen) \
               VALUES (?, ?, ?, ?, ?) \
               ON CONFLICT (kind, principal, what) DO UPDATE SET last_seen = excluded.last_seen";
    let query = sqlx::query(sql)
        .bind(habit.kind)
        .bind(habit.principal.clone())
        .bind(habit.what.clone())
        .bind(micros(habit.first_seen))
        .bind(micros(habit.last_seen));
    guarded(tx, query).await
}

async fn put_firing(tx: &mut SqliteConnection, firing: &StoredFiring) -> Result<()> {
    let sql = "INSERT INTO alert_firings (rule, about, fired_at, suppressed) VALUES (?, ?, ?, ?) \
               ON CONFLICT (rule, about) DO UPDATE SET fired_at = excluded.fired_at, \
               suppressed = excluded.suppressed";
    let query = sqlx::query(sql)
        .bind(firing.rule.clone())
        .bind(firing.about.clone())
        .bind(micros(firing.fired_at))
        .bind(firing.suppressed);
    guarded(tx, query).await
}

fn position(next: u64) -> Result<i64> {
    i64::try_from(next).map_err(|error| unreadable("export_cursors", error))
}

pub(super) async fn cursor(pool: &SqlitePool, reader: &str) -> Result<Option<ExportCursor>> {
    let sql = "SELECT next, said FROM export_cursors WHERE reader = ?";
    let row: Option<(i64, bool)> =
        sqlx::query_as(sql).bind(reader.to_owned()).fetch_optional(pool).await?;
    let cursor = |(next, said)| {
        let next = u64::try_from(next).map_err(|error| unreadable("export_cursors", error))?;
        Ok(ExportCursor { reader: reader.to_owned(), next, said })
    };
    row.map(cursor).transpose()
}

pub(super) async fn habits(pool: &SqlitePool) -> Result<Vec<StoredHabit>> {
    let mut all = Vec::new();
    for kind in StoredHabit::KINDS {
        let sql = "SELECT principal, what, first_seen, last_seen FROM alert_habits \
                   WHERE kind = ? ORDER BY principal, what";
        let rows: Vec<(String, String, i64, i64)> =
            sqlx::query_as(sql).bind(kind).fetch_all(pool).await?;
        let read = |(principal, what, first, last): &(String, String, i64, i64)| {
            let at = |micros| time("alert_habits", micros);
            let (principal, what) = (principal.clone(), what.clone());
            let (first_seen, last_seen) = (at(*first)?, at(*last)?);
            Ok(StoredHabit { kind, principal, what, first_seen, last_seen })
        };
        all.extend(all_readable("alert_habits", &rows, read));
    }
    Ok(all)
}

pub(super) async fn firings(pool: &SqlitePool) -> Result<Vec<StoredFiring>> {
    let sql = "SELECT rule, about, fired_at, suppressed FROM alert_firings ORDER BY fired_at DESC, rule, about";
    let rows: Vec<(String, String, i64, u32)> = sqlx::query_as(sql).fetch_all(pool).await?;
    let read = |(rule, about, at, suppressed): &(String, String, i64, u32)| {
        let fired_at = time("alert_firings", *at)?;
        let (rule, about, suppressed) = (rule.clone(), about.clone(), *suppressed);
        Ok(StoredFiring { rule, about, fired_at, suppressed })
    };
    Ok(all_readable("alert_firings", &rows, read))
}

//! Messages in a chat, and what their buttons carry.

use portcullis_model::{AccessRequestId, NoticeId, TokenHash};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Result,
    rows::{json, parsed, readable},
    write::guarded,
};
use crate::{ChatChange, StoredButton, StoredMessage};

const TABLE: &str = "chat_messages";
const BUTTONS: &str = "chat_buttons";

pub(super) async fn apply(tx: &mut SqliteConnection, change: &ChatChange) -> Result<()> {
    match change {
        ChatChange::Add(message) => add(tx, message).await,
        ChatChange::Draw(buttons) => draw(tx, buttons).await,
        ChatChange::Show { message, buttons } => show(tx, message, buttons).await,
        ChatChange::Press(hash) => {
            let sql = "DELETE FROM chat_buttons WHERE hash = ?";
            guarded(tx, sqlx::query(sql).bind(hash.to_string())).await
        }
        ChatChange::End(id) => end(tx, *id).await,
    }
}

async fn add(tx: &mut SqliteConnection, message: &StoredMessage) -> Result<()> {
    let sql = "INSERT INTO chat_messages (id, access_request, place, version, body) \
               VALUES (?, ?, ?, ?, ?) ON CONFLICT (access_request, place) DO NOTHING";
    let query = sqlx::query(sql)
        .bind(message.id.to_string())
        .bind(message.access_request.to_string())
        .bind(message.place.clone())
        .bind(message.version)
        .bind(json(TABLE, message)?);
    query.execute(tx).await?;
    Ok(())
}

async fn draw(tx: &mut SqliteConnection, buttons: &[(TokenHash, StoredButton)]) -> Result<()> {
    for (hash, button) in buttons {
        let sql = "INSERT INTO chat_buttons (hash, message, body) VALUES (?, ?, ?)";
        let query = sqlx::query(sql)
            .bind(hash.to_string())
            .bind(button.message.to_string())
            .bind(json(BUTTONS, button)?);
        guarded(&mut *tx, query).await?;
    }
    Ok(())
}

async fn show(
    tx: &mut SqliteConnection,
    message: &StoredMessage,
    buttons: &[TokenHash],
) -> Result<()> {
    let sql = "UPDATE chat_messages SET version = ?1, body = ?2 WHERE id = ?3 AND version = ?1 - 1";
    let query = sqlx::query(sql)
        .bind(message.version)
        .bind(json(TABLE, message)?)
        .bind(message.id.to_string());
    guarded(&mut *tx, query).await?;
    let kept: Vec<String> = buttons.iter().map(ToString::to_string).collect();
    let sql = "DELETE FROM chat_buttons WHERE message = ? \
               AND hash NOT IN (SELECT value FROM json_each(?))";
    let query = sqlx::query(sql).bind(message.id.to_string()).bind(json(BUTTONS, &kept)?);
    query.execute(tx).await?;
    Ok(())
}

async fn end(tx: &mut SqliteConnection, id: NoticeId) -> Result<()> {
    let sql = "DELETE FROM chat_buttons WHERE message = ?";
    sqlx::query(sql).bind(id.to_string()).execute(&mut *tx).await?;
    let sql = "DELETE FROM chat_messages WHERE id = ?";
    guarded(tx, sqlx::query(sql).bind(id.to_string())).await
}

pub(super) async fn messages(pool: &SqlitePool) -> Result<Vec<StoredMessage>> {
    let sql = "SELECT body FROM chat_messages ORDER BY id";
    let bodies: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    Ok(readable(TABLE, &bodies))
}

pub(super) async fn messages_about(
    pool: &SqlitePool,
    id: AccessRequestId,
) -> Result<Vec<StoredMessage>> {
    let sql = "SELECT body FROM chat_messages WHERE access_request = ? ORDER BY id";
    let query = sqlx::query_scalar(sql).bind(id.to_string());
    let bodies: Vec<String> = query.fetch_all(pool).await?;
    Ok(readable(TABLE, &bodies))
}

pub(super) async fn button(pool: &SqlitePool, hash: &TokenHash) -> Result<Option<StoredButton>> {
    let sql = "SELECT body FROM chat_buttons WHERE hash = ?";
    let query = sqlx::query_scalar(sql).bind(hash.to_string());
    let body: Option<String> = query.fetch_optional(pool).await?;
    body.map(|body| parsed(BUTTONS, &body)).transpose()
}

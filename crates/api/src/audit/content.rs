//! `/v1/audit/contents`: what `@record` kept of a request, by the position of its record; and its erasure.

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use portcullis_control::views::{ContentState, ContentView, ErasureView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, named},
    parts::Shared,
};

/// What was kept of a request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Content)]
pub struct ContentBody {
    /// The position of its record.
    pub seq: u64,
    /// `kept`, `erased`, or `missing`: it is not here, or its key is not, and nobody erased it.
    pub state: String,
    /// What the record has of it: SHA-256 over a label, the salt and the content.
    pub commitment: String,
    /// The key that it was kept under.
    pub key: String,
    /// What was kept: `headers`, `body`, or `headers,body`.
    pub parts: String,
    /// What was kept, as JSON text, byte for byte as it was committed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Its salt, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Who erased it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<ErasureBody>,
}

/// How it was erased.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Erasure)]
pub struct ErasureBody {
    /// The event that says so.
    pub event: String,
    /// Who.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Why it is to be erased.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Erase)]
pub struct EraseBody {
    /// For those who ask later; it stays on record, so without what is to be erased.
    pub reason: String,
}

impl From<ContentView> for ContentBody {
    fn from(ContentView { seq, note, state }: ContentView) -> Self {
        let mut body = Self {
            seq,
            state: String::new(),
            commitment: note.commitment,
            key: note.key,
            parts: note.parts.to_string(),
            content: None,
            salt: None,
            erased: None,
        };
        let word = match state {
            ContentState::Kept(opening) => {
                body.salt = Some(opening.salt.to_string());
                body.content = Some(opening.content);
                "kept"
            }
            ContentState::Erased(ErasureView { event, by, erased_at, reason }) => {
                let event = event.to_string();
                body.erased = Some(ErasureBody { event, by, at: erased_at, reason });
                "erased"
            }
            ContentState::Missing => "missing",
        };
        word.clone_into(&mut body.state);
        body
    }
}

/// What was kept of the request of a record
///
/// Needs `viewAudit`, and is on record.
#[utoipa::path(get, path = "/v1/audit/contents/{seq}", tag = "audit", operation_id = "audit_content",
    params(("seq" = u64, Path)), responses((status = 200, body = ContentBody)))]
pub(crate) async fn content(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(seq): Path<String>,
) -> Answer<Json<ContentBody>> {
    Ok(Json(api.control.content(&op, named(&seq, "the record")?).await?.into()))
}

/// Erase what was kept of the request of a record; takes `administer`
///
/// It and its salt are deleted, wherever this server keeps them. The record stays, with its commitment; an event
/// says who erased what, when and why.
#[utoipa::path(post, path = "/v1/audit/contents/{seq}/erase", tag = "audit",
    operation_id = "erase_content", params(("seq" = u64, Path)), request_body = EraseBody,
    responses((status = 200, body = ContentBody)))]
pub(crate) async fn erase(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(seq): Path<String>,
    Body(body): Body<EraseBody>,
) -> Answer<Json<ContentBody>> {
    let seq = named(&seq, "the record")?;
    Ok(Json(api.control.erase_content(&op, seq, &body.reason).await?.into()))
}

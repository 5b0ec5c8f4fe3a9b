//! `/v1/audit`: the record, its files and its key. Reading it is on record itself.

use axum::{
    Json,
    extract::{Path, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use portcullis_control::{
    ControlError,
    views::{EventFilter, EventLine},
};
use portcullis_model::{GrantId, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, error::Answer, extract::Search, page, parts::Shared};

/// A search of the record.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Start at this position; the `next` of the part before.
    pub from: Option<u64>,
    /// At most so many, 1 to 500; 50 if absent.
    pub limit: Option<usize>,
    /// Only the newest `limit`, oldest of them first. Not together with `from`.
    #[serde(default)]
    pub newest: bool,
    /// Only this service.
    #[param(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// Only this grant.
    #[param(value_type = Option<String>)]
    pub grant: Option<GrantId>,
    /// Only this type, such as `attempt` or `grant_ended`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    pub kind: Option<String>,
}

/// A part of the record, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Events)]
pub struct EventsBody {
    /// The events.
    pub events: Vec<EventBody>,
    /// Where to go on; absent if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One event of the record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub struct EventBody {
    /// Its position in the log.
    pub seq: u64,
    /// The event's own members, beside `seq`. Its bytes as they were hashed are in the log's files.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub event: serde_json::Map<String, serde_json::Value>,
}

/// The key that checkpoints verify with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = LogKey)]
pub struct LogKeyBody {
    /// A C2SP signed-note verifier key.
    pub key: String,
}

impl TryFrom<EventLine> for EventBody {
    type Error = ControlError;

    fn try_from(line: EventLine) -> Result<Self, ControlError> {
        let event = serde_json::from_str(&line.json)
            .map_err(|error| ControlError::Internal(Box::new(error)))?;
        Ok(Self { seq: line.seq, event })
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(events)).routes(routes!(log_file)).routes(routes!(key))
}

/// Search the record
#[utoipa::path(get, path = "/v1/audit/events", tag = "audit", operation_id = "audit_events",
    params(EventQuery), responses((status = 200, body = EventsBody)))]
pub(crate) async fn events(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<EventQuery>,
) -> Answer<Json<EventsBody>> {
    if query.newest && query.from.is_some() {
        let message = "the newest events have no beginning to name".to_owned();
        return Err(ControlError::Invalid { field: "from", message }.into());
    }
    let filter = EventFilter {
        from: query.from,
        limit: page::limit(query.limit)?,
        newest: query.newest,
        service: query.service,
        grant: query.grant,
        kind: query.kind,
    };
    let lines = api.control.events(&op, filter).await?;
    let next = lines.last().map(|line| line.seq.saturating_add(1));
    let events = lines.into_iter().map(EventBody::try_from).collect::<Result<_, _>>()?;
    Ok(Json(EventsBody { events, next }))
}

/// A file of the transparency log
///
/// `checkpoint` and `tile/…`, laid out as C2SP tlog-tiles says.
#[utoipa::path(get, path = "/v1/audit/log/{*path}", tag = "audit",
    params(("path" = String, Path)), responses((status = 200, content_type = "application/octet-stream")))]
pub(crate) async fn log_file(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(path): Path<String>,
) -> Answer<Response> {
    let file = api.control.log_file(&op, &path).await?;
    let kind = match path.as_str() {
        "checkpoint" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    Ok(([(CONTENT_TYPE, kind)], file).into_response())
}

/// The key that checkpoints verify with
#[utoipa::path(get, path = "/v1/audit/key", tag = "audit", operation_id = "log_key", security(()),
    responses((status = 200, body = LogKeyBody)))]
pub(crate) async fn key(State(api): State<Shared>) -> Json<LogKeyBody> {
    Json(LogKeyBody { key: api.log_public_key.clone() })
}

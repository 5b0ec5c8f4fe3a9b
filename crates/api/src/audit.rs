//! `/v1/audit`: the record, its files and its key. Reading it is on record itself.

mod columns;
pub mod content;
pub mod csv;
mod export;
mod parquet;

use axum::{
    Json,
    extract::{Path, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use portcullis_control::{
    ControlError,
    views::{EventFilter, EventLine},
};
use portcullis_model::{
    AccessRequestId, ClassName, GrantId, IncidentId, InstanceName, NoWords, OperationName,
    ServiceName,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, error::Answer, extract::Search, page, parts::Shared};

/// A search of the record: what is given must all be so.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Where to go on: the `next` of the part before, with the same `order`.
    pub cursor: Option<u64>,
    /// At this position or after it.
    pub from: Option<u64>,
    /// At most so many, 1 to 500; 50 if absent.
    pub limit: Option<usize>,
    /// `oldest` first, as if absent, or `newest` first.
    #[serde(default)]
    #[param(inline)]
    pub order: Order,
    /// Only the newest `limit`, oldest of them first: to go on from, as new ones come. Not together with
    /// `from`, `cursor` or `order`.
    #[serde(default)]
    pub newest: bool,
    /// What is asked for.
    #[serde(flatten)]
    #[param(ignore)]
    pub asked: AskedQuery,
}

/// What events are meant: what is given must all be so.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AskedQuery {
    /// Only what this principal did, such as `corp:ana`.
    pub principal: Option<String>,
    /// Only this service.
    #[param(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// Only this instance, addressed or answering.
    #[param(value_type = Option<String>)]
    pub instance: Option<InstanceName>,
    /// Only this operation, such as `payments.createRefund`.
    #[param(value_type = Option<String>)]
    pub operation: Option<OperationName>,
    /// Only this grant.
    #[param(value_type = Option<String>)]
    pub grant: Option<GrantId>,
    /// Only this access request.
    #[param(value_type = Option<String>)]
    pub access_request: Option<AccessRequestId>,
    /// Only this incident.
    #[param(value_type = Option<String>)]
    pub incident: Option<IncidentId>,
    /// Only this decision, such as `permit`, `requestable`, `deny`, `refuse` or `approve`.
    pub decision: Option<String>,
    /// Only where data of this class was seen.
    #[param(value_type = Option<String>)]
    pub class: Option<ClassName>,
    /// Only this type, such as `attempt` or `grant_ended`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    pub kind: Option<String>,
    /// Only what happened then or later.
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only what happened before.
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Only where these words are: whole words of letters and digits, in any case. Parts between spaces
    /// must all be there, the words of each in their order: `/v1/refunds`.
    pub text: Option<String>,
}

/// In which order events come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The oldest first.
    #[default]
    Oldest,
    /// The newest first.
    Newest,
}

/// A part of the record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Events)]
pub struct EventsBody {
    /// The events.
    pub events: Vec<EventBody>,
    /// The `cursor` to go on with; absent if there can be nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Whether there is something to look at there now. A part may be short, or empty, and more follows.
    #[serde(default)]
    pub more: bool,
    /// The first event that is there, if retention removed those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<u64>,
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
    /// It and the keys before it, each with the sizes that it may sign, as `log.pub` has them.
    pub keys: Vec<String>,
}

impl EventQuery {
    /// What is asked for, and which part of it.
    pub(crate) fn filter(self) -> Answer<EventFilter> {
        let begins = [self.from.is_some(), self.cursor.is_some(), self.order == Order::Newest];
        if self.newest && begins.contains(&true) {
            let message = "the newest events have no beginning or order to name".to_owned();
            return Err(ControlError::Invalid { field: "newest", message }.into());
        }
        let backwards = self.newest || self.order == Order::Newest;
        let onwards = self.cursor.filter(|_| !backwards);
        Ok(EventFilter {
            from: self.from.max(onwards),
            before: self.cursor.filter(|_| backwards),
            limit: page::limit(self.limit)?,
            newest: backwards,
            ..self.asked.filter()?
        })
    }
}

impl AskedQuery {
    /// What is asked for: all of it.
    pub(crate) fn filter(self) -> Answer<EventFilter> {
        let words = self.text.as_deref().map(str::parse).transpose();
        let words = words.map_err(|error: NoWords| {
            let message = error.to_string();
            ControlError::Invalid { field: "text", message }
        })?;
        Ok(EventFilter {
            principal: self.principal.map(Into::into),
            service: self.service,
            instance: self.instance,
            operation: self.operation,
            grant: self.grant,
            access_request: self.access_request,
            incident: self.incident,
            decision: self.decision.map(Into::into),
            class: self.class,
            kind: self.kind.map(Into::into),
            since: self.since,
            until: self.until,
            words,
            ..EventFilter::default()
        })
    }
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
    OpenApiRouter::new()
        .routes(routes!(events))
        .routes(routes!(export::export))
        .routes(routes!(content::content))
        .routes(routes!(content::erase))
        .routes(routes!(log_file))
        .routes(routes!(key))
}

/// Search the record
#[utoipa::path(get, path = "/v1/audit/events", tag = "audit", operation_id = "audit_events",
    params(EventQuery, AskedQuery), responses((status = 200, body = EventsBody)))]
pub(crate) async fn events(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<EventQuery>,
) -> Answer<Json<EventsBody>> {
    let newest = query.newest;
    let part = api.control.events(&op, query.filter()?).await?;
    // The newest are shown as they came, and what comes after them follows.
    let next = if newest { Some(part.size) } else { part.next };
    let kept_from = Some(part.kept_from).filter(|first| *first > 0);
    let mut lines = part.lines;
    if newest {
        lines.reverse();
    }
    let events = lines.into_iter().map(EventBody::try_from).collect::<Result<_, _>>()?;
    Ok(Json(EventsBody { events, next, more: part.more && !newest, kept_from }))
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
    let keys = api.log_keys.clone();
    // Without the sizes.
    let key = keys.last().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
    Json(LogKeyBody { key, keys })
}

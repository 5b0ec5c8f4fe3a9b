//! `/v1/connections`: what is open at the gate.

use std::net::IpAddr;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_control::views::{ConnectionView, KnownAs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Search, named},
    page::{self, PageQuery},
    parts::Shared,
    principal::NamedPrincipalBody,
};

/// A live connection.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Connection)]
pub struct ConnectionBody {
    /// Its id.
    pub id: String,
    /// Who.
    pub principal: NamedPrincipalBody,
    /// Where.
    pub service: String,
    /// Which instance.
    pub instance: String,
    /// What.
    pub operation: String,
    /// The grant that opened it; absent under standing policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The grants that let it show sensitive data; it ends with the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reveals: Vec<String>,
    /// `http`, `grpc`, `websocket` or `sse`.
    pub protocol: String,
    /// The caller's address.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

impl ConnectionBody {
    fn new(view: &ConnectionView, known_as: KnownAs) -> Self {
        Self {
            id: view.id.to_string(),
            principal: NamedPrincipalBody::new(&view.principal, known_as),
            service: view.service.to_string(),
            instance: view.instance.to_string(),
            operation: view.operation.to_string(),
            grant: view.grant.map(|id| id.to_string()),
            reveals: view.reveals.iter().map(ToString::to_string).collect(),
            protocol: view.protocol.to_owned(),
            source: view.source,
            since: view.since,
        }
    }
}

/// A part of a list of connections, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Connections)]
pub struct ConnectionsBody {
    /// The connections.
    pub connections: Vec<ConnectionBody>,
    /// The cursor of the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(close))
}

/// Connections that I may see, newest first
#[utoipa::path(get, path = "/v1/connections", tag = "access", operation_id = "connections",
    params(PageQuery), responses((status = 200, body = ConnectionsBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<PageQuery>,
) -> Answer<Json<ConnectionsBody>> {
    let all = api.control.connections(&op).await?;
    let body = |view: ConnectionView| {
        let known_as = api.control.known_as(&op, &view.principal);
        ConnectionBody::new(&view, known_as)
    };
    let part = page::cut(&query, all, |view| view.id, body)?;
    Ok(Json(ConnectionsBody { connections: part.items, next: part.next }))
}

/// Close a connection
#[utoipa::path(post, path = "/v1/connections/{id}/close", tag = "access",
    operation_id = "close_connection", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn close(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.control.close_connection(&op, named(&id, "the connection")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! `/healthz`, `/readyz`, `/metrics` and the keys: what machines ask without credentials.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::parts::{Ready, Shared};

/// Whether the process serves, and what keeps it from that.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Readiness)]
pub struct ReadinessBody {
    /// Whether it serves.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// What does not keep it from serving, and is to be looked after all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(jwks))
}

/// The process is alive
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()), responses((status = 200)))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The process serves
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()),
    responses((status = 200, body = ReadinessBody), (status = 503, body = ReadinessBody)))]
pub(crate) async fn readyz(State(api): State<Shared>) -> impl IntoResponse {
    let Ready { reasons, notes } = (api.readiness)().await;
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadinessBody { ready, reasons, notes }))
}

/// Metrics
#[utoipa::path(get, path = "/metrics", tag = "operations", security(()),
    responses((status = 200, content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(State(api): State<Shared>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], (api.metrics)())
}

/// The keys that assertions towards upstreams are signed with (RFC 7517)
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "operations", security(()),
    responses((status = 200)))]
pub(crate) async fn jwks(State(api): State<Shared>) -> Json<serde_json::Value> {
    Json(api.assertion_keys.clone())
}

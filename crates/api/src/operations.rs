//! `/healthz`, `/readyz`, `/metrics` and the keys: what machines ask without credentials.

use axum::{
    Json,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::parts::{MetricsFormat, Ready, Shared};

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
///
/// As `OpenMetrics`, with exemplars, for who accepts that; else in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(()),
    responses((status = 200, content(
        (String = "text/plain"), (String = "application/openmetrics-text")))))]
pub(crate) async fn metrics(State(api): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    api.control.count_messages().await;
    let format = accepted(headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()));
    let kind = match format {
        MetricsFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        MetricsFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
    };
    ([(CONTENT_TYPE, kind)], (api.metrics)(format))
}

/// The format that `accept` prefers; `OpenMetrics` where both are as good and it is named.
fn accepted<'a>(accept: impl Iterator<Item = &'a str>) -> MetricsFormat {
    let (mut open, mut plain) = (0.0, 0.0_f64);
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
        let quality = quality.unwrap_or(1.0);
        match kind.as_str() {
            "application/openmetrics-text" => open = quality.max(open),
            "text/plain" | "text/*" | "*/*" => plain = quality.max(plain),
            _ => {}
        }
    }
    if open > 0.0 && open >= plain { MetricsFormat::OpenMetrics } else { MetricsFormat::Prometheus }
}

/// The keys that assertions towards upstreams are signed with (RFC 7517)
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "operations", security(()),
    responses((status = 200)))]
pub(crate) async fn jwks(State(api): State<Shared>) -> Json<serde_json::Value> {
    Json(api.assertion_keys.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_prefers_openmetrics_gets_it() {
        for (accept, open) in [
            ("", false),
            ("*/*", false),
            ("text/plain;version=0.0.4", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text; version=1.0.0; q=0.5,text/plain;q=0.3,*/*;q=0.1", true),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.5", false),
        ] {
            let format = accepted([accept].into_iter());
            assert_eq!(format == MetricsFormat::OpenMetrics, open, "{accept}");
        }
    }
}

//! `/v1/exports` and `/v1/alerts`: what becomes of the record, and what somebody is called for.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_control::{
    ControlError,
    alerts::RuleView,
    export::{Form, SinkView},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, error::Answer, parts::Shared};

/// A sink, or a webhook for alerts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Sink)]
pub struct SinkBody {
    /// Its name in configuration.
    pub name: String,
    /// `export`, `webhook` (for alerts) or `lifecycle`.
    pub kind: String,
    /// Where it leads, without anything secret.
    pub place: String,
    /// The position of the record that it is told next.
    pub next: u64,
    /// Entries of the record that it has not been told of.
    pub behind: u64,
    /// Events that arrived since the process started.
    pub delivered: u64,
    /// Attempts that failed since the process started.
    pub failures: u64,
    /// When something last arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<Timestamp>,
    /// Since when nothing arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// All sinks and webhooks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Sinks)]
pub struct SinksBody {
    /// In the order of configuration.
    pub sinks: Vec<SinkBody>,
}

/// An alert rule.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AlertRule)]
pub struct AlertRuleBody {
    /// Its name in configuration.
    pub name: String,
    /// What it looks for: `denials`, `emergency`, ….
    pub kind: String,
    /// The webhooks that are called.
    pub to: Vec<String>,
    /// How often it fired since the process started.
    pub fired: u64,
    /// What it last fired for, newest first.
    pub firings: Vec<FiringBody>,
}

/// A rule fired.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Firing)]
pub struct FiringBody {
    /// For what.
    pub about: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How often it would have fired again since.
    pub suppressed: u32,
}

/// All alert rules.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AlertRules)]
pub struct AlertRulesBody {
    /// In the order of configuration.
    pub rules: Vec<AlertRuleBody>,
}

impl From<SinkView> for SinkBody {
    fn from(view: SinkView) -> Self {
        let kind = view.form.word();
        Self {
            name: view.name,
            kind: kind.to_owned(),
            place: view.place,
            next: view.next,
            behind: view.behind,
            delivered: view.delivered,
            failures: view.failures,
            delivered_at: view.delivered_at,
            failing_since: view.failing_since,
            trouble: view.trouble,
        }
    }
}

impl From<RuleView> for AlertRuleBody {
    fn from(view: RuleView) -> Self {
        let firings = view.firings.into_iter().map(|one| FiringBody {
            about: one.about,
            at: one.at,
            suppressed: one.suppressed,
        });
        Self {
            name: view.name,
            kind: view.kind.to_owned(),
            to: view.to,
            fired: view.fired,
            firings: firings.collect(),
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(exports))
        .routes(routes!(test_export))
        .routes(routes!(alerts))
        .routes(routes!(test_webhook))
}

/// Where the record is passed on to, and how far; takes `viewAudit`
#[utoipa::path(get, path = "/v1/exports", tag = "audit", operation_id = "exports",
    responses((status = 200, body = SinksBody)))]
pub(crate) async fn exports(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<SinksBody>> {
    let sinks = api.control.exports(&op).await?.into_iter().map(SinkBody::from).collect();
    Ok(Json(SinksBody { sinks }))
}

/// Send a test event to a sink; takes `administer`
#[utoipa::path(post, path = "/v1/exports/{name}/test", tag = "audit", operation_id = "test_export",
    params(("name" = String, Path)), responses((status = 204)))]
pub(crate) async fn test_export(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    // A webhook under `connectors` never has the name of a sink.
    let sink = api.control.test_sink(&op, Form::Ocsf, &name).await;
    if let Err(ControlError::NotFound(_)) = sink {
        api.control.test_sink(&op, Form::Standard, &name).await?;
    } else {
        sink?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Alert rules, and what they last fired for; takes `viewAudit`
#[utoipa::path(get, path = "/v1/alerts", tag = "audit", operation_id = "alerts",
    responses((status = 200, body = AlertRulesBody)))]
pub(crate) async fn alerts(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<AlertRulesBody>> {
    let rules = api.control.alerts(&op).await?.into_iter().map(AlertRuleBody::from).collect();
    Ok(Json(AlertRulesBody { rules }))
}

/// Send a signed test alert to a webhook; takes `administer`
#[utoipa::path(post, path = "/v1/alerts/{webhook}/test", tag = "audit", operation_id = "test_alert",
    params(("webhook" = String, Path)), responses((status = 204)))]
pub(crate) async fn test_webhook(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(webhook): Path<String>,
) -> Answer<StatusCode> {
    api.control.test_sink(&op, Form::Alert, &webhook).await?;
    Ok(StatusCode::NO_CONTENT)
}

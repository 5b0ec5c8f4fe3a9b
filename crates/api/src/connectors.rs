//! `/v1/connectors`: how connected systems are doing, and messages of those that know of incidents and of who is on
//! call.
//!
//! Nobody presents a credential with a message: each proves by itself whose it is, over the bytes as they
//! came. Control looks at that before anything else.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use portcullis_control::views::{ConnectorView, RefusedMessage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::{Caller, Source},
    error::Answer,
    parts::Shared,
};

/// A connected system.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Connector)]
pub struct ConnectorBody {
    /// Its name, as policies and the record have it: `teams:payments`.
    pub name: String,
    /// What kind of system: `slack`, `teams`, `email`, `webhook`, `decisions`, `pagerduty`, `incident_io`,
    /// `jira_service_management`, `grafana_irm`, `grafana_incidents`.
    pub kind: String,
    /// Where it leads, without anything secret.
    pub place: String,
    /// `working`; `failing` if the last attempt did not get through; `resting` until its rest is over, if it asked for
    /// one; `unknown` while nothing was said to it or heard of it since the process started.
    pub state: String,
    /// Since when something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// What, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// When it last took or answered something, since the process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub answered_at: Option<Timestamp>,
    /// When a message of it last came in, since the process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub heard_at: Option<Timestamp>,
    /// Until when what it keeps is known, unless it answers before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub known_until: Option<Timestamp>,
    /// It asked to be left alone until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub rests_until: Option<Timestamp>,
    /// Messages that are due and that it has not taken; of Slack, access requests whose messages are to be brought.
    pub waiting: u64,
    /// Entries of the record that it has not been told of, of those that are told of entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Messages that it did not take in the end: `/v1/deliveries`.
    pub set_aside: u64,
    /// Attempts to reach it that failed, since the process started.
    pub failures: u64,
    /// The last message in its name that did nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedBody>,
}

/// A message that came in and did nothing. Anybody may have sent it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RefusedMessage)]
pub struct RefusedBody {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// All connected systems.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Connectors)]
pub struct ConnectorsBody {
    /// In the order of configuration.
    pub connectors: Vec<ConnectorBody>,
}

impl From<ConnectorView> for ConnectorBody {
    fn from(view: ConnectorView) -> Self {
        let refused = view.refused.map(|RefusedMessage { at, why }| RefusedBody { at, why });
        Self {
            name: view.name,
            kind: view.kind.to_owned(),
            place: view.place,
            state: view.state.as_str().to_owned(),
            failing_since: view.failing_since,
            trouble: view.trouble,
            answered_at: view.answered_at,
            heard_at: view.heard_at,
            known_until: view.known_until,
            rests_until: view.rests_until,
            waiting: view.waiting,
            behind: view.behind,
            set_aside: view.set_aside,
            failures: view.failures,
            refused,
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(connectors)).routes(routes!(hear))
}

/// How connected systems are doing; takes `viewAudit` or `administer`
///
/// As was last said of each: nobody is asked because somebody looks.
#[utoipa::path(get, path = "/v1/connectors", tag = "operations", operation_id = "connectors",
    responses((status = 200, body = ConnectorsBody)))]
pub(crate) async fn connectors(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<ConnectorsBody>> {
    let all = api.control.connectors(&op).await?.into_iter().map(ConnectorBody::from);
    Ok(Json(ConnectorsBody { connectors: all.collect() }))
}

/// A message of another system, signed as it signs
///
/// 202 says that it was taken, whatever became of it.
#[utoipa::path(post, path = "/v1/connectors/{name}/events", tag = "facts",
    operation_id = "hear_connector", security(()), params(("name" = String, Path)),
    request_body(content = String, content_type = "application/json"),
    responses((status = 202)))]
pub(crate) async fn hear(
    Source(source): Source,
    State(api): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<StatusCode> {
    api.control.hear(&name, &readable(&headers), &body, source).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Those that are text; what came twice stands behind one another.
fn readable(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        let known = all.entry(name.as_str().to_owned()).or_default();
        if !known.is_empty() {
            known.push(',');
        }
        known.push_str(value);
    }
    all
}

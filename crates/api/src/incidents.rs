//! `/v1/incidents`: what is broken, who works on it, and who says so.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_control::views::{IncidentChange, NewIncident};
use portcullis_model::{
    Incident, IncidentId, IncidentState, PrincipalId, PrincipalKind, ServiceName, Severity, Window,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, named},
    parts::Shared,
    principal::PrincipalBody,
};

/// An incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Incident)]
pub struct IncidentBody {
    /// Its id.
    pub id: String,
    /// `open` or `closed`.
    pub state: String,
    /// What it is about.
    pub title: String,
    /// How bad it is.
    pub severity: String,
    /// The services that it is about.
    pub services: Vec<String>,
    /// By which door it came and who opened it: `api:corp:ana`. What policies read.
    pub source: String,
    /// Who opened it.
    pub opened_by: PrincipalBody,
    /// Who works on it.
    pub responders: Vec<String>,
    /// When it was opened first.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When something was last said about it.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Until when that is known, if it is for a time only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub fresh_until: Option<Timestamp>,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
}

impl From<&Incident> for IncidentBody {
    fn from(incident: &Incident) -> Self {
        let closed_at = match incident.state {
            IncidentState::Open => None,
            IncidentState::Closed { at, by: _ } => Some(at),
        };
        Self {
            id: incident.id.to_string(),
            state: incident.state.as_str().to_owned(),
            title: incident.title.clone(),
            severity: incident.severity.to_string(),
            services: incident.services.iter().map(ToString::to_string).collect(),
            source: incident.source.to_string(),
            opened_by: (&incident.source.principal).into(),
            responders: incident.responders.iter().map(|who| who.id.to_string()).collect(),
            opened_at: incident.opened_at,
            updated_at: incident.updated_at,
            fresh_until: incident.fresh_until,
            closed_at,
        }
    }
}

/// The newest incidents.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Incidents)]
pub struct IncidentsBody {
    /// Newest first, 500 at most.
    pub incidents: Vec<IncidentBody>,
}

/// An incident to be opened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenIncidentBody {
    /// Its id, like `PD-4711`; a new one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<IncidentId>,
    /// What it is about.
    pub title: String,
    /// How bad it is, like `sev1`.
    #[schema(value_type = String)]
    pub severity: Severity,
    /// The services that it is about.
    #[schema(value_type = Vec<String>)]
    pub services: BTreeSet<ServiceName>,
    /// Who works on it: people, like `corp:ana`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub responders: BTreeSet<String>,
    /// For how long that is known unless it is said again, like `30m`; forever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fresh_for: Option<Window>,
}

/// What is said about an incident; what is absent stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeIncidentBody {
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How bad it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub severity: Option<Severity>,
    /// The services that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub services: Option<BTreeSet<ServiceName>>,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responders: Option<BTreeSet<String>>,
    /// For how long that is known; as long as before if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fresh_for: Option<Window>,
}

/// People by their names, like `corp:ana`.
pub(crate) fn people(names: BTreeSet<String>) -> BTreeSet<PrincipalId> {
    let person = |id: String| PrincipalId { kind: PrincipalKind::User, id: id.into() };
    names.into_iter().map(person).collect()
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, open))
        .routes(routes!(incident, change))
        .routes(routes!(close))
        .routes(routes!(reopen))
}

/// Incidents that I may see, newest first
#[utoipa::path(get, path = "/v1/incidents", tag = "facts", operation_id = "incidents",
    responses((status = 200, body = IncidentsBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<IncidentsBody>> {
    let all = api.control.incidents(&op).await?;
    Ok(Json(IncidentsBody { incidents: all.iter().map(IncidentBody::from).collect() }))
}

/// One incident
#[utoipa::path(get, path = "/v1/incidents/{id}", tag = "facts", params(("id" = String, Path)),
    responses((status = 200, body = IncidentBody)))]
pub(crate) async fn incident(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<IncidentBody>> {
    let found = api.control.incident(&op, &id_of(&id)?).await?;
    Ok(Json((&found).into()))
}

/// Open an incident; takes `manageIncident` on every service that it is about
#[utoipa::path(post, path = "/v1/incidents", tag = "facts", operation_id = "open_incident",
    request_body = OpenIncidentBody, responses((status = 201, body = IncidentBody)))]
pub(crate) async fn open(
    Caller(op): Caller,
    State(api): State<Shared>,
    Body(body): Body<OpenIncidentBody>,
) -> Answer<(StatusCode, Json<IncidentBody>)> {
    let new = NewIncident {
        id: body.id,
        title: body.title,
        severity: body.severity,
        services: body.services,
        responders: people(body.responders),
        fresh_for: body.fresh_for,
    };
    let opened = api.control.open_incident(&op, new).await?;
    Ok((StatusCode::CREATED, Json((&opened).into())))
}

/// Say something about an incident, or, with `{}`, the same again
#[utoipa::path(patch, path = "/v1/incidents/{id}", tag = "facts", operation_id = "change_incident",
    params(("id" = String, Path)), request_body = ChangeIncidentBody,
    responses((status = 200, body = IncidentBody)))]
pub(crate) async fn change(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Body(body): Body<ChangeIncidentBody>,
) -> Answer<Json<IncidentBody>> {
    let change = IncidentChange {
        title: body.title,
        severity: body.severity,
        services: body.services,
        responders: body.responders.map(people),
        fresh_for: body.fresh_for,
    };
    let changed = api.control.change_incident(&op, &id_of(&id)?, change).await?;
    Ok(Json((&changed).into()))
}

/// Close an incident; answered once no gate of this process uses a grant for it any more
#[utoipa::path(post, path = "/v1/incidents/{id}/close", tag = "facts",
    operation_id = "close_incident", params(("id" = String, Path)),
    responses((status = 200, body = IncidentBody)))]
pub(crate) async fn close(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<IncidentBody>> {
    let closed = api.control.close_incident(&op, &id_of(&id)?).await?;
    Ok(Json((&closed).into()))
}

/// Open a closed incident again; grants that ended with it stay over
#[utoipa::path(post, path = "/v1/incidents/{id}/reopen", tag = "facts",
    operation_id = "reopen_incident", params(("id" = String, Path)),
    responses((status = 200, body = IncidentBody)))]
pub(crate) async fn reopen(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<IncidentBody>> {
    let opened = api.control.reopen_incident(&op, &id_of(&id)?).await?;
    Ok(Json((&opened).into()))
}

fn id_of(text: &str) -> Answer<IncidentId> {
    named(text, "the incident")
}

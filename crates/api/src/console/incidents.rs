//! Incidents, and who is on call: what policies read of the world, and who said so.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use portcullis_control::views::{NewIncident, OnCallInput};
use portcullis_model::{Grant, Incident, IncidentId, Schedule, ScheduleName, Severity};
use serde::Deserialize;

use super::{
    Failure, Outcome,
    form::{Filled, Nothing},
    frame::{Frame, Section},
    visitor::{Visitor, done, page},
};
use crate::{extract::named, incidents::people, parts::Shared};

/// Closed incidents that the page shows.
const CLOSED: usize = 50;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/incidents", get(list).post(open))
        .route("/incidents/{id}", get(one))
        .route("/incidents/{id}/close", post(close))
        .route("/incidents/{id}/reopen", post(reopen))
        .route("/schedules", post(on_call))
}

#[derive(Debug, Template)]
#[template(path = "console/incidents.html")]
struct ListPage {
    frame: Frame,
    open: Vec<Incident>,
    closed: Vec<Incident>,
    schedules: Vec<Schedule>,
    services: Vec<String>,
}

async fn list(State(api): State<Shared>, visitor: Visitor) -> Outcome {
    let frame = visitor.frame(&api, Section::Incidents, "incidents-title").await?;
    let all = api.control.incidents(&visitor.op).await?;
    let (open, mut closed): (Vec<_>, Vec<_>) = all.into_iter().partition(Incident::is_open);
    closed.truncate(CLOSED);
    let schedules = api.control.schedules(&visitor.op).await?;
    let services = api.control.services(&visitor.op).await?;
    let services = services.iter().map(|service| service.name.to_string()).collect();
    page(&ListPage { frame, open, closed, schedules, services })
}

#[derive(Debug, Template)]
#[template(path = "console/incident.html")]
struct IncidentPage {
    frame: Frame,
    source: String,
    incident: Incident,
    grants: Vec<Grant>,
}

async fn one(State(api): State<Shared>, visitor: Visitor, Path(id): Path<String>) -> Outcome {
    let id: IncidentId = named(&id, "the incident")?;
    let mut frame = visitor.frame(&api, Section::Incidents, "incidents-title").await?;
    let incident = api.control.incident(&visitor.op, &id).await?;
    frame.title = frame.say_with("incidents-one", "id", incident.id.as_str());
    let grants = api.control.grants_for_incident(&visitor.op, &id).await?;
    page(&IncidentPage { frame, source: incident.source.to_string(), incident, grants })
}

#[derive(Debug, Deserialize)]
struct Opened {
    #[serde(default)]
    id: String,
    title: String,
    severity: Severity,
    services: String,
    #[serde(default)]
    responders: String,
}

/// Words between commas or spaces.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty())
}

async fn open(State(api): State<Shared>, Filled(visitor, form): Filled<Opened>) -> Outcome {
    let id = Some(form.id.trim()).filter(|id| !id.is_empty());
    let id = id.map(str::parse).transpose();
    let id = id.map_err(|_| Failure::unreadable("an incident's id is a word such as PD-4711"))?;
    let services: Result<BTreeSet<_>, _> = words(&form.services).map(str::parse).collect();
    let services = services.map_err(|_| Failure::unreadable("name services as they are called"))?;
    let responders = people(words(&form.responders).map(str::to_owned).collect());
    let new = NewIncident {
        id,
        title: form.title,
        severity: form.severity,
        services,
        responders,
        fresh_for: None,
    };
    let opened = api.control.open_incident(&visitor.op, new).await?;
    done(&format!("/incidents/{}", opened.id), "incident-opened")
}

async fn close(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Nothing {}): Filled<Nothing>,
) -> Outcome {
    let id: IncidentId = named(&id, "the incident")?;
    api.control.close_incident(&visitor.op, &id).await?;
    done(&format!("/incidents/{id}"), "incident-closed")
}

async fn reopen(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Nothing {}): Filled<Nothing>,
) -> Outcome {
    let id: IncidentId = named(&id, "the incident")?;
    api.control.reopen_incident(&visitor.op, &id).await?;
    done(&format!("/incidents/{id}"), "incident-reopened")
}

#[derive(Debug, Deserialize)]
struct OnCall {
    schedule: ScheduleName,
    #[serde(default)]
    people: String,
}

async fn on_call(State(api): State<Shared>, Filled(visitor, form): Filled<OnCall>) -> Outcome {
    let named = people(words(&form.people).map(str::to_owned).collect());
    let input = OnCallInput { people: named, until: None };
    api.control.put_schedule(&visitor.op, &form.schedule, input).await?;
    done("/incidents", "on-call")
}

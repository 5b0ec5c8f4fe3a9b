//! `portcullis incidents`: what is broken, and who says so.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use portcullis_api::incidents::{
    ChangeIncidentBody, IncidentBody, IncidentsBody, OpenIncidentBody,
};
use portcullis_model::{IncidentId, ServiceName, Severity, Window};
use reqwest::Method;

use super::{failure::Failure, session::Session, when};

#[derive(Debug, Args)]
pub(crate) struct Incidents {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Opens an incident
    Open(Open),
    /// Says that it is still so, or what has changed
    Update(Update),
    /// Closes it, and ends what it opened
    Close(Named),
    /// Opens a closed one again; what it opened before stays shut
    Reopen(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The incident, like PD-4711
    id: IncidentId,
}

#[derive(Debug, Args)]
struct Open {
    /// What is broken
    title: String,
    /// The services that it is about; may be given several times
    #[arg(long = "service", required = true, value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// How bad it is
    #[arg(long, default_value = "sev2")]
    severity: Severity,
    /// Its id, like PD-4711; a new one if absent
    #[arg(long)]
    id: Option<IncidentId>,
    /// Who works on it, like corp:ana; may be given several times
    #[arg(long = "responder", value_name = "PERSON")]
    responders: Vec<String>,
    /// For how long this is known unless it is said again, like 30m
    #[arg(long, value_name = "DURATION")]
    fresh_for: Option<Window>,
}

#[derive(Debug, Args)]
struct Update {
    /// The incident, like PD-4711
    id: IncidentId,
    /// What is broken
    #[arg(long)]
    title: Option<String>,
    /// How bad it is
    #[arg(long)]
    severity: Option<Severity>,
    /// The services that it is about; may be given several times
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Who works on it, like corp:ana; may be given several times
    #[arg(long = "responder", value_name = "PERSON")]
    responders: Vec<String>,
    /// For how long this is known unless it is said again, like 30m
    #[arg(long, value_name = "DURATION")]
    fresh_for: Option<Window>,
}

impl Incidents {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self.what {
            None => list(session).await,
            Some(What::Open(open)) => {
                let body = OpenIncidentBody {
                    id: open.id,
                    title: open.title,
                    severity: open.severity,
                    services: open.services.into_iter().collect(),
                    responders: open.responders.into_iter().collect(),
                    fresh_for: open.fresh_for,
                };
                say(session, Method::POST, "/v1/incidents", Some(written(&body)?)).await
            }
            Some(What::Update(update)) => {
                let path = format!("/v1/incidents/{}", update.id);
                say(session, Method::PATCH, &path, Some(written(&update.body())?)).await
            }
            Some(What::Close(Named { id })) => {
                say(session, Method::POST, &format!("/v1/incidents/{id}/close"), None).await
            }
            Some(What::Reopen(Named { id })) => {
                say(session, Method::POST, &format!("/v1/incidents/{id}/reopen"), None).await
            }
        }
    }
}

impl Update {
    fn body(self) -> ChangeIncidentBody {
        let some = |empty: bool| (!empty).then_some(());
        ChangeIncidentBody {
            title: self.title,
            severity: self.severity,
            services: some(self.services.is_empty()).map(|()| self.services.into_iter().collect()),
            responders: some(self.responders.is_empty())
                .map(|()| self.responders.into_iter().collect()),
            fresh_for: self.fresh_for,
        }
    }
}

pub(super) fn written<T: serde::Serialize>(body: &T) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(body).map_err(|error| Failure::local("what you say", &error))
}

async fn say(
    mut session: Session<'_>,
    method: Method,
    path: &str,
    body: Option<serde_json::Value>,
) -> Result<(), Failure> {
    let answer = session.send(method, path, body).await?;
    if session.screen.is_json() {
        session.screen.body(&answer.body);
        return Ok(());
    }
    let incident: IncidentBody = answer.read()?;
    let IncidentBody { id, state, title, severity, .. } = &incident;
    let services = incident.services.join(", ");
    session.screen.line(&format!("{id} is {state}: {title} ({severity}, {services})"));
    Ok(())
}

async fn list(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/incidents").await?;
    let (screen, now) = (session.screen, session.now());
    if screen.is_json() {
        screen.body(&fetched.body);
        return Ok(());
    }
    let all: IncidentsBody = fetched.read()?;
    let rows = all.incidents.iter().map(|incident| row(incident, now)).collect();
    let header = ["id", "what", "severity", "services", "source", "state"];
    screen.table("there are no incidents", &header, rows);
    Ok(())
}

fn row(incident: &IncidentBody, now: Timestamp) -> Vec<String> {
    let state = match (incident.closed_at, incident.fresh_until) {
        (Some(at), _) => format!("closed {}", when::ago(at, now)),
        (None, Some(until)) if until <= now => "unknown: not heard of again".to_owned(),
        (None, _) => format!("open since {}", when::at(incident.opened_at, now)),
    };
    vec![
        incident.id.clone(),
        incident.title.clone(),
        incident.severity.clone(),
        incident.services.join(", "),
        incident.source.clone(),
        state,
    ]
}

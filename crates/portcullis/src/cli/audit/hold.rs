//! `portcullis audit hold add|list|release`: what stays on record, however old it is.

use clap::{Args, Subcommand};
use portcullis_api::legal_holds::{
    HoldScopeBody, LegalHoldBody, LegalHoldsBody, PlaceLegalHoldBody, ReleaseLegalHoldBody,
};
use portcullis_model::{GrantId, IncidentId, LegalHoldId, ServiceName};
use reqwest::Method;
use serde_json::Value;

use super::asked::time;
use crate::cli::{failure::Failure, incidents::written, session::Session, when};

const HOLDS: &str = "/v1/audit/holds";

#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Keeps what all that is given is true of from retention and erasure
    Add(Add),
    /// Shows all legal holds
    List,
    /// Lets go of what one keeps
    Release(Release),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Why
    #[arg(long)]
    reason: String,
    /// What this principal did, like corp:ana
    #[arg(long, value_name = "PRINCIPAL")]
    who: Option<String>,
    /// What happened there
    #[arg(long)]
    service: Option<ServiceName>,
    /// What was done by or for this grant, by its whole id
    #[arg(long)]
    grant: Option<GrantId>,
    /// What belongs to this incident
    #[arg(long)]
    incident: Option<IncidentId>,
    /// Since when: 30d (ago), yesterday, 2026-11-22 or 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until when, written alike
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The hold, by its whole id
    id: LegalHoldId,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Hold {
    pub(super) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(session).await,
            Self::List => list(session).await,
            Self::Release(Release { id, reason }) => {
                let body = written(&ReleaseLegalHoldBody { reason })?;
                say(session, &format!("{HOLDS}/{id}/release"), body).await
            }
        }
    }
}

impl Add {
    async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        let read = |text: Option<&String>| text.map(|text| time(text, session.now())).transpose();
        let scope = HoldScopeBody {
            since: read(self.since.as_ref())?,
            until: read(self.until.as_ref())?,
            principal: self.who,
            service: self.service,
            grant: self.grant,
            incident: self.incident,
        };
        let body = written(&PlaceLegalHoldBody { scope, reason: self.reason })?;
        say(session, HOLDS, body).await
    }
}

async fn say(mut session: Session<'_>, path: &str, body: Value) -> Result<(), Failure> {
    let answer = session.send(Method::POST, path, Some(body)).await?;
    if session.screen.is_json() {
        session.screen.body(&answer.body);
        return Ok(());
    }
    let hold: LegalHoldBody = answer.read()?;
    let about = about(&hold.scope);
    let what = if hold.released_at.is_some() {
        format!("released: {} does not keep {about} any more", hold.id)
    } else {
        format!("held: {about}, until {} is released", hold.id)
    };
    session.screen.line(&what);
    Ok(())
}

async fn list(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get(HOLDS).await?;
    let (screen, now) = (session.screen, session.now());
    if screen.is_json() {
        screen.body(&fetched.body);
        return Ok(());
    }
    let all: LegalHoldsBody = fetched.read()?;
    let row = |hold: &LegalHoldBody| {
        let state = match hold.released_at {
            Some(at) => format!("released {}", when::ago(at, now)),
            None => "in force".to_owned(),
        };
        let since = when::at(hold.placed_at, now);
        let by = hold.placed_by.id.clone();
        vec![hold.id.clone(), about(&hold.scope), hold.reason.clone(), by, since, state]
    };
    let rows = all.holds.iter().map(row).collect();
    let header = ["id", "what", "why", "placed by", "when", "state"];
    screen.table("there are no legal holds", &header, rows);
    Ok(())
}

fn about(scope: &HoldScopeBody) -> String {
    let text = |value: Option<&dyn ToString>| value.map(ToString::to_string);
    let parts = [
        ("principal", scope.principal.clone()),
        ("service", text(scope.service.as_ref().map(|name| name as _))),
        ("grant", text(scope.grant.as_ref().map(|id| id as _))),
        ("incident", text(scope.incident.as_ref().map(|id| id as _))),
        ("since", scope.since.map(when::utc)),
        ("until", scope.until.map(when::utc)),
    ];
    let parts = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    parts.collect::<Vec<_>>().join(", ")
}

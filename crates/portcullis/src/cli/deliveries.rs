//! `portcullis deliveries`: what receivers did not take in the end.

use std::fmt::Write;

use clap::{Args, Subcommand};
use portcullis_api::deliveries::{
    DeliveriesBody, DeliveryBody, RedeliverAllBody, RedeliveredAllBody,
};
use reqwest::StatusCode;

use super::{exports::segment, failure::Failure, session::Session, when};

const UNDERWAY: &str = "on its way again, to arrive when its receiver can be reached";

#[derive(Debug, Args)]
pub(crate) struct Deliveries {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows one message, with what is sent
    Show(Named),
    /// Sends a message again, or all of them, oldest first; what arrives leaves the list
    Redeliver(Which),
    /// Takes a message from the list; nobody is told of it any more
    Drop(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The message, by its id on the list
    id: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The message, by its id on the list
    id: Option<String>,
    /// All messages of this receiver, as the list names it: `teams:payments`
    #[arg(long)]
    receiver: Option<String>,
    /// All messages of all receivers
    #[arg(long)]
    all: bool,
}

impl Deliveries {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self.what {
            None => list(session).await,
            Some(What::Show(Named { id })) => show(session, &id).await,
            Some(What::Redeliver(Which { id: Some(id), .. })) => redeliver(session, &id).await,
            Some(What::Redeliver(Which { receiver, .. })) => redeliver_all(session, receiver).await,
            Some(What::Drop(Named { id })) => drop_one(session, &id).await,
        }
    }
}

async fn redeliver(mut session: Session<'_>, id: &str) -> Result<(), Failure> {
    let path = format!("/v1/deliveries/{}/redeliver", segment(id));
    let fetched = session.post(&path, None).await?;
    if !session.screen.is_json() {
        let underway = fetched.status == StatusCode::ACCEPTED;
        let said = if underway { UNDERWAY } else { "arrived after all" };
        session.screen.line(&format!("{id} {said}"));
    }
    Ok(())
}

/// Goes on until all were looked at once. Some that were not taken are a failure.
async fn redeliver_all(mut session: Session<'_>, receiver: Option<String>) -> Result<(), Failure> {
    let (mut arrived, mut underway, mut left) = (0, 0, 0);
    let mut not_taken = Vec::new();
    let mut asked = RedeliverAllBody { receiver, after: None };
    loop {
        let body = serde_json::to_value(&asked)
            .map_err(|error| Failure::local("what to send again", &error))?;
        let fetched = session.post("/v1/deliveries/redeliver", Some(body)).await?;
        let part: RedeliveredAllBody = fetched.read()?;
        arrived += part.arrived;
        underway += part.underway;
        left += part.left;
        not_taken.extend(part.not_taken);
        asked.after = part.next;
        if asked.after.is_none() {
            break;
        }
        session.screen.note(&format!("{arrived} arrived so far"));
    }
    let count = not_taken.len();
    if session.screen.is_json() {
        let all = RedeliveredAllBody { arrived, underway, not_taken, left, next: None };
        session.screen.body(&serde_json::to_value(all).unwrap_or_default());
    } else {
        let mut said = format!("{arrived} arrived");
        if underway > 0 {
            let _infallible = write!(said, ", {underway} {UNDERWAY}");
        }
        session.screen.line(&said);
        for one in not_taken {
            session
                .screen
                .line(&format!("{}: {} did not take it: {}", one.id, one.receiver, one.why));
        }
    }
    if count == 0 {
        return Ok(());
    }
    let behind =
        if left > 0 { format!(", and {left} behind them were not sent") } else { String::new() };
    Err(Failure::Refused(format!("{count} were not taken{behind}")))
}

async fn drop_one(mut session: Session<'_>, id: &str) -> Result<(), Failure> {
    session.post(&format!("/v1/deliveries/{}/drop", segment(id)), None).await?;
    if !session.screen.is_json() {
        session.screen.line(&format!("{id} is dropped"));
    }
    Ok(())
}

async fn show(mut session: Session<'_>, id: &str) -> Result<(), Failure> {
    let fetched = session.get(&format!("/v1/deliveries/{}", segment(id))).await?;
    session.screen.body(&fetched.body);
    Ok(())
}

async fn list(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/deliveries?limit=500").await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let all: DeliveriesBody = fetched.read()?;
    let now = session.now();
    let row = |one: &DeliveryBody| {
        let aside = when::ago(one.set_aside_at, now);
        let attempts = one.attempts.to_string();
        let (id, receiver, about) = (one.id.clone(), one.receiver.clone(), one.about.clone());
        vec![id, receiver, about, attempts, aside, one.why.clone()]
    };
    let rows = all.deliveries.iter().map(row).collect();
    let heads = ["message", "receiver", "about", "attempts", "set aside", "why"];
    session.screen.table("every message was taken", &heads, rows);
    if all.next.is_some() {
        session.screen.note("these are the newest 500");
    }
    Ok(())
}

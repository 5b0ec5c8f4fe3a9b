//! `portcullis deliveries`: what receivers did not take in the end.

use clap::{Args, Subcommand};
use portcullis_api::deliveries::{DeliveriesBody, DeliveryBody};
use reqwest::Method;

use super::{exports::segment, failure::Failure, session::Session, when};

#[derive(Debug, Args)]
pub(crate) struct Deliveries {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows one message, with what is sent
    Show(Named),
    /// Sends a message again; it leaves the list if it arrives
    Redeliver(Named),
    /// Takes a message from the list; nobody is told of it any more
    Drop(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The message, by its id on the list
    id: String,
}

impl Deliveries {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self.what {
            None => list(session).await,
            Some(What::Show(Named { id })) => show(session, &id).await,
            Some(What::Redeliver(Named { id })) => {
                done(session, &id, ("redeliver", "arrived after all")).await
            }
            Some(What::Drop(Named { id })) => done(session, &id, ("drop", "is dropped")).await,
        }
    }
}

async fn done(
    mut session: Session<'_>,
    id: &str,
    (verb, said): (&str, &str),
) -> Result<(), Failure> {
    let path = format!("/v1/deliveries/{}/{verb}", segment(id));
    session.send(Method::POST, &path, None).await?;
    if !session.screen.is_json() {
        session.screen.line(&format!("{id} {said}"));
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

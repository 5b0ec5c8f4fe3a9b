//! `portcullis exports`: where the record is passed on to, and how far.

use clap::{Args, Subcommand};
use portcullis_api::exports::{SinkBody, SinksBody};
use reqwest::Method;

use super::{failure::Failure, session::Session, when};

#[derive(Debug, Args)]
pub(crate) struct Exports {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Sends a test event to a sink
    Test(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The sink, by its name under `export`
    name: String,
}

impl Exports {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self.what {
            None => list(session).await,
            Some(What::Test(Named { name })) => {
                sent(session, &format!("/v1/exports/{}/test", segment(&name)), &name).await
            }
        }
    }
}

/// Asks for a test message and says that it arrived.
pub(super) async fn sent(mut session: Session<'_>, path: &str, name: &str) -> Result<(), Failure> {
    session.send(Method::POST, path, None).await?;
    if !session.screen.is_json() {
        session.screen.line(&format!("{name} took a test message"));
    }
    Ok(())
}

/// A name as a part of a path; one that is none is not found.
pub(super) fn segment(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

async fn list(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/exports").await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let all: SinksBody = fetched.read()?;
    let now = session.now();
    let row = |sink: &SinkBody| {
        let arrived = sink.delivered_at.map_or("nothing yet".to_owned(), |at| when::ago(at, now));
        let state = match (&sink.trouble, sink.failing_since) {
            (Some(why), Some(since)) => format!("failing, {}: {why}", when::ago(since, now)),
            (Some(why), None) => why.clone(),
            (None, _) => "ok".to_owned(),
        };
        let (next, behind) = (sink.next.to_string(), sink.behind.to_string());
        vec![sink.name.clone(), sink.kind.clone(), sink.place.clone(), next, behind, arrived, state]
    };
    let rows = all.sinks.iter().map(row).collect();
    let heads = ["sink", "kind", "leads to", "next", "behind", "last arrived", "state"];
    session.screen.table(
        "the record is not passed on; `export` in the configuration does it",
        &heads,
        rows,
    );
    Ok(())
}

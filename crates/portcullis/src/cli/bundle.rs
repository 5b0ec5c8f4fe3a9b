//! `portcullis bundle list|rollback`.

use clap::Subcommand;
use portcullis_api::bundle::{BundleBody, BundlesBody};

use super::{failure::Failure, session::Session, when};

#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// Lists the bundles so far, newest first
    List,
    /// Brings the bundle before the one in force back
    Rollback,
}

impl Bundle {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Rollback => rollback(session).await,
        }
    }
}

async fn list(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/bundle").await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let bundles: BundlesBody = fetched.read()?;
    let now = session.now();
    let rows = bundles.history.into_iter().map(|bundle| {
        let since = when::at(bundle.activated_at, now);
        let force = if bundle.active { "in force" } else { "" };
        vec![bundle.generation.to_string(), bundle.digest, since, bundle.by, force.to_owned()]
    });
    let header = ["generation", "digest", "since", "by", "state"];
    session.screen.table("there is no bundle", &header, rows.collect());
    Ok(())
}

async fn rollback(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.post("/v1/bundle/rollback", None).await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let bundle: BundleBody = fetched.read()?;
    let text = format!("{} is in force as generation {}", bundle.digest, bundle.generation);
    session.screen.line(&text);
    session.screen.line("it stays in force until the files change");
    Ok(())
}

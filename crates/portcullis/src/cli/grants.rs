//! `portcullis grants`: all that I may see, or one, with the proof that it is on record.

use std::{fs, path::PathBuf};

use clap::Args;
use jiff::Timestamp;
use portcullis_api::grants::GrantBody;

use super::{
    failure::Failure,
    session::{Listed, Session},
    short_id, when, who,
};

/// A proof has one record, 64 hashes and a checkpoint at most.
const MOST_PROOF: usize = 256 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Grants {
    /// One grant: its id, or a part of it
    id: Option<String>,
    /// Keeps the proof that the grant is on record; `portcullis audit verify --proof FILE` checks it
    #[arg(long, value_name = "FILE", requires = "id")]
    proof: Option<PathBuf>,
}

impl Grants {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self.id {
            Some(id) => one(session, &id, self.proof).await,
            None => all(session).await,
        }
    }
}

async fn one(mut session: Session<'_>, id: &str, proof: Option<PathBuf>) -> Result<(), Failure> {
    let id = session.id(id, short_id::Kind::Grant).await?;
    let fetched = session.get(&format!("/v1/grants/{id}")).await?;
    let grant: GrantBody = fetched.read()?;
    if let Some(file) = &proof {
        let from = grant.record.as_ref().map(|record| record.proof.clone());
        let text = match from {
            Some(from) => session.file(&from, MOST_PROOF).await?,
            None => None,
        };
        let text = text.ok_or_else(|| {
            Failure::Refused(format!("the start of the grant {id} is not on record yet"))
        })?;
        fs::write(file, text).map_err(|e| Failure::local(&file.display().to_string(), &e))?;
    }
    let (screen, now) = (session.screen, session.now());
    if screen.is_json() {
        screen.body(&fetched.body);
        return Ok(());
    }
    let cells = row(&grant, now);
    let names = ["", "who", "what", "how", "uses", "state"];
    screen.line(&format!("grant       {id}"));
    for (name, cell) in names.iter().zip(&cells).skip(1) {
        screen.line(&format!("{name:<11} {cell}"));
    }
    screen.line(&format!("by          {}, access request {}", grant.rule, grant.access_request));
    if let Some(record) = &grant.record {
        screen.line(&format!("on record   event {}", record.seq));
    }
    match proof {
        Some(file) => screen.line(&format!("proof       {}", file.display())),
        None => screen.note(&format!(
            "`{}` keeps the proof",
            session.command(&format!("grants {id} --proof FILE"))
        )),
    }
    Ok(())
}

async fn all(mut session: Session<'_>) -> Result<(), Failure> {
    let listed: Listed<GrantBody> = session.list("/v1/grants", "grants").await?;
    let (screen, now) = (session.screen, session.now());
    if screen.is_json() {
        screen.body(&listed.body());
        return Ok(());
    }
    let rows = listed.items.iter().map(|grant| row(grant, now)).collect();
    screen.table("there are no grants", &["id", "who", "what", "how", "uses", "state"], rows);
    Ok(())
}

fn row(grant: &GrantBody, now: Timestamp) -> Vec<String> {
    let what = match &grant.instance {
        Some(instance) => format!("{} on {instance}", grant.operation),
        None => grant.operation.clone(),
    };
    let uses = match grant.max_uses {
        Some(max) => format!("{} of {max}", grant.uses),
        None => "any".to_owned(),
    };
    let short = short_id::shown(&grant.id);
    vec![short, who::shown(&grant.principal), what, grant.kind.clone(), uses, state(grant, now)]
}

/// `until 14:32, 12m left`, or why it is over.
pub(crate) fn state(grant: &GrantBody, now: Timestamp) -> String {
    match (grant.end, grant.ended_at) {
        (Some(end), Some(at)) => format!("{} {}", end.in_words(), when::at(at, now)),
        _ => when::until(grant.expires_at, now),
    }
}

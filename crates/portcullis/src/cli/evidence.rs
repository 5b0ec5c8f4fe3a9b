//! `portcullis evidence`: all that is on record of one thing, in an archive that verifies by itself.

use std::{io::Write as _, path::PathBuf};

use clap::Args;
use portcullis_api::evidence::pack::MOST_BYTES;

use super::{
    failure::Failure,
    session::Session,
    short_id::{self, Kind},
    unfinished::{Unfinished, cannot_write},
};

#[derive(Debug, Args)]
pub(crate) struct Evidence {
    /// A grant, an access request or an incident: its id, or a part of it
    #[arg(value_name = "GRANT|REQUEST|INCIDENT")]
    id: String,
    /// Where to keep it; `evidence-ID.zip` if absent
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl Evidence {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let id = whole(&mut session, &self.id).await?;
        let file = self.to.unwrap_or_else(|| format!("evidence-{id}.zip").into());
        let most = usize::try_from(MOST_BYTES).unwrap_or(usize::MAX);
        let archive = session.file(&format!("/v1/evidence/{id}"), most).await?;
        let archive = archive.ok_or_else(|| {
            Failure::Refused(format!("there is no grant, access request or incident `{id}`"))
        })?;
        let place = file.display().to_string();
        let unfinished = Unfinished::beside(&file)?;
        let mut written = unfinished.create()?;
        written
            .write_all(&archive)
            .and_then(|()| written.sync_all())
            .map_err(|error| cannot_write(&file, &error))?;
        unfinished.finish(&file)?;
        if session.screen.is_json() {
            session.screen.body(&serde_json::json!({"id": id, "file": place}));
            return Ok(());
        }
        session.screen.line(&format!("kept in {place}"));
        session.screen.note(&format!(
            "`portcullis audit verify {place} --key log.pub` proves it, without the server"
        ));
        Ok(())
    }
}

/// Tables show the ends of ids; incidents have names.
async fn whole(session: &mut Session<'_>, text: &str) -> Result<String, Failure> {
    if let Some(whole) = short_id::whole(text) {
        return Ok(whole);
    }
    for kind in [Kind::Grant, Kind::AccessRequest] {
        if let Ok(id) = session.id(text, kind).await {
            return Ok(id);
        }
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.chars().all(is_name) {
        Ok(text.to_owned())
    } else {
        Err(Failure::WrongUse(format!("`{text}` is no id of a grant, access request or incident")))
    }
}

//! `portcullis audit content|erase`: what a policy had kept of a request, and its erasure.

use clap::Args;
use portcullis_api::audit::content::ContentBody;
use serde_json::{Value, json};

use crate::cli::{failure::Failure, session::Session};

#[derive(Debug, Args)]
pub(crate) struct Content {
    /// The position of the request's event in the log
    seq: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// The position of the request's event in the log
    event: u64,
    /// Why; it stays on record, so without what is to be erased
    #[arg(long)]
    reason: String,
}

impl Content {
    pub(super) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let answer = session.get(&format!("/v1/audit/contents/{}", self.seq)).await?;
        let body: ContentBody = answer.read()?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
            return Ok(());
        }
        let content = body.content.as_deref().and_then(|text| serde_json::from_str(text).ok());
        match content {
            Some(content) => session.screen.body(&Value::clone(&content)),
            None => session.screen.line(&gone(&body)),
        }
        Ok(())
    }
}

impl Erase {
    pub(super) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let path = format!("/v1/audit/contents/{}/erase", self.event);
        let answer = session.post(&path, Some(json!({"reason": self.reason}))).await?;
        let body: ContentBody = answer.read()?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
        } else {
            session.screen.line(&gone(&body));
            session.screen.line(
                "the record still proves that it was there; backups have it until you delete them",
            );
        }
        Ok(())
    }
}

fn gone(body: &ContentBody) -> String {
    match &body.erased {
        Some(erased) => format!(
            "what was kept of record {} was erased on {} by {}: {}",
            body.seq, erased.at, erased.by, erased.reason
        ),
        None => format!(
            "what was kept of record {} is missing, and nobody erased it: its key is `{}`",
            body.seq, body.key
        ),
    }
}

//! `portcullis audit tail|search|export|show|content|erase|hold|verify|rotate-…`: reading the record, and proving it.

mod asked;
mod content;
mod export;
mod given;
mod hold;
mod line;
mod pack;
mod rotate_content_key;
mod rotate_key;
mod search;
mod served;
mod tail;
mod verify;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use portcullis_api::audit::EventsBody;
use serde_json::Value;

pub(super) use asked::time;

use super::{failure::Failure, screen::Screen, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Shows the newest events
    Tail(tail::Tail),
    /// Finds events: by who, what, where, when, and by words
    Search(search::Search),
    /// Writes all events that answer a question into a file
    Export(export::Export),
    /// Shows one event
    Show(Show),
    /// Shows what a policy had kept of a request
    Content(content::Content),
    /// Erases what a policy had kept of a request; the record still proves that it was there
    Erase(content::Erase),
    /// Keeps a part of the record, however old it is, until it is released
    #[command(subcommand)]
    Hold(hold::Hold),
    /// Proves that a record is whole, from its folder or over its server
    Verify(Box<verify::Verify>),
    /// Gives the log another key, in its folder; the server must be stopped
    RotateKey(rotate_key::RotateKey),
    /// Adds a key to those that what is kept of requests is encrypted with; in force from the next start on
    RotateContentKey(rotate_content_key::RotateContentKey),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its position in the log
    seq: u64,
}

impl Audit {
    pub(crate) async fn run<'a>(
        self,
        session: impl FnOnce() -> Result<Session<'a>, Failure>,
        screen: &Screen,
        now: Timestamp,
    ) -> Result<(), Failure> {
        match self {
            Self::Tail(tail) => tail.run(session()?).await,
            Self::Search(search) => search.run(session()?).await,
            Self::Export(export) => export.run(session()?).await,
            Self::Show(show) => show.run(session()?).await,
            Self::Content(content) => content.run(session()?).await,
            Self::Erase(erase) => erase.run(session()?).await,
            Self::Hold(hold) => hold.run(session()?).await,
            Self::Verify(verify) => verify.run(session, screen, now).await,
            Self::RotateKey(rotate) => rotate.run(screen),
            Self::RotateContentKey(rotate) => rotate.run(screen),
        }
    }
}

impl Show {
    async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let path = format!("/v1/audit/events?from={}&limit=1", self.seq);
        let part: EventsBody = session.get(&path).await?.read()?;
        match part.events.into_iter().next() {
            Some(event) if event.seq == self.seq => {
                session.screen.body(&Value::Object(event.event));
                Ok(())
            }
            _ if part.kept_from.is_some_and(|first| self.seq < first) => Err(Failure::WrongUse(
                format!("retention removed event {} from the record", self.seq),
            )),
            _ => Err(Failure::WrongUse(format!("the record has no event {}", self.seq))),
        }
    }
}

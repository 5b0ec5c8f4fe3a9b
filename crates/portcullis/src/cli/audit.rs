//! `portcullis audit tail|search|export|show|verify|rotate-key`: reading the record, and proving it.

mod asked;
mod export;
mod given;
mod line;
mod pack;
mod rotate_key;
mod search;
mod served;
mod verify;

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use portcullis_api::audit::{EventBody, EventsBody};
use serde_json::Value;

pub(super) use asked::time;

use super::{failure::Failure, screen::Screen, session::Session};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What this very command causes with every look.
const READING: &str = "record_read";

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Shows the newest events
    Tail(Tail),
    /// Finds events: by who, what, where, when, and by words
    Search(search::Search),
    /// Writes all events that answer a question into a file
    Export(export::Export),
    /// Shows one event
    Show(Show),
    /// Proves that a record is whole, from its folder or over its server
    Verify(Box<verify::Verify>),
    /// Gives the log another key, in its folder; the server must be stopped
    RotateKey(rotate_key::RotateKey),
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// How many
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    number: u16,
    /// Go on as new ones come; readings of the record itself are left out then
    #[arg(short, long)]
    follow: bool,
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
            Self::Verify(verify) => verify.run(session, screen, now).await,
            Self::RotateKey(rotate) => rotate.run(screen),
        }
    }
}

impl Tail {
    async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let path = format!("/v1/audit/events?newest=true&limit={}", self.number);
        let fetched = session.get(&path).await?;
        let mut part: EventsBody = fetched.read()?;
        if session.screen.is_json() && !self.follow {
            session.screen.body(&fetched.body);
            return Ok(());
        }
        let mut next = part.next.unwrap_or(0);
        loop {
            let shown = part.events.iter().filter(|event| !self.follow || !is_reading(event));
            for event in shown {
                show(session.screen, event)?;
            }
            if !self.follow {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            part = session.get(&format!("/v1/audit/events?from={next}&limit=500")).await?.read()?;
            next = part.next.unwrap_or(next);
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
            _ => Err(Failure::WrongUse(format!("the record has no event {}", self.seq))),
        }
    }
}

/// One line each: for people in words, for programs as JSON.
fn show(screen: &Screen, event: &EventBody) -> Result<(), Failure> {
    if screen.is_json() {
        let text = serde_json::to_string(event)
            .map_err(|error| Failure::local("an event cannot be written", &error))?;
        screen.json_line(&text);
    } else {
        screen.line(&line::of(event));
    }
    Ok(())
}

fn is_reading(event: &EventBody) -> bool {
    event.event.get("type").and_then(Value::as_str) == Some(READING)
}

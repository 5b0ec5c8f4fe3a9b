//! `portcullis audit search`: the newest events that answer a question.

use std::fmt::Write as _;

use clap::Args;
use portcullis_api::audit::{EventBody, EventsBody};
use serde_json::{Value, json};

use super::{asked::Asked, line};
use crate::cli::{failure::Failure, session::Session};

/// The most that the API gives at one time.
const PART: usize = 500;

#[derive(Debug, Args)]
pub(crate) struct Search {
    #[command(flatten)]
    asked: Asked,
    /// How many
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    number: u16,
    /// The oldest first
    #[arg(long)]
    oldest: bool,
    /// Go on where the search before ended: the number that it named
    #[arg(long, value_name = "NEXT")]
    after: Option<u64>,
}

impl Search {
    pub(super) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let order = if self.oldest { "oldest" } else { "newest" };
        let query = self.asked.query(session.now())?;
        let (wanted, mut cursor) = (usize::from(self.number), self.after);
        let mut found = Vec::new();
        // A part may be short: it is of what was looked at.
        let mut kept_from = None;
        let more = loop {
            let limit = PART.min(wanted - found.len());
            let mut path = format!("/v1/audit/events?order={order}&limit={limit}&{query}");
            if let Some(cursor) = cursor {
                let _infallible = write!(path, "&cursor={cursor}");
            }
            let part: EventsBody = session.get(&path).await?.read()?;
            found.extend(part.events);
            kept_from = part.kept_from.or(kept_from);
            cursor = part.next.or(cursor);
            if !part.more || found.len() >= wanted {
                break part.more;
            }
        };
        let screen = session.screen;
        if screen.is_json() {
            let next = cursor.filter(|_| more);
            screen.body(&json!({"events": bodies(&found)?, "next": next, "more": more}));
            return Ok(());
        }
        let rows = found.iter().map(|event| line::columns(event).into()).collect();
        let header = ["seq", "time", "type", "who", "about", "what came of it", "in words"];
        screen.table("nothing on record answers this", &header, rows);
        if let Some(first) = kept_from.filter(|_| !more || self.oldest) {
            screen.note(&format!(
                "the record is kept from event {first} on: retention removed those before"
            ));
        }
        if let Some(next) = cursor.filter(|_| more) {
            screen.note(&format!("there may be more: the same with --after {next}"));
        }
        Ok(())
    }
}

fn bodies(events: &[EventBody]) -> Result<Vec<Value>, Failure> {
    let bodies = events.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    bodies.map_err(|error| Failure::local("an event cannot be written", &error))
}

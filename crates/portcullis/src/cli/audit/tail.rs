//! `portcullis audit tail`: the newest events, and with `-f` those that come. Where it was left is a
//! position in the record, so a server that is away for a while costs time and no event.

use std::time::Duration;

use clap::Args;
use portcullis_api::audit::{EventBody, EventsBody};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::line;
use crate::cli::{failure::Failure, screen::Screen, session::Session};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest pause while the server does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What this very command causes with every look.
const READING: &str = "record_read";

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// How many
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    number: u16,
    /// Go on as new ones come, over restarts of the server too; readings of the record are left out then, unless `--type` asks for them
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    only: Only,
}

/// What must be so of an event. The server decides it.
#[derive(Debug, Args)]
struct Only {
    /// Only this service
    #[arg(long)]
    service: Option<String>,
    /// Only this operation: `payments.createRefund`
    #[arg(long)]
    operation: Option<String>,
    /// Only this type: `attempt`, `grant_ended`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only what this principal did: `corp:ana`
    #[arg(long)]
    principal: Option<String>,
    /// Only this decision: `permit`, `requestable`, `deny`, `refuse`, `approve`
    #[arg(long)]
    decision: Option<String>,
    /// Only this grant
    #[arg(long)]
    grant: Option<String>,
}

impl Only {
    /// The path of the events, with `first` and what must be so.
    fn path(&self, first: &[(&str, String)]) -> String {
        let Self { service, operation, kind, principal, decision, grant } = self;
        let mut query = Serializer::new(String::new());
        query.extend_pairs(first);
        for (name, value) in [
            ("service", service),
            ("operation", operation),
            ("type", kind),
            ("principal", principal),
            ("decision", decision),
            ("grant", grant),
        ] {
            query.extend_pairs(value.as_ref().map(|value| (name, value)));
        }
        format!("/v1/audit/events?{}", query.finish())
    }
}

impl Tail {
    pub(super) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let number = ("limit", self.number.to_string());
        let path = self.only.path(&[("newest", "true".to_owned()), number]);
        let fetched = session.get(&path).await?;
        let mut part: EventsBody = fetched.read()?;
        if session.screen.is_json() && !self.follow {
            session.screen.body(&fetched.body);
            return Ok(());
        }
        let mut next = part.next.unwrap_or(0);
        loop {
            let shown = part.events.iter().filter(|event| self.shows(event));
            for event in shown {
                // Whoever read this has gone, as `head` does: nothing is left to do.
                if !show(session.screen, event)? {
                    return Ok(());
                }
            }
            if !self.follow {
                return Ok(());
            }
            if !part.more {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            part = self.more(&mut session, next).await?;
            next = part.next.unwrap_or(next);
        }
    }

    /// What came after `next`, as soon as the server answers again. Whoever may not read any more is
    /// told so, and what was wrong from the start does not get here.
    async fn more(&self, session: &mut Session<'_>, next: u64) -> Result<EventsBody, Failure> {
        let path = self.only.path(&[("cursor", next.to_string()), ("limit", "500".to_owned())]);
        let mut pause = LOOK_EVERY;
        let mut told = false;
        loop {
            match session.get(&path).await {
                Ok(fetched) => {
                    if told {
                        session.screen.note("the server answers again; going on where it was left");
                    }
                    return fetched.read();
                }
                Err(Failure::Unreachable(why)) => {
                    if !std::mem::replace(&mut told, true) {
                        session.screen.note(&format!("{why}; going on as soon as it answers"));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PATIENCE);
                }
                Err(other) => return Err(other),
            }
        }
    }

    fn shows(&self, event: &EventBody) -> bool {
        let kind = event.event.get("type").and_then(Value::as_str);
        !self.follow || self.only.kind.is_some() || kind != Some(READING)
    }
}

/// One line each: for people in words, for programs as JSON. Whether anybody reads on.
fn show(screen: &Screen, event: &EventBody) -> Result<bool, Failure> {
    if screen.is_json() {
        let text = serde_json::to_string(event)
            .map_err(|error| Failure::local("an event cannot be written", &error))?;
        Ok(screen.next_json_line(&text))
    } else {
        Ok(screen.next_line(&line::of(event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_so_is_asked_of_the_server_whatever_it_holds() {
        let only = Only {
            service: Some("payments".to_owned()),
            operation: None,
            kind: Some("attempt".to_owned()),
            principal: Some("corp:ana&limit=1#".to_owned()),
            decision: None,
            grant: None,
        };
        let path = only.path(&[("cursor", "7".to_owned())]);
        let expected = "/v1/audit/events?cursor=7&service=payments&type=attempt\
                        &principal=corp%3Aana%26limit%3D1%23";
        assert_eq!(path, expected);
    }
}

//! The system: whether it serves, what its record has come to, where things are delivered.

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use portcullis_control::{
    ControlError, SentAgain, Undelivered,
    alerts::RuleView,
    export::{Form, SinkView},
    views::{ConnectorState, ConnectorView},
};
use serde::Deserialize;

use super::{
    Failure, Outcome,
    form::Filled,
    frame::{Frame, Section},
    visitor::{Visitor, done, page},
};
use crate::parts::{Ready, Shared};

/// Messages that were set aside; `portcullis deliveries` lists them all.
const SHOWN: usize = 50;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/system", get(system))
        .route("/system/test", post(test))
        .route("/system/redeliver", post(redeliver))
        .route("/system/drop", post(drop_one))
}

#[derive(Debug, Template)]
#[template(path = "console/system.html")]
struct SystemPage {
    frame: Frame,
    ready: Ready,
    checkpoint: Option<Checkpoint>,
    keys: Vec<String>,
    connectors: Vec<ConnectorView>,
    sinks: Vec<SinkView>,
    undelivered: Vec<Undelivered>,
    rules: Vec<RuleView>,
    version: &'static str,
}

impl SystemPage {
    #[expect(
        clippy::unused_self,
        clippy::trivially_copy_pass_by_ref,
        reason = "templates reach functions through what they show, and pass references"
    )]
    fn state(&self, state: &ConnectorState) -> (&'static str, &'static str) {
        match state {
            ConnectorState::Unknown => ("chip", "connectors-unknown"),
            ConnectorState::Working => ("chip open", "connectors-working"),
            ConnectorState::Resting => ("chip wait", "connectors-resting"),
            ConnectorState::Failing => ("chip bad", "connectors-failing"),
        }
    }
}

/// The newest signed state of the record (C2SP tlog-checkpoint).
#[derive(Debug)]
struct Checkpoint {
    origin: String,
    size: String,
    root: String,
    note: String,
}

impl Checkpoint {
    fn read(note: &[u8]) -> Option<Self> {
        let note = std::str::from_utf8(note).ok()?;
        let mut lines = note.lines();
        let mut line = || lines.next().map(str::to_owned);
        let (origin, size, root) = (line()?, line()?, line()?);
        Some(Self { origin, size, root, note: note.to_owned() })
    }
}

async fn system(State(api): State<Shared>, visitor: Visitor) -> Outcome {
    let frame = visitor.frame(&api, Section::System, "system-title").await?;
    let powers = frame.powers;
    if !powers.reads_record && !powers.administers {
        let why = frame.say("system-not-allowed");
        return Err(Failure::Control(ControlError::Denied(why)));
    }
    let ready = (api.readiness)().await;
    let op = &visitor.op;
    // Whoever may not read the record did not try to.
    let checkpoint = if powers.reads_record {
        allowed(api.control.log_file(op, "checkpoint").await)?
    } else {
        None
    };
    let checkpoint = checkpoint.and_then(|note| Checkpoint::read(&note));
    let connectors = api.control.connectors(op).await?;
    let sinks = allowed(api.control.exports(op).await)?.unwrap_or_default();
    let mut undelivered = allowed(api.control.undelivered(op).await)?.unwrap_or_default();
    undelivered.truncate(SHOWN);
    let rules = allowed(api.control.alerts(op).await)?.unwrap_or_default();
    let keys = api.log_keys.clone();
    let version = env!("CARGO_PKG_VERSION");
    let parts = SystemPage {
        frame,
        ready,
        checkpoint,
        keys,
        connectors,
        sinks,
        undelivered,
        rules,
        version,
    };
    page(&parts)
}

/// What there is no right to see, or nothing of yet, is left out of the page.
fn allowed<T>(answer: Result<T, ControlError>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(it) => Ok(Some(it)),
        Err(ControlError::Denied(_) | ControlError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, Deserialize)]
struct Tested {
    kind: String,
    name: String,
}

async fn test(State(api): State<Shared>, Filled(visitor, form): Filled<Tested>) -> Outcome {
    let forms = [Form::Ocsf, Form::Alert, Form::Standard];
    let kind = forms.into_iter().find(|known| known.word() == form.kind);
    let kind = kind.ok_or_else(|| Failure::unreadable("there is no such kind of delivery"))?;
    api.control.test_sink(&visitor.op, kind, &form.name).await?;
    done("/system", "sink-tested")
}

#[derive(Debug, Deserialize)]
struct SetAside {
    id: String,
}

async fn redeliver(State(api): State<Shared>, Filled(visitor, form): Filled<SetAside>) -> Outcome {
    let id = form.id.parse().map_err(|_| Failure::unreadable("this is no message"))?;
    match api.control.redeliver(&visitor.op, id).await? {
        SentAgain::Arrived => done("/system", "sink-redelivered"),
        SentAgain::Underway => done("/system", "sink-underway"),
    }
}

async fn drop_one(State(api): State<Shared>, Filled(visitor, form): Filled<SetAside>) -> Outcome {
    let id = form.id.parse().map_err(|_| Failure::unreadable("this is no message"))?;
    api.control.drop_undelivered(&visitor.op, id).await?;
    done("/system", "sink-dropped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_line_by_line() {
        let read =
            Checkpoint::read(b"log.example\n42\nAAAA=\n\n\xe2\x80\x94 log.example c2ln\n").unwrap();
        assert_eq!((read.origin.as_str(), read.size.as_str()), ("log.example", "42"));
        assert!(Checkpoint::read(b"one line").is_none());
    }
}

//! `portcullis connectors`: how connected systems are doing.

use jiff::Timestamp;
use portcullis_api::connectors::{ConnectorBody, ConnectorsBody};

use super::{failure::Failure, session::Session, when};

pub(crate) async fn run(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/connectors").await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let all: ConnectorsBody = fetched.read()?;
    let now = session.now();
    let row = |one: &ConnectorBody| {
        let place = one.place.clone();
        let (waiting, aside) = (one.waiting.to_string(), one.set_aside.to_string());
        vec![one.name.clone(), place, last(one, now), waiting, aside, state(one, now)]
    };
    let rows = all.connectors.iter().map(row).collect();
    let heads = ["system", "leads to", "last", "waiting", "set aside", "state"];
    let nothing = "no system is connected; `connectors` in the configuration does it";
    session.screen.table(nothing, &heads, rows);
    let refused = all.connectors.iter().filter_map(|one| Some((one, one.refused.as_ref()?)));
    for (one, refused) in refused {
        let (at, why) = (when::ago(refused.at, now), &refused.why);
        session
            .screen
            .note(&format!("a message in the name of {} did nothing, {at}: {why}", one.name));
    }
    Ok(())
}

/// When something was last heard of it.
fn last(one: &ConnectorBody, now: Timestamp) -> String {
    let both = [("answered", one.answered_at), ("sent", one.heard_at)];
    let said =
        both.into_iter().filter_map(|(what, at)| Some(format!("{what} {}", when::ago(at?, now))));
    let said: Vec<_> = said.collect();
    if said.is_empty() { "nothing yet".to_owned() } else { said.join(", ") }
}

fn state(one: &ConnectorBody, now: Timestamp) -> String {
    let since = one.failing_since.map(|since| format!(" since {}", when::ago(since, now)));
    let until = one.rests_until.map(|until| format!(", left alone until {}", when::at(until, now)));
    let known = one.known_until.map(|until| {
        let word = if until > now { "known until" } else { "unknown since" };
        format!(", {word} {}", when::at(until, now))
    });
    let behind = one.behind.filter(|behind| *behind > 0);
    let behind = behind.map(|behind| format!(", {behind} entries behind"));
    let why = one.trouble.as_ref().map(|why| format!(": {why}"));
    let parts = [Some(one.state.clone()), since, until, known, behind, why];
    parts.into_iter().flatten().collect()
}

//! A refusal among what curl brought: said in words, with the command that asks.
//!
//! What was answered may be from anywhere, and alike to what the gate says. So it is taken for nothing but a code,
//! and what is said is what control knows of it: a code that it does not know as ours is none.

use std::time::Duration;

use portcullis_api::{refusals::RefusalBody, way::WayBody};
use portcullis_model::{Problem, RefusalId};

use crate::cli::{client::Fetched, failure::Failure, screen::Screen, session::Session, way_table};

/// Says what would open the gate, if `answer` is a refusal that can be asked about, and returns its
/// code.
pub(super) async fn show(session: &mut Session<'_>, answer: &[u8]) -> Option<RefusalId> {
    let code = find(answer)?;
    let known = known(session, &code).await?;
    say(session, &what(&known), &known.ways, &code);
    Some(code)
}

/// What control knows of a refusal of ours, with what would open it now.
async fn known(session: &mut Session<'_>, code: &RefusalId) -> Option<RefusalBody> {
    let fetched = session.get(&path(code)).await;
    understood(session.screen, fetched)
}

/// The same, if it takes no longer than `most`, and without signing in again.
pub(in crate::cli) async fn known_within(
    session: &Session<'_>,
    code: &RefusalId,
    most: Duration,
) -> Option<RefusalBody> {
    let fetched = session.glance(&path(code), most).await;
    understood(session.screen, fetched)
}

fn path(code: &RefusalId) -> String {
    format!("/v1/refusals/{code}")
}

fn understood(screen: &Screen, fetched: Result<Fetched, Failure>) -> Option<RefusalBody> {
    match fetched.and_then(|fetched| fetched.read()) {
        Ok(known) => Some(known),
        Err(Failure::NotFound(_)) => None,
        Err(failure) => {
            screen.note(&format!("what would open it is unknown: {failure}"));
            None
        }
    }
}

/// What is refused, in words.
pub(in crate::cli) fn what(known: &RefusalBody) -> String {
    format!("{} on {} needs a grant", known.operation, known.service)
}

/// Says that it can be asked for, and how.
pub(in crate::cli) fn say(session: &Session<'_>, what: &str, ways: &[WayBody], code: &RefusalId) {
    let screen = session.screen;
    screen.note("");
    screen.note(&format!("403 {what}: you can get this"));
    for line in way_table::lines(ways) {
        screen.note(&line);
    }
    screen.note(&format!("  {}", session.command(&format!("ask {code}"))));
}

/// The code in the first problem of the answer; curl may have written the head before it (`-i`) or its own
/// text after it (`-w`).
fn find(answer: &[u8]) -> Option<RefusalId> {
    let start = answer.windows(2).position(|pair| matches!(pair, b"{\"" | b"{\n"))?;
    let mut values = serde_json::Deserializer::from_slice(answer.get(start..)?).into_iter();
    let problem: Problem = values.next()?.ok()?;
    let is_one = problem.status == 403 && problem.kind.ends_with("/problems/requestable");
    problem.refusal.filter(|_| is_one)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#"{"type":"https://x/problems/requestable","title":"t","status":403,"refusal":"7K2M"}"#;

    #[test]
    fn a_refusal_is_found_with_a_head_before_and_text_after_it() {
        for answer in [
            BODY.to_owned(),
            format!("HTTP/1.1 403 Forbidden\r\ncontent-type: x\r\n\r\n{BODY}403\n"),
        ] {
            assert_eq!(find(answer.as_bytes()).unwrap().as_str(), "7K2M");
        }
    }

    #[test]
    fn other_answers_are_none() {
        let (denied, command) =
            (BODY.replace("requestable", "denied"), BODY.replace("7K2M", "7K2M; rm"));
        for answer in ["", "{", "hello {\"", "{\"a\":1}", &denied, &command] {
            assert!(find(answer.as_bytes()).is_none(), "{answer}");
        }
    }
}

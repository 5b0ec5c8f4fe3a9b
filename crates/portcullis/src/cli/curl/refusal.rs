//! A refusal among what curl brought: said in words, with the command that asks.

use portcullis_api::way::WayBody;
use portcullis_model::{Problem, RefusalId};

use crate::cli::{session::Session, way_table};

/// Says what would open the gate, if `answer` is a refusal that can be asked about, and returns its
/// code.
pub(super) fn show(session: &Session<'_>, answer: &[u8]) -> Option<RefusalId> {
    say(session, &find(answer)?)
}

/// The same of a refusal itself.
pub(in crate::cli) fn say(session: &Session<'_>, problem: &Problem) -> Option<RefusalId> {
    // The answer may be from anywhere: nothing of it becomes a command but a code that is one.
    let code = problem.refusal.as_deref().and_then(|code| code.parse::<RefusalId>().ok())?;
    let screen = session.screen;
    let what = problem.detail.as_deref().unwrap_or(&problem.title);
    screen.note("");
    screen.note(&format!("403 {what}: you can get this"));
    let ways: Vec<_> = problem.ways.iter().cloned().map(WayBody::from).collect();
    for line in way_table::lines(&ways) {
        screen.note(&line);
    }
    screen.note(&format!("  {}", session.command(&format!("ask {code}"))));
    Some(code)
}

/// The first problem in the answer; curl may have written the head before it (`-i`) or its own
/// text after it (`-w`).
fn find(answer: &[u8]) -> Option<Problem> {
    let start = answer.windows(2).position(|pair| matches!(pair, b"{\"" | b"{\n"))?;
    let mut values = serde_json::Deserializer::from_slice(answer.get(start..)?).into_iter();
    let problem: Problem = values.next()?.ok()?;
    (problem.status == 403 && problem.kind.ends_with("/problems/requestable")).then_some(problem)
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
            assert_eq!(find(answer.as_bytes()).unwrap().refusal.unwrap(), "7K2M");
        }
    }

    #[test]
    fn other_answers_are_none() {
        for answer in ["", "{", "hello {\"", "{\"a\":1}", &BODY.replace("requestable", "denied")] {
            assert!(find(answer.as_bytes()).is_none(), "{answer}");
        }
    }
}

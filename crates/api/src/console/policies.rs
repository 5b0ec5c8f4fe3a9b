//! Policies: what is in force, how it differs from what was, and what it answers to a question.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use portcullis_control::{
    ControlError,
    views::{BundleText, BundleView, Explain, Explanation, PolicyTests},
};
use portcullis_model::{PrincipalId, PrincipalKind};
use serde::Deserialize;
use similar::{ChangeTag, TextDiff};

use super::{
    Outcome,
    form::Filled,
    frame::{Frame, Section},
    visitor::{Visitor, done, page},
};
use crate::{extract::Search, parts::Shared};

/// Lines around a difference.
const AROUND: usize = 3;
/// Lines of differences that one page shows.
const MOST_LINES: usize = 4_000;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/policies", get(list))
        .route("/policies/{generation}", get(one))
        .route("/policies/rollback", post(rollback))
}

#[derive(Debug, Default, Deserialize)]
struct Question {
    #[serde(default)]
    operation: String,
    #[serde(default)]
    principal: String,
}

#[derive(Debug, Template)]
#[template(path = "console/policies.html")]
struct ListPage {
    frame: Frame,
    bundles: Vec<BundleView>,
    operations: Vec<String>,
    question: Question,
    answer: Option<Result<Explanation, String>>,
    /// What the tests beside the policies found, for those who may read policies.
    tests: Option<PolicyTests>,
}

async fn list(
    State(api): State<Shared>,
    visitor: Visitor,
    Search(question): Search<Question>,
) -> Outcome {
    let frame = visitor.frame(&api, Section::Policies, "policies-title").await?;
    let op = &visitor.op;
    let bundles = api.control.bundles(op).await?;
    let services = api.control.services(op).await?;
    let operations = services.iter().flat_map(|service| &service.operations);
    let operations = operations.map(|operation| operation.name.to_string()).collect();
    let answer = match question.operation.trim() {
        "" => None,
        operation => match operation.parse() {
            Err(_) => Some(Err(frame.say("policies-no-operation"))),
            Ok(operation) => {
                let principal = Some(question.principal.trim()).filter(|who| !who.is_empty());
                let principal =
                    principal.map(|who| PrincipalId { kind: PrincipalKind::User, id: who.into() });
                let asked = Explain { principal, operation, instance: None };
                match api.control.explain(op, asked).await {
                    Ok(explanation) => Some(Ok(explanation)),
                    Err(error @ (ControlError::NotFound(_) | ControlError::Denied(_))) => {
                        Some(Err(error.to_string()))
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        },
    };
    let reads = frame.powers.reads_record || frame.powers.administers;
    let tests = if reads { api.control.policy_tests(op).await? } else { None };
    page(&ListPage { frame, bundles, operations, question, answer, tests })
}

#[derive(Debug, Template)]
#[template(path = "console/policy.html")]
struct BundlePage {
    frame: Frame,
    text: BundleText,
    before: Option<u64>,
    differences: Vec<Difference>,
    is_cut: bool,
}

/// How one document differs.
#[derive(Debug)]
struct Difference {
    name: String,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    /// `+`, `-`, a space, or `@` where lines are left out.
    mark: char,
    text: String,
}

impl Line {
    fn class(&self) -> &'static str {
        match self.mark {
            '+' => "added",
            '-' => "removed",
            '@' => "gap",
            _ => "same",
        }
    }
}

async fn one(State(api): State<Shared>, visitor: Visitor, Path(generation): Path<u64>) -> Outcome {
    let mut frame = visitor.frame(&api, Section::Policies, "policies-title").await?;
    frame.title = frame.say_with("policies-one", "generation", generation);
    let text = api.control.bundle_text(&visitor.op, generation).await?;
    let before = match generation.checked_sub(1) {
        None => None,
        Some(before) => match api.control.bundle_text(&visitor.op, before).await {
            Ok(before) => Some(before),
            Err(ControlError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        },
    };
    let (differences, is_cut) = before.as_ref().map(|b| differences(b, &text)).unwrap_or_default();
    let before = before.map(|before| before.bundle.generation);
    page(&BundlePage { frame, text, before, differences, is_cut })
}

/// What is another text, document by document, and whether there is more than a page holds.
fn differences(before: &BundleText, after: &BundleText) -> (Vec<Difference>, bool) {
    let names: BTreeSet<&String> = before.documents.keys().chain(after.documents.keys()).collect();
    let (mut found, mut lines) = (Vec::new(), 0);
    for name in names {
        let text = |of: &BundleText| of.documents.get(name).cloned().unwrap_or_default();
        let (old, new) = (text(before), text(after));
        if old == new {
            continue;
        }
        if lines >= MOST_LINES {
            return (found, true);
        }
        let mut changed = compared(&old, &new);
        changed.truncate(MOST_LINES - lines);
        lines += changed.len();
        found.push(Difference { name: name.clone(), lines: changed });
    }
    (found, lines >= MOST_LINES)
}

fn compared(old: &str, new: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(old, new);
    let mut lines = Vec::new();
    for (at, group) in diff.grouped_ops(AROUND).iter().enumerate() {
        if at > 0 {
            lines.push(Line { mark: '@', text: "…".to_owned() });
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let mark = match change.tag() {
                ChangeTag::Insert => '+',
                ChangeTag::Delete => '-',
                ChangeTag::Equal => ' ',
            };
            lines.push(Line { mark, text: change.value().trim_end_matches('\n').to_owned() });
        }
    }
    lines
}

#[derive(Debug, Deserialize)]
struct From {
    generation: u64,
}

async fn rollback(
    State(api): State<Shared>,
    Filled(visitor, From { generation }): Filled<From>,
) -> Outcome {
    let back = api.control.rollback(&visitor.op, Some(generation)).await?;
    done(&format!("/policies/{}", back.generation), "rolled-back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_its_lines_with_some_around() {
        let old: String = (0..30).fold(String::new(), |text, n| format!("{text}line {n}\n"));
        let new = old.replace("line 3\n", "line three\n").replace("line 25\n", "");
        let lines = compared(&old, &new);
        let marked = |mark| lines.iter().filter(|line| line.mark == mark).count();
        assert_eq!((marked('+'), marked('-'), marked('@')), (1, 2, 1));
        assert!(lines.len() < 20 && lines.iter().any(|line| line.text == "line three"));
    }
}

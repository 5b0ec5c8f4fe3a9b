//! An access request in a few lines: what whoever is told has to know to open the page.
//!
//! Nothing of what a request carries is in it: not its path, its parameters or its body, which may hold
//! secrets, and whoever reads a channel need not be a reviewer. The digest says which request it is.

use std::fmt::Write;

use portcullis_model::AccessRequest;

use super::text::visible;
use crate::usecase::text::time;

/// Names, ids and the like.
const SHORT: usize = 200;
/// As long as a reason may be.
const LONG: usize = 1000;
/// Things that are listed of each kind.
const LISTED: usize = 8;

/// What a message says of an access request. Safe to read on one line; not escaped for any markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Fixed words: `Access request`.
    pub title: &'static str,
    /// Who wants what, in a few words.
    pub subject: String,
    /// What there is to know, in order, each with its name.
    pub facts: Vec<(&'static str, String)>,
    /// The page where it is answered, after signing in.
    pub link: String,
    /// The same for all messages about one access request.
    pub thread: String,
}

impl Summary {
    /// Of `request`, which these people could review; its page is below `base_url`.
    pub fn new(request: &AccessRequest, reviewers: &[String], base_url: &str) -> Self {
        let (requester, service) =
            (visible(&request.requester_name, SHORT), visible(request.service.as_str(), SHORT));
        let title =
            if request.is_emergency() { "Emergency access was taken" } else { "Access request" };
        let wants = if request.is_emergency() { "took emergency access to" } else { "asks for" };
        Self {
            title,
            subject: format!("{requester} {wants} {service}"),
            facts: facts(request, reviewers, &requester, &service),
            link: format!("{base_url}/requests/{}", request.id),
            thread: request.id.to_string(),
        }
    }
}

fn facts(
    request: &AccessRequest,
    reviewers: &[String],
    requester: &str,
    service: &str,
) -> Vec<(&'static str, String)> {
    let id = visible(&request.requester.id, SHORT);
    let operations = request.queries.iter().map(|query| {
        let at = query.instance.as_ref().map(|instance| format!(" on {instance}"));
        format!("{}{}", query.operation, at.unwrap_or_default())
    });
    let rules = request.queries.iter().map(|query| query.way.rule.to_string());
    let digests = request.queries.iter().filter_map(|query| query.digest.as_deref());
    let checks = request.queries.iter().flat_map(|query| query.way.to_be_checked.iter());
    let all = [
        ("Who", format!("{requester} ({id})")),
        ("Service", service.to_owned()),
        ("What", listed(operations)),
        ("Why", visible(&request.reason, LONG)),
        ("For", request.duration.to_string()),
        ("Incident", request.incident().map_or_else(String::new, |id| visible(id.as_str(), SHORT))),
        ("Only the request", listed(digests.map(str::to_owned))),
        ("Still to be checked", listed(checks.map(ToString::to_string))),
        ("Rule", listed(rules)),
        ("Reviews", reviews(request)),
        ("Reviewers", listed(reviewers.iter().cloned())),
        ("Until", if request.is_emergency() { String::new() } else { time(request.expires_at) }),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn reviews(request: &AccessRequest) -> String {
    if request.is_emergency() {
        return "one, afterwards".to_owned();
    }
    format!("{} of {}", request.approvals(), request.reviews_needed())
}

/// Each once, and how many more there are.
fn listed(all: impl Iterator<Item = String>) -> String {
    let mut different: Vec<String> = Vec::new();
    for one in all {
        if !different.contains(&one) {
            different.push(one);
        }
    }
    let more = different.len().saturating_sub(LISTED);
    let shown = different.iter().take(LISTED).map(|one| visible(one, SHORT));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _infallible = write!(text, " … (truncated: {more} more)");
    }
    text
}

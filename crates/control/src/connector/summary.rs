//! An access request in a few lines: what whoever is told has to know to open the page.
//!
//! Nothing of what a request carries is in it: not its path, its parameters or its body, which may hold
//! secrets, and whoever reads a channel need not be a reviewer. The digest says which request it is.

use std::fmt::Write;

use portcullis_model::{AccessRequest, AccessRequestState, Grant, GrantState};

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
    /// Whether somebody is still to answer it.
    pub waits: bool,
}

impl Summary {
    /// Of `request` and what came of it, `grants`; these people could review it, and its page is below `base_url`.
    pub fn new(
        request: &AccessRequest,
        grants: &[Grant],
        reviewers: &[String],
        base_url: &str,
    ) -> Self {
        let (requester, service) =
            (visible(&request.requester_name, SHORT), visible(request.service.as_str(), SHORT));
        let (asked, title) = (asked(request), title(request, grants));
        let wants = if request.is_emergency() { "took emergency access to" } else { "asks for" };
        let subject = format!("{requester} {wants} {service}");
        let mut facts = facts(request, &requester, &service);
        if title == asked {
            facts.extend(to_do(request, reviewers));
        } else {
            // A message that was posted cannot be changed: this one says which it is about.
            let first =
                format!("“{asked}: {subject}” of {}, {}", time(request.created_at), request.id);
            facts.insert(0, ("About", first));
            facts.extend(outcome(request, grants));
        }
        let pending = request.state == AccessRequestState::Pending;
        let link = format!("{base_url}/requests/{}", request.id);
        Self {
            title,
            subject,
            facts,
            link,
            thread: request.id.to_string(),
            waits: pending || request.waits_for_review_afterwards(),
        }
    }
}

/// What the first message about it is called.
fn asked(request: &AccessRequest) -> &'static str {
    if request.is_emergency() { "Emergency access was taken" } else { "Access request" }
}

fn title(request: &AccessRequest, grants: &[Grant]) -> &'static str {
    let ended = grants.iter().all(|grant| grant.state != GrantState::InForce);
    match &request.state {
        AccessRequestState::Pending => asked(request),
        AccessRequestState::Approved { .. } if request.is_emergency() => {
            match (ended, !request.waits_for_review_afterwards()) {
                (false, false) => asked(request),
                (false, true) => "Emergency access was reviewed",
                (true, false) => "Emergency access has ended",
                (true, true) => "Emergency access has ended and was reviewed",
            }
        }
        AccessRequestState::Approved { .. } if ended => "Access has ended",
        AccessRequestState::Approved { .. } => "Access is granted",
        AccessRequestState::Declined { .. } => "Access was declined",
        AccessRequestState::Withdrawn { .. } => "The access request was withdrawn",
        AccessRequestState::Expired { .. } => "Nobody answered the access request",
    }
}

/// What came of it so far.
fn outcome(request: &AccessRequest, grants: &[Grant]) -> Vec<(&'static str, String)> {
    let answers = request.reviews.iter().map(|review| {
        let note = review.note.as_ref().map(|note| format!(": {}", visible(note, LONG)));
        let (said, name) = (review.decision.in_words(), visible(&review.name, SHORT));
        ("Answer", format!("{said} {name}, {}{}", time(review.at), note.unwrap_or_default()))
    });
    let mut all: Vec<_> = answers.collect();
    match &request.state {
        AccessRequestState::Pending | AccessRequestState::Approved { .. } => {}
        AccessRequestState::Declined { at, why } => {
            all.push(("Declined", format!("{}: {}", time(*at), visible(why, LONG))));
        }
        AccessRequestState::Withdrawn { at, why } => {
            let why = why.as_ref().map(|why| format!(": {}", visible(why, LONG)));
            all.push(("Withdrawn", time(*at) + &why.unwrap_or_default()));
        }
        AccessRequestState::Expired { at } => all.push(("Expired", time(*at))),
    }
    all.extend(grants.iter().map(|grant| {
        let said = match grant.state {
            GrantState::InForce => format!("in force until {}", time(grant.expires_at)),
            GrantState::Ended { at, why, .. } => format!("{} at {}", why.in_words(), time(at)),
        };
        ("Grant", format!("{}: {said}", visible(&grant.operation.to_string(), SHORT)))
    }));
    if request.waits_for_review_afterwards() {
        all.push(("Open item", "nobody has reviewed this emergency yet".to_owned()));
    }
    all
}

fn facts(request: &AccessRequest, requester: &str, service: &str) -> Vec<(&'static str, String)> {
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
        ("Access request", request.id.to_string()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// What somebody is still to do.
fn to_do(request: &AccessRequest, reviewers: &[String]) -> Vec<(&'static str, String)> {
    let all = [
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

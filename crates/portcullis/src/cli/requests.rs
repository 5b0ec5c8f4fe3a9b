//! `portcullis requests`: access requests, mine or to review, or one with all that there is to it.

use clap::Args;
use portcullis_api::{
    access_requests::{AccessRequestBody, HeldBody, QueryBody, ReviewBody},
    refusals::ShownBodyBody,
};

use portcullis_model::Decision;

use super::{
    failure::Failure,
    session::{Listed, Session},
    short_id, way_table, when, who,
};

#[derive(Debug, Args)]
pub(crate) struct Requests {
    /// Only this one, with all that there is to it; six characters of its id are enough
    #[arg(conflicts_with_all = ["mine", "to_review"])]
    id: Option<String>,
    /// Only my own
    #[arg(long, conflicts_with = "to_review")]
    mine: bool,
    /// Only those that I could review now
    #[arg(long)]
    to_review: bool,
}

impl Requests {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        if let Some(id) = &self.id {
            let id = session.id(id, short_id::Kind::AccessRequest).await?;
            let fetched = session.get(&format!("/v1/access-requests/{id}")).await?;
            if session.screen.is_json() {
                session.screen.body(&fetched.body);
                return Ok(());
            }
            let now = session.now();
            for line in details(&fetched.read()?, now) {
                session.screen.line(&line);
            }
            return Ok(());
        }
        let path = match (self.mine, self.to_review) {
            (true, _) => "/v1/access-requests?filter=mine",
            (false, true) => "/v1/access-requests?filter=to-review",
            (false, false) => "/v1/access-requests?filter=all",
        };
        let listed: Listed<AccessRequestBody> = session.list(path, "access_requests").await?;
        let (screen, now) = (session.screen, session.now());
        if screen.is_json() {
            screen.body(&listed.body());
            return Ok(());
        }
        let rows = listed.items.iter().map(|request| row(request, now)).collect();
        let header = ["id", "who", "what", "way", "for", "why", "state"];
        let nothing =
            if self.to_review { "nothing waits for you" } else { "there are no access requests" };
        screen.table(nothing, &header, rows);
        if let Some(first) = listed.items.first().filter(|_| self.to_review && screen.is_terminal())
        {
            let words = format!("review {} approve|decline", short_id::shown(&first.id));
            let all = session.command(&format!("requests {}", short_id::shown(&first.id)));
            let answer = session.command(&words);
            screen.note(&format!("`{all}` shows all of it; answer with `{answer}`"));
        }
        Ok(())
    }
}

fn row(request: &AccessRequestBody, now: jiff::Timestamp) -> Vec<String> {
    let mut what: Vec<_> = request.queries.iter().map(operation).collect();
    what.extend(request.held.as_ref().map(|held| waiting(held, request)));
    let way = request.queries.first().map(|query| way_table::kind(&query.way));
    let state = match (request.state.as_str(), request.afterwards.as_deref()) {
        ("pending", _) => state(request, now),
        (state, Some("open")) => format!("{state}, to be reviewed"),
        (state, Some(_)) => format!("{state}, reviewed"),
        (state, None) => state.to_owned(),
    };
    vec![
        short_id::shown(&request.id),
        who::shown(&request.requester),
        what.join(", "),
        way.unwrap_or_default(),
        request.duration.to_string(),
        request.reason.clone(),
        state,
    ]
}

/// What the gate will still check of each query, in words, each once.
pub(super) fn to_be_checked(request: &AccessRequestBody) -> impl Iterator<Item = &String> {
    let mut seen = std::collections::BTreeSet::new();
    let all = request.queries.iter().flat_map(|query| &query.way.to_be_checked);
    all.filter(move |condition| seen.insert(*condition))
}

fn details(request: &AccessRequestBody, now: jiff::Timestamp) -> Vec<String> {
    let mut lines = vec![format!("access request {}: {}", request.id, state(request, now))];
    let who = format!("{} ({})", request.requester_name, request.requester.id);
    lines.push(format!("  who      {who}"));
    lines.push(format!("  why      {}", request.reason));
    lines.push(format!("  how long {}, from approval", request.duration));
    if let Some(grant) = &request.extends {
        lines.push(format!("  moves the end of grant {}", short_id::shown(grant)));
    }
    for query in &request.queries {
        let on = query.instance.as_ref().map_or_else(String::new, |name| format!(" on {name}"));
        let (how, rule) = (way_table::kind(&query.way), &query.way.rule);
        lines.push(format!("  what     {}{on}: {how}, by {rule}", query.operation));
        lines.extend(query.reveal.as_ref().map(|class| seen_everywhere(class, &request.service)));
        let conditions = query.way.to_be_checked.iter();
        lines.extend(conditions.map(|text| format!("           still to be checked: {text}")));
        if let Some(digest) = &query.digest {
            lines.push(format!("           for the refused request, and no other: {digest}"));
        }
    }
    if let Some(held) = &request.held {
        lines.push(format!("  waits    {}, with {} bytes of body", held.summary, held.size));
        let parameters = held.parameters.iter();
        lines.extend(parameters.map(|(name, value)| format!("           {name} = {value:?}")));
    }
    lines.extend(request.body.iter().flat_map(body));
    for review in &request.reviews {
        let word = match (&request.afterwards, review.decision) {
            (None, decision) => decision.in_words(),
            (Some(_), Decision::Approve) => "found in order by",
            (Some(_), Decision::Decline) => "found not in order by",
        };
        lines.push(format!("  {word}  {}{}", review.name, less(review)));
    }
    if !request.reviewers.is_empty() {
        lines.push(format!("  who could review: {}", request.reviewers.join(", ")));
    }
    lines
}

/// A grant to see data is no grant to see it in one operation.
fn seen_everywhere(class: &str, service: &str) -> String {
    format!(
        "           shows {class} in the answers of every operation of {service} that they may use"
    )
}

/// A request's body, line by line. What it is made of, a stranger chose: no character of it moves the
/// terminal.
pub(super) fn body(body: &ShownBodyBody) -> Vec<String> {
    let masked = match body.masked.as_slice() {
        [] => String::new(),
        names => format!(", {} masked", names.join(", ")),
    };
    let text = body.text.lines().map(|line| format!("           {}", plain(line)));
    std::iter::once(format!("  body     {}{masked}", body.content_type)).chain(text).collect()
}

/// Without what a terminal would not show as it is.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '"' | '\'' | '\\' => plain.push(c),
            _ => plain.extend(c.escape_debug()),
        }
    }
    plain
}

/// What a reviewer agreed to, where it is less than was asked for.
fn less(review: &ReviewBody) -> String {
    let words = [
        review.duration.map(|duration| format!(", for {duration}")),
        review.operations.as_ref().map(|names| format!(", only {}", names.join(", "))),
        review.instance.as_ref().map(|name| format!(", on {name}")),
        review.note.as_ref().map(|note| format!(": {note}")),
    ];
    words.into_iter().flatten().collect()
}

fn state(request: &AccessRequestBody, now: jiff::Timestamp) -> String {
    match (request.state.as_str(), &request.why) {
        ("pending", _) => format!(
            "{} of {} reviews, {}",
            request.reviews.len(),
            request.reviews_needed,
            when::until(request.expires_at, now)
        ),
        (state, None) if request.afterwards.as_deref() == Some("open") => {
            format!("{state}, and to be reviewed afterwards")
        }
        (state, Some(why)) => format!("{state}: {why}"),
        (state, None) => state.to_owned(),
    }
}

fn operation(query: &QueryBody) -> String {
    match &query.instance {
        Some(instance) => format!("{} on {instance}", query.operation),
        None => query.operation.clone(),
    }
}

/// The request that waits at the gate: `POST /v1/refunds, limit="5", 64 bytes, sha256:0123456789ab…`.
fn waiting(held: &HeldBody, request: &AccessRequestBody) -> String {
    let mut parts = vec![held.summary.clone()];
    // In quotes, so that no value looks like what follows it.
    parts.extend(held.parameters.iter().map(|(name, value)| format!("{name}={value:?}")));
    parts.push(format!("{} bytes", held.size));
    let digest = request.queries.iter().find_map(|query| query.digest.as_deref());
    parts.extend(digest.map(|digest| format!("{}…", digest.get(..19).unwrap_or(digest))));
    parts.join(", ")
}

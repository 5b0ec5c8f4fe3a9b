//! `portcullis requests`: access requests, mine or to review.

use clap::Args;
use portcullis_api::access_requests::AccessRequestBody;

use super::{
    failure::Failure,
    session::{Listed, Session},
    short_id, way_table, when, who,
};

#[derive(Debug, Args)]
pub(crate) struct Requests {
    /// Only my own
    #[arg(long, conflicts_with = "to_review")]
    mine: bool,
    /// Only those that I could review now
    #[arg(long)]
    to_review: bool,
}

impl Requests {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
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
            screen.note(&format!("answer with `{}`", session.command(&words)));
        }
        Ok(())
    }
}

fn row(request: &AccessRequestBody, now: jiff::Timestamp) -> Vec<String> {
    let what = request.queries.iter().map(|query| match &query.instance {
        Some(instance) => format!("{} on {instance}", query.operation),
        None => query.operation.clone(),
    });
    let way = request.queries.first().map(|query| way_table::kind(&query.way));
    let state = match request.state.as_str() {
        "pending" => format!(
            "{} of {} reviews, {}",
            request.reviews.len(),
            request.reviews_needed,
            when::until(request.expires_at, now)
        ),
        state => state.to_owned(),
    };
    vec![
        short_id::shown(&request.id),
        who::shown(&request.requester),
        what.collect::<Vec<_>>().join(", "),
        way.unwrap_or_default(),
        request.duration.to_string(),
        request.reason.clone(),
        state,
    ]
}

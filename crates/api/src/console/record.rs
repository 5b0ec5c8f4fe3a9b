//! The record: a search that anybody who may read it can use, and a page for each entry of it. That somebody
//! looked is on record too; the use case sees to it.

pub(super) mod entry;
mod one;
mod search;

use askama::Template;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use portcullis_control::views::EventFilter;

use super::{
    Failure, Outcome,
    frame::{Frame, Section},
    visitor::{Visitor, framed, page},
};
use crate::{extract::Search, parts::Shared};
use entry::Entry;
use search::Asked;

/// Entries on one page.
const SHOWN: usize = 25;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/record", get(list)).merge(one::routes())
}

#[derive(Debug, Template)]
#[template(path = "console/record.html")]
struct RecordPage {
    frame: Frame,
    asked: Asked,
    entries: Vec<Entry>,
    /// Why there was no search.
    problem: Option<String>,
    /// Where the older ones are.
    older: Option<String>,
}

async fn list(
    visitor: Visitor,
    State(api): State<Shared>,
    Search(given): Search<Vec<(String, String)>>,
) -> Outcome {
    let asked = Asked::new(given);
    let frame = visitor.frame(&api, Section::Record, "record-title").await?;
    let filter = match asked.filter() {
        Ok(filter) => EventFilter { limit: SHOWN, newest: true, ..filter },
        Err(problem) => {
            let problem = Some(problem);
            let template = RecordPage { frame, asked, entries: Vec::new(), problem, older: None };
            let html = template.render().map_err(|_| Failure::Internal)?;
            return Ok(framed(StatusCode::BAD_REQUEST, html));
        }
    };
    let part = api.control.events(&visitor.op, filter).await?;
    let entries = part.lines.iter().map(Entry::of).collect();
    let older = part.next.filter(|_| part.more).map(|next| asked.address(Some(next)));
    page(&RecordPage { frame, asked, entries, problem: None, older })
}

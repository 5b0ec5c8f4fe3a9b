//! The page of one entry: its fields, its bytes as they were hashed, the proof that it is on record, and what was
//! kept of its request.

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use portcullis_control::{
    ControlError, OpContext,
    views::{ContentState, ErasureView, EventFilter, EventLine},
};
use portcullis_model::RequestContent;

use super::{
    super::{
        Failure, Outcome,
        frame::{Frame, Section},
        visitor::{Visitor, page},
    },
    entry::Entry,
};
use crate::{
    extract::named,
    parts::{ApiParts, Shared},
};

const ENTRY: &str = "the entry of the record";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/record/{seq}", get(one))
        .route("/record/{seq}/json", get(json))
        .route("/record/{seq}/content", get(content))
        .route("/record/{seq}/proof", get(proof))
        .route("/record/{seq}/proof/file", get(proof_file))
}

#[derive(Debug, Template)]
#[template(path = "console/entry.html")]
struct EntryPage {
    frame: Frame,
    entry: Entry,
    json: String,
    /// The proof, where it was asked for: that is another reading.
    proof: Option<String>,
    /// The same of what was kept of the request.
    content: Option<Kept>,
}

/// What was kept of a request, and what became of it.
#[derive(Debug)]
enum Kept {
    Here { content: RequestContent, salt: String },
    Erased(ErasureView),
    Missing,
}

impl Kept {
    fn of(state: ContentState) -> Self {
        match state {
            ContentState::Kept(opening) => match serde_json::from_str(&opening.content) {
                Ok(content) => Self::Here { content, salt: opening.salt.to_string() },
                Err(_) => Self::Missing,
            },
            ContentState::Erased(erasure) => Self::Erased(erasure),
            ContentState::Missing => Self::Missing,
        }
    }
}

async fn one(visitor: Visitor, State(api): State<Shared>, Path(seq): Path<String>) -> Outcome {
    let frame = framing(&api, &visitor).await?;
    let line = line(&api, &visitor.op, &seq).await?;
    shown(frame, line, None, None)
}

async fn content(visitor: Visitor, State(api): State<Shared>, Path(seq): Path<String>) -> Outcome {
    let frame = framing(&api, &visitor).await?;
    let line = line(&api, &visitor.op, &seq).await?;
    let kept = api.control.content(&visitor.op, line.seq).await?;
    shown(frame, line, None, Some(Kept::of(kept.state)))
}

async fn proof(visitor: Visitor, State(api): State<Shared>, Path(seq): Path<String>) -> Outcome {
    let frame = framing(&api, &visitor).await?;
    let line = line(&api, &visitor.op, &seq).await?;
    let proof = api.control.prove(&visitor.op, line.seq).await?;
    shown(frame, line, Some(proof), None)
}

async fn framing(api: &ApiParts, visitor: &Visitor) -> Result<Frame, Failure> {
    visitor.frame(api, Section::Record, "record-title").await
}

fn shown(
    mut frame: Frame,
    line: EventLine,
    proof: Option<String>,
    content: Option<Kept>,
) -> Outcome {
    let entry = Entry::of(&line);
    frame.title = entry.title();
    page(&EntryPage { frame, entry, json: line.json, proof, content })
}

/// The entry's bytes, as they were hashed.
async fn json(visitor: Visitor, State(api): State<Shared>, Path(seq): Path<String>) -> Outcome {
    let line = line(&api, &visitor.op, &seq).await?;
    let name = format!("attachment; filename=\"record-{}.json\"", line.seq);
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, line.json).into_response())
}

async fn proof_file(
    visitor: Visitor,
    State(api): State<Shared>,
    Path(seq): Path<String>,
) -> Outcome {
    let seq: u64 = named(&seq, ENTRY)?;
    let proof = api.control.prove(&visitor.op, seq).await?;
    let name = format!("attachment; filename=\"record-{seq}.tlog-proof\"");
    let kind = "text/plain; charset=utf-8".to_owned();
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)], proof).into_response())
}

async fn line(api: &ApiParts, op: &OpContext, seq: &str) -> Result<EventLine, Failure> {
    let seq: u64 = named(seq, ENTRY)?;
    let only = EventFilter {
        from: Some(seq),
        before: Some(seq.saturating_add(1)),
        limit: 1,
        ..EventFilter::default()
    };
    let part = api.control.events(op, only).await?;
    let line = part.lines.into_iter().next();
    line.ok_or(Failure::Control(ControlError::NotFound(ENTRY)))
}

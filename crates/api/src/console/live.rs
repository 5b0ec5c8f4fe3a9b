//! What goes on at this moment: open connections, requests that wait at the gate, attempts as they come.
//! The page follows by itself where scripts run, and has a link to look again where they do not.

mod stream;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use portcullis_control::{
    ControlError, OpContext,
    views::{ConnectionView, EventFilter},
};
use portcullis_model::{AccessRequest, ConnectionId};
use serde::Deserialize;

use super::{
    Failure, Outcome,
    form::{Filled, Nothing},
    frame::{Frame, Section},
    record::entry::Entry,
    visitor::{Visitor, done, page},
};
use crate::{
    extract::{Search, named},
    page::{self, PageQuery},
    parts::{ApiParts, Shared},
};

/// Connections on one page.
const SHOWN: usize = 50;
/// Attempts on the page.
const ATTEMPTS: usize = 25;
const CONNECTION: &str = "the connection";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/live", get(live))
        .route("/live/stream", get(stream::stream))
        .route("/live/connections/{id}", get(one))
        .route("/live/connections/{id}/close", post(close))
}

/// What moves of the page.
#[derive(Debug, Default)]
struct Parts {
    connections: Vec<ConnectionView>,
    /// Where those that were opened before are.
    older: Option<String>,
    held: Vec<AccessRequest>,
    attempts: Vec<Entry>,
}

#[derive(Debug, Template)]
#[template(path = "console/live.html")]
struct LivePage {
    frame: Frame,
    parts: Parts,
    /// Whether it is the newest that is shown: what is older does not move.
    is_newest: bool,
}

#[derive(Debug, Template)]
#[template(path = "console/connection.html")]
struct ConnectionPage {
    frame: Frame,
    connection: ConnectionView,
}

/// What the attempts are that the page shows.
fn attempts() -> EventFilter {
    EventFilter {
        kind: Some("attempt".into()),
        newest: true,
        limit: ATTEMPTS,
        ..EventFilter::default()
    }
}

async fn live(
    visitor: Visitor,
    State(api): State<Shared>,
    Search(query): Search<Cursor>,
) -> Outcome {
    let frame = visitor.frame(&api, Section::Live, "live-title").await?;
    let is_newest = query.cursor.is_none();
    let mut parts = moving(&api, &visitor.op, query.cursor).await?;
    if frame.powers.reads_record && is_newest {
        let part = api.control.events(&visitor.op, attempts()).await?;
        parts.attempts = part.lines.iter().map(Entry::of).collect();
    }
    page(&LivePage { frame, parts, is_newest })
}

/// Which part of the connections; other words of an address say nothing here.
#[derive(Debug, Deserialize)]
struct Cursor {
    cursor: Option<String>,
}

/// All that moves, attempts aside.
async fn moving(api: &ApiParts, op: &OpContext, cursor: Option<String>) -> Result<Parts, Failure> {
    let all = api.control.connections(op).await?;
    let query = PageQuery { cursor, limit: Some(SHOWN) };
    let part = page::cut(&query, all, |view| view.id, |view| view)?;
    let older = part.next.map(|next| format!("/live?cursor={next}"));
    let held = api.control.held(op).await?;
    Ok(Parts { connections: part.items, older, held, attempts: Vec::new() })
}

async fn one(visitor: Visitor, State(api): State<Shared>, Path(id): Path<String>) -> Outcome {
    let id: ConnectionId = named(&id, CONNECTION)?;
    let frame = visitor.frame(&api, Section::Live, "live-connection").await?;
    let all = api.control.connections(&visitor.op).await?;
    let found = all.into_iter().find(|view| view.id == id);
    let connection = found.ok_or(Failure::Control(ControlError::NotFound(CONNECTION)))?;
    page(&ConnectionPage { frame, connection })
}

async fn close(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Nothing {}): Filled<Nothing>,
) -> Outcome {
    api.control.close_connection(&visitor.op, named(&id, CONNECTION)?).await?;
    done("/live", "connection-closed")
}

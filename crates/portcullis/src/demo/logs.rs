//! The demo's log store: a query, and a tail that never ends.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    extract::Query,
    response::sse::{Event, Sse},
    routing::get,
};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::wrappers::IntervalStream;

/// A new line comes this often.
const PACE: Duration = Duration::from_millis(100);

const MESSAGES: [&str; 4] = [
    "payment p-1001 captured",
    "refund r-1 waits for the bank",
    "batch refunds: 1 stuck",
    "payment p-1002 captured",
];

/// What to search for.
#[derive(Debug, Deserialize)]
struct Search {
    #[serde(default)]
    query: String,
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    100
}

/// The service.
pub(super) fn router() -> Router {
    Router::new().route("/v1/query", get(query)).route("/v1/tail", get(tail))
}

async fn query(Query(search): Query<Search>) -> Json<Vec<Value>> {
    let matching = MESSAGES.iter().enumerate().filter(|(_, text)| text.contains(&search.query));
    Json(matching.take(search.limit).map(|(line, text)| entry(line, text)).collect())
}

async fn tail() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = IntervalStream::new(tokio::time::interval(PACE));
    let lines = ticks.enumerate().zip(futures_util::stream::iter(MESSAGES.iter().cycle()));
    Sse::new(
        lines.map(|((line, _), text)| Ok(Event::default().data(entry(line, text).to_string()))),
    )
}

fn entry(line: usize, text: &str) -> Value {
    json!({ "line": line, "service": "payments", "message": text })
}

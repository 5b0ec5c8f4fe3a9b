//! `/connectors/slack/…`: what Slack calls back for, over HTTP.
//!
//! Slack is the only caller, so nothing of it is in the OpenAPI document. Its signature is over the very
//! bytes, which are handed on as they came; a GET finds nothing to do here.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use portcullis_control::connector::slack::{SlackCall, SlackCallKind};

use crate::{caller::Source, error::Answer, parts::Shared};

/// What Slack says of a message with fifty blocks in it, and room.
const BODY_LIMIT: usize = 512 * 1024;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/connectors/slack/interactions", post(interaction))
        .route("/connectors/slack/commands", post(command))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

async fn interaction(
    State(api): State<Shared>,
    Source(source): Source,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<StatusCode> {
    let call = called(SlackCallKind::Interaction, &headers, &body);
    api.control.slack_call(call, source).await?;
    Ok(StatusCode::OK)
}

async fn command(
    State(api): State<Shared>,
    Source(source): Source,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<StatusCode> {
    let call = called(SlackCallKind::Command, &headers, &body);
    api.control.slack_call(call, source).await?;
    Ok(StatusCode::OK)
}

fn called<'a>(kind: SlackCallKind, headers: &'a HeaderMap, body: &'a [u8]) -> SlackCall<'a> {
    // One that comes twice may be meant in two ways.
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        value.to_str().ok()
    };
    SlackCall {
        kind,
        timestamp: only("x-slack-request-timestamp"),
        signature: only("x-slack-signature"),
        body,
    }
}

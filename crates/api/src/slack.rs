//! `/connectors/slack/…`: what Slack calls back for, over HTTP.
//!
//! Slack is the only caller, and presents no credential but its signature, which is over the very bytes: they are
//! handed on as they came. A GET finds nothing to do here.

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
};
use portcullis_control::connector::slack::{SlackCall, SlackCallKind};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Source, error::Answer, parts::Shared};

/// What Slack says of a message with fifty blocks in it, and room.
const BODY_LIMIT: usize = 512 * 1024;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(interaction))
        .routes(routes!(command))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

/// Somebody pressed something in Slack: a form with `payload`, signed as Slack signs
///
/// 200 says that it was taken, whatever became of it; 404 that no signing secret is configured.
#[utoipa::path(post, path = "/connectors/slack/interactions", tag = "access requests",
    operation_id = "slack_interaction", security(()),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200)))]
pub(crate) async fn interaction(
    State(api): State<Shared>,
    Source(source): Source,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<StatusCode> {
    let call = called(SlackCallKind::Interaction, &headers, &body);
    api.control.slack_call(call, source).await?;
    Ok(StatusCode::OK)
}

/// Somebody typed `/access` in Slack: a form, signed as Slack signs
///
/// 200 says that it was taken, whatever became of it; 404 that no signing secret is configured.
#[utoipa::path(post, path = "/connectors/slack/commands", tag = "access requests",
    operation_id = "slack_command", security(()),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200)))]
pub(crate) async fn command(
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

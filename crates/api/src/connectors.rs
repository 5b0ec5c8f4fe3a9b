//! `/v1/connectors`: messages of other systems that know of incidents and of who is on call.
//!
//! Nobody presents a credential here: each message proves by itself whose it is, over the bytes as they
//! came. Control looks at that before anything else.

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Source, error::Answer, parts::Shared};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(hear))
}

/// A message of another system, signed as it signs
///
/// 202 says that it was taken, whatever became of it.
#[utoipa::path(post, path = "/v1/connectors/{name}/events", tag = "facts",
    operation_id = "hear_connector", security(()), params(("name" = String, Path)),
    request_body(content = String, content_type = "application/json"),
    responses((status = 202)))]
pub(crate) async fn hear(
    Source(source): Source,
    State(api): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<StatusCode> {
    api.control.hear(&name, &readable(&headers), &body, source).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Those that are text; what came twice stands behind one another.
fn readable(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        let known = all.entry(name.as_str().to_owned()).or_default();
        if !known.is_empty() {
            known.push(',');
        }
        known.push_str(value);
    }
    all
}

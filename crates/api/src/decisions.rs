//! `/v1/decisions/{system}`: what another system decided about an access request, signed as Standard Webhooks has it.
//!
//! The signature is over the bytes of the body, so nothing reads them before.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
};
use portcullis_control::{ControlError, Taken};
use portcullis_identity::{AuthError, SignedMessage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Source, error::Answer, parts::Shared};

/// A decision that counted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DecisionTaken)]
pub struct DecisionTakenBody {
    /// Of which access request.
    pub access_request: String,
    /// What has become of it: `pending`, `approved`, `declined`, ….
    pub state: String,
    /// The message came before, and nothing happened now.
    pub repeated: bool,
}

impl From<Taken> for DecisionTakenBody {
    fn from(taken: Taken) -> Self {
        Self {
            access_request: taken.access_request.to_string(),
            state: taken.state.to_owned(),
            repeated: taken.repeated,
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(decide))
}

/// Take a decision of another system: a signed `{"type": "access_request.decision", "data": {"access_request",
/// "decision", "note", "duration"}}`; policy says what it may decide
#[utoipa::path(post, path = "/v1/decisions/{system}", tag = "access requests",
    operation_id = "decide", params(("system" = String, Path)), security(()),
    request_body(content = String, content_type = "application/json"),
    responses((status = 200, body = DecisionTakenBody)))]
pub(crate) async fn decide(
    Source(source): Source,
    State(api): State<Shared>,
    Path(system): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Json<DecisionTakenBody>> {
    let message = SignedMessage {
        id: one(&headers, "webhook-id")?,
        timestamp: one(&headers, "webhook-timestamp")?,
        signatures: one(&headers, "webhook-signature")?,
        body: &body,
    };
    Ok(Json(api.control.decision(&system, message, source).await?.into()))
}

/// The only field of this name, or nothing: two of them are read differently by different readers.
fn one<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, ControlError> {
    let mut fields = headers.get_all(name).iter();
    let text = match (fields.next(), fields.next()) {
        (None, _) => "",
        (Some(_), Some(_)) => {
            return Err(ControlError::Unauthenticated(AuthError::Bad(
                "a header of the signature was sent twice",
            )));
        }
        (Some(only), None) => only.to_str().unwrap_or_default(),
    };
    Ok(text)
}

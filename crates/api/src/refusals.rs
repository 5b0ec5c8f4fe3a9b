//! `/v1/refusals/{id}`: a refusal again, with its ways as they are now.

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use portcullis_model::ShownBody;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::named,
    parts::Shared,
    way::{self, WayBody},
};

/// A refusal of the caller's own.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Refusal)]
pub struct RefusalBody {
    /// Its code.
    pub id: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// What was refused.
    pub operation: String,
    /// Where.
    pub service: String,
    /// On which addressed instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Method and path.
    pub summary: String,
    /// The digest of the refused request, where a way counts uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What would open it now; empty if nothing would.
    pub ways: Vec<WayBody>,
    /// Its body, with what is sensitive masked, where the gate read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<ShownBodyBody>,
}

/// A request's body as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ShownBody)]
pub struct ShownBodyBody {
    /// What it is.
    pub content_type: String,
    /// Its text: masked where it is sensitive, and as it was sent elsewhere.
    pub text: String,
    /// The classes of sensitive data that are masked wherever they are in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
}

impl From<ShownBody> for ShownBodyBody {
    fn from(body: ShownBody) -> Self {
        let ShownBody { content_type, text, masked } = body;
        Self { content_type, text, masked: masked.iter().map(ToString::to_string).collect() }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(refusal))
}

/// One of my refusals
#[utoipa::path(get, path = "/v1/refusals/{id}", tag = "access", params(("id" = String, Path)),
    responses((status = 200, body = RefusalBody)))]
pub(crate) async fn refusal(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<RefusalBody>> {
    let view = api.control.refusal(&op, &named(&id, "the refusal")?).await?;
    Ok(Json(RefusalBody {
        id: view.id.to_string(),
        time: view.time,
        operation: view.operation.to_string(),
        service: view.service.to_string(),
        instance: view.instance.map(|name| name.to_string()),
        summary: view.summary,
        digest: view.digest,
        ways: way::all(view.ways),
        body: view.body.map(ShownBodyBody::from),
    }))
}

//! `/v1/runs`: a CI job exchanges its token for a run, says that it goes on, and ends it.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use portcullis_model::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::{Caller, Source, bearer},
    error::Answer,
    extract::named,
    parts::Shared,
    sign_ins::{SignInBody, expose},
};

/// A new run with its token, which is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = NewRun)]
pub struct NewRunBody {
    /// The run's token for control: `pc_sign_…`. Gate sign-ins are made with it.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub token: Secret,
    /// The run's id, which is no secret.
    pub id: String,
    /// The run's sign-in.
    pub sign_in: SignInBody,
    /// Seconds without a heartbeat after which it ends.
    pub heartbeat: u32,
    /// When it has to be heard of.
    #[schema(value_type = String, format = DateTime)]
    pub heartbeat_by: Timestamp,
}

/// A run that was heard of.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Heartbeat)]
pub struct HeartbeatBody {
    /// When it has to be heard of again.
    #[schema(value_type = String, format = DateTime)]
    pub heartbeat_by: Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(heartbeat)).routes(routes!(finish))
}

/// Exchange a CI job's token, once, for a run
#[utoipa::path(post, path = "/v1/runs", tag = "identity", operation_id = "start_run",
    responses((status = 201, body = NewRunBody)))]
pub(crate) async fn start(
    Source(source): Source,
    State(api): State<Shared>,
    headers: HeaderMap,
) -> Answer<(StatusCode, Json<NewRunBody>)> {
    let made = api.control.start_run(bearer(&headers)?, source).await?;
    let body = NewRunBody {
        token: made.token,
        id: made.sign_in.id.to_string(),
        heartbeat: made.sign_in.run.as_ref().map_or(0, |run| run.heartbeat),
        sign_in: (&made.sign_in).into(),
        heartbeat_by: made.heartbeat_by,
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// My run goes on
#[utoipa::path(post, path = "/v1/runs/{id}/heartbeat", tag = "identity", operation_id = "heartbeat",
    params(("id" = String, Path)), responses((status = 200, body = HeartbeatBody)))]
pub(crate) async fn heartbeat(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<HeartbeatBody>> {
    let beat = api.control.beat(&op, named(&id, "the run")?).await?;
    Ok(Json(HeartbeatBody { heartbeat_by: beat.heartbeat_by, expires_at: beat.expires_at }))
}

/// End my run, and everything that it opened
#[utoipa::path(delete, path = "/v1/runs/{id}", tag = "identity", operation_id = "end_run",
    params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn finish(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.control.finish_run(&op, named(&id, "the run")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

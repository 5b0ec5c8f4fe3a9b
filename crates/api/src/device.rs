//! `/v1/device`: signing in from a command line (RFC 8628, with control in the middle, so that the
//! identity provider has one client and its tokens never leave the server).

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use portcullis_control::views::DevicePoll;
use portcullis_model::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Source,
    error::Answer,
    extract::Body,
    parts::Shared,
    sign_ins::{NewSignInBody, expose},
};

/// A device sign-in to begin.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginDeviceBody {
    /// The identity provider's name in configuration; the only one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// A device sign-in that has begun.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Device)]
pub struct DeviceBody {
    /// What to poll with: `pc_device_…`.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub device_token: Secret,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// When it lapses.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Seconds between polls.
    pub interval: u32,
}

/// A poll.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PollDeviceBody {
    /// What the device sign-in began with.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub device_token: Secret,
}

/// Not yet.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = DevicePending)]
pub struct PendingBody {
    /// Poll again after so many seconds.
    pub interval: u32,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(begin)).routes(routes!(poll))
}

/// Begin to sign in
#[utoipa::path(post, path = "/v1/device", tag = "identity", operation_id = "begin_device",
    security(()), request_body = BeginDeviceBody, responses((status = 201, body = DeviceBody)))]
pub(crate) async fn begin(
    State(api): State<Shared>,
    Body(body): Body<BeginDeviceBody>,
) -> Answer<(StatusCode, Json<DeviceBody>)> {
    let begun = api.control.begin_device(body.provider.as_deref()).await?;
    let body = DeviceBody {
        device_token: begun.device_token,
        user_code: begun.user_code,
        verification_uri: begun.verification_uri,
        verification_uri_complete: begun.verification_uri_complete,
        expires_at: begun.expires_at,
        interval: begun.interval,
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Ask whether the person has signed in
#[utoipa::path(post, path = "/v1/device/token", tag = "identity", operation_id = "poll_device",
    security(()), request_body = PollDeviceBody,
    responses((status = 200, body = NewSignInBody), (status = 202, body = PendingBody)))]
pub(crate) async fn poll(
    Source(source): Source,
    State(api): State<Shared>,
    Body(body): Body<PollDeviceBody>,
) -> Answer<Response> {
    Ok(match api.control.poll_device(body.device_token.expose(), source).await? {
        DevicePoll::Pending { interval } => {
            (StatusCode::ACCEPTED, Json(PendingBody { interval })).into_response()
        }
        DevicePoll::Done { token, sign_in } => {
            Json(NewSignInBody { token, sign_in: sign_in.as_ref().into() }).into_response()
        }
    })
}

//! `/v1/passkeys`: the caller's own passkeys, for signing reviews.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_identity::passkey::{CreationOptions, RegistrationResponse};
use portcullis_model::Passkey;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, named},
    parts::Shared,
};

/// A passkey, without what only the browser needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Passkey)]
pub struct PasskeyBody {
    /// Its id, which is no secret.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// Whether it may be copied between devices.
    pub backup_eligible: bool,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last signed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

/// The caller's passkeys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Passkeys)]
pub struct PasskeysBody {
    /// All of them, oldest first.
    pub passkeys: Vec<PasskeyBody>,
}

/// What the browser makes a passkey from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PasskeyOptions)]
pub struct PasskeyOptionsBody {
    /// For `PublicKeyCredential.parseCreationOptionsFromJSON`; good for five minutes, once.
    #[serde(rename = "publicKey")]
    #[schema(value_type = Object)]
    pub public_key: CreationOptions,
}

/// A passkey that a browser has made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterPasskeyBody {
    /// What to call it.
    pub name: String,
    /// What `navigator.credentials.create` returned, by `toJSON`.
    #[schema(value_type = Object)]
    pub credential: RegistrationResponse,
}

impl From<Passkey> for PasskeyBody {
    fn from(passkey: Passkey) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name,
            backup_eligible: passkey.backup_eligible,
            created_at: passkey.created_at,
            last_used_at: passkey.last_used_at,
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(options))
        .routes(routes!(remove))
}

/// My passkeys
#[utoipa::path(get, path = "/v1/passkeys", tag = "identity", operation_id = "passkeys",
    responses((status = 200, body = PasskeysBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<PasskeysBody>> {
    let all = api.control.passkeys(&op).await?;
    Ok(Json(PasskeysBody { passkeys: all.into_iter().map(PasskeyBody::from).collect() }))
}

/// Begin to register a passkey; takes a sign-in of the last ten minutes
#[utoipa::path(post, path = "/v1/passkeys/options", tag = "identity", operation_id = "begin_passkey",
    responses((status = 201, body = PasskeyOptionsBody)))]
pub(crate) async fn options(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<(StatusCode, Json<PasskeyOptionsBody>)> {
    let public_key = api.control.begin_passkey(&op).await?;
    Ok((StatusCode::CREATED, Json(PasskeyOptionsBody { public_key })))
}

/// Register what the browser made
#[utoipa::path(post, path = "/v1/passkeys", tag = "identity", operation_id = "register_passkey",
    request_body = RegisterPasskeyBody, responses((status = 201, body = PasskeyBody)))]
pub(crate) async fn register(
    Caller(op): Caller,
    State(api): State<Shared>,
    Body(body): Body<RegisterPasskeyBody>,
) -> Answer<(StatusCode, Json<PasskeyBody>)> {
    let made = api.control.register_passkey(&op, &body.name, &body.credential).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Delete one of my passkeys
#[utoipa::path(delete, path = "/v1/passkeys/{id}", tag = "identity", operation_id = "remove_passkey",
    params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn remove(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.control.remove_passkey(&op, named(&id, "the passkey")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! `/v1/sealed-credentials`: made in advance by two people, for the day on which nothing else answers.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_control::{ControlError, sealing::ProposeSealed};
use portcullis_model::{
    Base64Url, PolicyId, PrincipalId, PrincipalKind, SealedCredential, SealedId, SealedState,
    ServiceName, Window,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, named},
    parts::Shared,
};

/// A sealed credential. What opens it is nowhere here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SealedCredential)]
pub struct SealedBody {
    /// Its id.
    pub id: String,
    /// `proposed`, `sealed` or `revoked`.
    pub state: String,
    /// The one service.
    pub service: String,
    /// The one emergency rule.
    pub rule: String,
    /// Who uses it, like `corp:ana`.
    pub holder: String,
    /// What they were called.
    pub holder_name: String,
    /// What it is for.
    pub purpose: String,
    /// How long one opening lasts at most.
    #[schema(value_type = String)]
    pub window: Window,
    /// How long it is good for, from its sealing.
    #[schema(value_type = String)]
    pub valid_for: Window,
    /// The public half of what opens it (Ed25519, base64url).
    pub public_key: String,
    /// Who proposed it.
    pub proposed_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub proposed_at: Timestamp,
    /// Who agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_by: Option<String>,
    /// It opens nothing from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The terms and control's signature, for the holder's file. No secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// Why it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Sealed credentials, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SealedCredentials)]
pub struct SealedListBody {
    /// Those that the caller may see.
    pub sealed_credentials: Vec<SealedBody>,
}

/// A sealed credential that somebody wants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProposeSealed)]
pub struct ProposeSealedBody {
    /// The one service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// The one emergency rule.
    #[schema(value_type = String)]
    pub rule: PolicyId,
    /// Who uses it, like `corp:ana`.
    pub holder: String,
    /// What it is for.
    pub purpose: String,
    /// How long one opening lasts at most; as long as the rule says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub window: Option<Window>,
    /// How long it is good for, like `90d`; 180 days at most.
    #[schema(value_type = String)]
    pub valid_for: Window,
    /// The public half of what opens it (Ed25519, base64url). The private half stays where it was made.
    #[schema(value_type = String)]
    pub public_key: Base64Url,
}

/// Why something ends.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RevokeSealed)]
pub struct RevokeSealedBody {
    /// In words; must not be empty.
    pub why: String,
}

impl From<SealedCredential> for SealedBody {
    fn from(credential: SealedCredential) -> Self {
        let state = credential.state.as_str().to_owned();
        let (sealed_by, expires_at, signed, why) = match credential.state {
            SealedState::Proposed => (None, None, None, None),
            SealedState::Sealed { by, expires_at, signed, .. } => {
                (Some(by.id.to_string()), Some(expires_at), Some(signed), None)
            }
            SealedState::Revoked { why, .. } => (None, None, None, Some(why)),
        };
        Self {
            id: credential.id.to_string(),
            state,
            service: credential.service.to_string(),
            rule: credential.rule.to_string(),
            holder: credential.holder.id.to_string(),
            holder_name: credential.holder_name,
            purpose: credential.purpose,
            window: credential.window,
            valid_for: credential.valid_for,
            public_key: credential.public_key.to_string(),
            proposed_by: credential.proposed_by.id.to_string(),
            proposed_at: credential.proposed_at,
            sealed_by,
            expires_at,
            signed,
            why,
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, propose))
        .routes(routes!(one))
        .routes(routes!(agree))
        .routes(routes!(revoke))
}

/// Sealed credentials, newest first
#[utoipa::path(get, path = "/v1/sealed-credentials", tag = "access", operation_id = "sealed_credentials",
    responses((status = 200, body = SealedListBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<SealedListBody>> {
    let all = api.control.sealed_credentials(&op).await?;
    let sealed_credentials = all.into_iter().map(SealedBody::from).collect();
    Ok(Json(SealedListBody { sealed_credentials }))
}

/// Propose a sealed credential; takes `sealCredential` on its service
#[utoipa::path(post, path = "/v1/sealed-credentials", tag = "access", operation_id = "propose_sealed",
    request_body = ProposeSealedBody, responses((status = 201, body = SealedBody)))]
pub(crate) async fn propose(
    Caller(op): Caller,
    State(api): State<Shared>,
    Body(body): Body<ProposeSealedBody>,
) -> Answer<(StatusCode, Json<SealedBody>)> {
    let (issuer, subject) = body.holder.split_once(':').ok_or_else(|| {
        let message = "is no name; write it like corp:ana".to_owned();
        ControlError::Invalid { field: "holder", message }
    })?;
    let wanted = ProposeSealed {
        service: body.service,
        rule: body.rule,
        holder: PrincipalId::new(PrincipalKind::User, issuer, subject),
        window: body.window,
        valid_for: body.valid_for,
        public_key: body.public_key,
        purpose: body.purpose,
    };
    let proposed = api.control.propose_sealed(&op, wanted).await?;
    Ok((StatusCode::CREATED, Json(proposed.into())))
}

/// One sealed credential
#[utoipa::path(get, path = "/v1/sealed-credentials/{id}", tag = "access", operation_id = "sealed_credential",
    params(("id" = String, Path)), responses((status = 200, body = SealedBody)))]
pub(crate) async fn one(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<SealedBody>> {
    Ok(Json(api.control.sealed_credential(&op, id_of(&id)?).await?.into()))
}

/// Agree to what another person proposed: it is good from then on
#[utoipa::path(post, path = "/v1/sealed-credentials/{id}/agree", tag = "access", operation_id = "agree_sealed",
    params(("id" = String, Path)), responses((status = 200, body = SealedBody)))]
pub(crate) async fn agree(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<SealedBody>> {
    Ok(Json(api.control.agree_sealed(&op, id_of(&id)?).await?.into()))
}

/// Revoke a sealed credential; ends what it opened
#[utoipa::path(post, path = "/v1/sealed-credentials/{id}/revoke", tag = "access", operation_id = "revoke_sealed",
    params(("id" = String, Path)), request_body = RevokeSealedBody,
    responses((status = 200, body = SealedBody)))]
pub(crate) async fn revoke(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Body(body): Body<RevokeSealedBody>,
) -> Answer<Json<SealedBody>> {
    Ok(Json(api.control.revoke_sealed(&op, id_of(&id)?, &body.why).await?.into()))
}

fn id_of(text: &str) -> Answer<SealedId> {
    named(text, "the sealed credential")
}

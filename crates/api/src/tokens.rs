//! `/v1/grants/{id}/tokens` and `/v1/tokens/redeem`: for tools that cannot sign in.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_model::{Grant, GrantId, Secret};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::{Caller, Source},
    error::Answer,
    extract::{Body, named},
    parts::Shared,
    principal::PrincipalBody,
    sign_ins::expose,
};

/// A one-time token, which is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = NewOneTimeToken)]
pub struct NewOneTimeTokenBody {
    /// The token: `pc_once_…`.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub token: Secret,
    /// When it lapses: within a minute.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// What it leads to.
    pub opens: OpensBody,
}

/// A one-time token to be redeemed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemBody {
    /// The one-time token.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub token: Secret,
}

/// A grant token, which is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = NewGrantToken)]
pub struct NewGrantTokenBody {
    /// The token: `pc_grant_…`. It ends with its grant.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub token: Secret,
    /// What it opens at the gate, and nothing else.
    pub opens: OpensBody,
}

/// One grant, as far as whoever holds a token for it needs to know.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Opens)]
pub struct OpensBody {
    /// The grant.
    pub grant: String,
    /// Who holds it, and in whose name the token is used.
    pub principal: PrincipalBody,
    /// The only operation.
    pub operation: String,
    /// Where.
    pub service: String,
    /// On one addressed instance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When the grant's window closes.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// How many requests it may still carry; any number if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
}

impl From<&Grant> for OpensBody {
    fn from(grant: &Grant) -> Self {
        Self {
            grant: grant.id.to_string(),
            principal: (&grant.principal).into(),
            operation: grant.operation.to_string(),
            service: grant.resource.service.to_string(),
            instance: grant.resource.instance.as_ref().map(ToString::to_string),
            expires_at: grant.expires_at,
            uses_left: grant.uses_left(),
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(issue)).routes(routes!(redeem))
}

/// Get a one-time token for my own grant, to hand to a tool; eight a minute at most
#[utoipa::path(post, path = "/v1/grants/{id}/tokens", tag = "access",
    operation_id = "one_time_token", params(("id" = String, Path)),
    responses((status = 201, body = NewOneTimeTokenBody)))]
pub(crate) async fn issue(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<NewOneTimeTokenBody>)> {
    let id: GrantId = named(&id, "the grant")?;
    let made = api.control.one_time_token(&op, id).await?;
    let opens = (&made.grant).into();
    let body = NewOneTimeTokenBody { token: made.token, expires_at: made.expires_at, opens };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Redeem a one-time token, once, for a token that opens its grant at the gate
///
/// The one-time token is the credential, and no other is looked at. Unknown, redeemed and lapsed ones
/// get the same answer: 401.
#[utoipa::path(post, path = "/v1/tokens/redeem", tag = "access", operation_id = "redeem_token",
    security(()), request_body = RedeemBody, responses((status = 201, body = NewGrantTokenBody)))]
pub(crate) async fn redeem(
    Source(source): Source,
    State(api): State<Shared>,
    Body(body): Body<RedeemBody>,
) -> Answer<(StatusCode, Json<NewGrantTokenBody>)> {
    let made = api.control.redeem(&body.token, source).await?;
    let opens = (&made.grant).into();
    Ok((StatusCode::CREATED, Json(NewGrantTokenBody { token: made.token, opens })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_built_is_an_error_and_not_ignored() {
        for more in ["dpop", "certificate", "key"] {
            let body = json!({"token": "pc_once_x", more: "x"});
            let error = serde_json::from_value::<RedeemBody>(body).unwrap_err().to_string();
            assert!(error.contains(more) && !error.contains("pc_once_x"), "{error}");
        }
    }
}

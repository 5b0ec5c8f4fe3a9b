//! `/v1/grants/{id}/tokens` and `/v1/tokens/redeem`: for tools that cannot sign in.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode},
};
use jiff::Timestamp;
use portcullis_control::{ControlError, views::ToolKey};
use portcullis_identity::{
    AuthError,
    dpop::{self, Asked},
};
use portcullis_model::{BoundTo, Grant, GrantId, Secret, Thumbprint};
use serde::{Deserialize, Serialize};
use url::{ParseError, Url};
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

const REDEEM: &str = "/v1/tokens/redeem";

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
    /// Binds the grant token to a client certificate: the base64url of the SHA-256 of its DER
    /// (RFC 8705, `x5t#S256`). To bind it to a key instead, send a proof in the `DPoP` header
    /// (RFC 9449).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub certificate: Option<Thumbprint>,
}

/// The key without which a token is worth nothing (RFC 7800): one of the two.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Confirmation)]
pub struct ConfirmationBody {
    /// The thumbprint of the key that signs the proofs (RFC 9449).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jkt: Option<Thumbprint>,
    /// The thumbprint of the client certificate (RFC 8705).
    #[serde(default, rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub x5t_s256: Option<Thumbprint>,
}

impl From<BoundTo> for ConfirmationBody {
    fn from(bound_to: BoundTo) -> Self {
        match bound_to {
            BoundTo::Key(key) => Self { jkt: Some(key), x5t_s256: None },
            BoundTo::Certificate(certificate) => Self { jkt: None, x5t_s256: Some(certificate) },
        }
    }
}

/// A grant token, which is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = NewGrantToken)]
pub struct NewGrantTokenBody {
    /// The token: `pc_grant_…`. It ends with its grant.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub token: Secret,
    /// The scheme that it is sent with in `Authorization`: `Bearer`, or `DPoP` with a proof for each
    /// request.
    pub token_type: String,
    /// The key without which it is worth nothing; without one, whoever has it may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<ConfirmationBody>,
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
/// get the same answer: 401. With a key of the tool's own the grant token is worth nothing to others: a
/// `DPoP` header with a proof for this call binds it to the proof's key, `certificate` to a client
/// certificate. A proof that does not hold is 401 and spends nothing.
#[utoipa::path(post, path = "/v1/tokens/redeem", tag = "access", operation_id = "redeem_token",
    security(()), request_body = RedeemBody,
    params(("DPoP" = Option<String>, Header, description = "A proof of possession (RFC 9449)")),
    responses((status = 201, body = NewGrantTokenBody)))]
pub(crate) async fn redeem(
    Source(source): Source,
    State(api): State<Shared>,
    headers: HeaderMap,
    Body(body): Body<RedeemBody>,
) -> Answer<(StatusCode, Json<NewGrantTokenBody>)> {
    let url = format!("{}{REDEEM}", api.base_url).parse();
    let url: Url = url.map_err(|error: ParseError| ControlError::Internal(Box::new(error)))?;
    let urls = [url];
    let asked = Asked { method: "POST", urls: &urls, token: None };
    let key = match (proof(&headers)?, body.certificate) {
        (Some(proof), None) => Some(ToolKey::Proof { proof, asked }),
        (None, certificate) => certificate.map(ToolKey::Certificate),
        (Some(_), Some(_)) => {
            let message =
                "cannot stand beside a DPoP proof: a token is bound to one key".to_owned();
            return Err(ControlError::Invalid { field: "certificate", message }.into());
        }
    };
    let made = api.control.redeem(&body.token, key, source).await?;
    let token_type = match made.bound_to {
        Some(BoundTo::Key(_)) => dpop::SCHEME,
        Some(BoundTo::Certificate(_)) | None => "Bearer",
    };
    let body = NewGrantTokenBody {
        token: made.token,
        token_type: token_type.to_owned(),
        cnf: made.bound_to.map(Into::into),
        opens: (&made.grant).into(),
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// The proof that came along, if one did.
fn proof(headers: &HeaderMap) -> Answer<Option<&str>> {
    let mut fields = headers.get_all("dpop").iter();
    match (fields.next().map(HeaderValue::to_str), fields.next()) {
        (None, _) => Ok(None),
        (Some(Ok(proof)), None) => Ok(Some(proof)),
        (Some(_), _) => {
            let why = AuthError::Bad("the `DPoP` header must be there once, with a proof");
            Err(ControlError::Unauthenticated(why).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_built_is_an_error_and_not_ignored() {
        for (more, value) in
            [("dpop", "x"), ("cnf", "x"), ("key", "x"), ("certificate", "x"), ("certificate", "")]
        {
            let body = json!({"token": "pc_once_x", more: value});
            let error = serde_json::from_value::<RedeemBody>(body).unwrap_err().to_string();
            assert!(!error.contains("pc_once_x"), "{error}");
        }
    }
}

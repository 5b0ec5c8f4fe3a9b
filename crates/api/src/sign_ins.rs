//! `/v1/sign-ins` and `/v1/sign-out`: the caller's own sign-ins.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_control::ControlError;
use portcullis_model::{Audience, Held, Secret, ServiceName, SignIn};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, named},
    parts::Shared,
    principal::PrincipalBody,
};

/// A sign-in, without its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SignIn)]
pub struct SignInBody {
    /// Its id, which is no secret.
    pub id: String,
    /// `gate` or `control`.
    #[schema(value_type = String)]
    pub audience: Audience,
    /// Who signed in.
    pub principal: PrincipalBody,
    /// When the person proved who they are.
    #[schema(value_type = String, format = DateTime)]
    pub authenticated_at: Timestamp,
    /// When this sign-in was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The control sign-in that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The only service that it opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where a browser holds it in a cookie: the only origin that it is good at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// A new sign-in with its token, which is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = NewSignIn)]
pub struct NewSignInBody {
    /// The token: `pc_sign_…`.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub token: Secret,
    /// The sign-in.
    pub sign_in: SignInBody,
}

/// The caller's sign-ins.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SignIns)]
pub struct SignInsBody {
    /// All that are in force.
    pub sign_ins: Vec<SignInBody>,
}

/// A sign-in to be made from the one that calls.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeSignInBody {
    /// Always `gate`: control sign-ins come from signing in.
    pub audience: MadeAudience,
    /// For one service only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// Until the sign-in ends that it is made from, and not for ten minutes: for one service, whose streams and
    /// connections hang on it.
    #[serde(default)]
    pub lasting: bool,
}

/// The audiences that a sign-in can be made for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MadeAudience {
    /// At the gate, towards services.
    Gate,
}

impl From<&SignIn> for SignInBody {
    fn from(sign_in: &SignIn) -> Self {
        Self {
            id: sign_in.id.to_string(),
            audience: sign_in.audience,
            principal: (&sign_in.principal).into(),
            authenticated_at: sign_in.authenticated_at,
            created_at: sign_in.created_at,
            expires_at: sign_in.expires_at,
            parent: sign_in.parent.map(|id| id.to_string()),
            service: sign_in.service.as_ref().map(ToString::to_string),
            origin: match &sign_in.held {
                Held::Cookie { origin } => Some(origin.clone()),
                Held::Token => None,
            },
        }
    }
}

/// Puts a token on the wire: only where its owner is told it for the first and last time.
pub(crate) fn expose<S: Serializer>(token: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose())
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, make)).routes(routes!(end)).routes(routes!(sign_out))
}

/// My sign-ins
#[utoipa::path(get, path = "/v1/sign-ins", tag = "identity", operation_id = "sign_ins",
    responses((status = 200, body = SignInsBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<SignInsBody>> {
    let all = api.control.sign_ins(&op).await?;
    Ok(Json(SignInsBody { sign_ins: all.iter().map(SignInBody::from).collect() }))
}

/// Make a sign-in for the gate, for ten minutes at most; for one service longer, if it is to be lasting
#[utoipa::path(post, path = "/v1/sign-ins", tag = "identity", operation_id = "make_sign_in",
    request_body = MakeSignInBody, responses((status = 201, body = NewSignInBody)))]
pub(crate) async fn make(
    Caller(op): Caller,
    State(api): State<Shared>,
    Body(body): Body<MakeSignInBody>,
) -> Answer<(StatusCode, Json<NewSignInBody>)> {
    let MadeAudience::Gate = body.audience;
    let made = match (body.lasting, body.service) {
        (false, service) => api.control.gate_sign_in(&op, service).await?,
        (true, Some(service)) => api.control.lasting_gate_sign_in(&op, service).await?,
        (true, None) => {
            let message = "name the one service that it is for".to_owned();
            return Err(ControlError::Invalid { field: "service", message }.into());
        }
    };
    let sign_in = (&made.sign_in).into();
    Ok((StatusCode::CREATED, Json(NewSignInBody { token: made.token, sign_in })))
}

/// End one of my sign-ins
#[utoipa::path(delete, path = "/v1/sign-ins/{id}", tag = "identity", operation_id = "end_sign_in",
    params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn end(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.control.end_sign_in(&op, named(&id, "the sign-in")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End the sign-in that calls, and all that were made from it
#[utoipa::path(post, path = "/v1/sign-out", tag = "identity", responses((status = 204)))]
pub(crate) async fn sign_out(Caller(op): Caller, State(api): State<Shared>) -> Answer<StatusCode> {
    api.control.sign_out(&op).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n01_a_sign_in_for_control_cannot_be_made_from_another() {
        let body = serde_json::json!({"audience": "control"});
        assert!(serde_json::from_value::<MakeSignInBody>(body).is_err());
    }
}

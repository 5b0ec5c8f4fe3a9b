//! `/v1/whoami`: who the caller is.

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, error::Answer, parts::Shared, principal::PrincipalBody};

/// Who the caller is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = WhoAmI)]
pub struct WhoAmIBody {
    /// The principal.
    pub principal: PrincipalBody,
    /// What to call them.
    pub name: String,
    /// A verified e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// `sign_in` or `jwt`.
    pub method: String,
    /// When they authenticated.
    #[schema(value_type = String, format = DateTime)]
    pub authenticated_at: Timestamp,
    /// When that ends.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(whoami))
}

/// Who I am
#[utoipa::path(get, path = "/v1/whoami", tag = "identity", responses((status = 200, body = WhoAmIBody)))]
pub(crate) async fn whoami(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<WhoAmIBody>> {
    let who = api.control.whoami(&op).await?;
    Ok(Json(WhoAmIBody {
        principal: (&who.principal).into(),
        name: who.name,
        email: who.email,
        groups: who.groups.iter().map(ToString::to_string).collect(),
        method: who.method.to_owned(),
        authenticated_at: who.authenticated_at,
        ends_at: who.ends_at,
    }))
}

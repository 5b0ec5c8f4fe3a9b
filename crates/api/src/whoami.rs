//! `/v1/whoami`: who the caller is.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use jiff::Timestamp;
use portcullis_control::views::Origins;
use portcullis_model::AttributeValue;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller, error::Answer, extract::Search, parts::Shared, principal::PrincipalBody,
};

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
    /// `sign_in`, `jwt` or `run`.
    pub method: String,
    /// When they authenticated.
    #[schema(value_type = String, format = DateTime)]
    pub authenticated_at: Timestamp,
    /// When that ends.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
    /// Where all that came from, if `explain` is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<OriginsBody>,
}

/// Where what is known of the caller came from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Origins)]
pub struct OriginsBody {
    /// How they proved who they are, in words.
    pub scheme: String,
    /// The issuer or provider that vouched for them, as it calls itself.
    pub issuer: String,
    /// How the second half of the principal's name is made from claims.
    pub subject: String,
    /// Claims that policies may read, with their values.
    #[schema(value_type = Object)]
    pub claims: BTreeMap<String, AttributeValue>,
    /// Each group, and what gave it.
    pub groups: BTreeMap<String, String>,
}

/// How much to say.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhoAmIQuery {
    /// Whether to say where it came from.
    #[serde(default)]
    pub explain: bool,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(whoami))
}

/// Who I am
#[utoipa::path(get, path = "/v1/whoami", tag = "identity", params(WhoAmIQuery),
    responses((status = 200, body = WhoAmIBody)))]
pub(crate) async fn whoami(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<WhoAmIQuery>,
) -> Answer<Json<WhoAmIBody>> {
    let who = api.control.whoami(&op).await?;
    let explain = if query.explain { Some(api.control.origins(&op).await?.into()) } else { None };
    Ok(Json(WhoAmIBody {
        principal: (&who.principal).into(),
        name: who.name,
        email: who.email,
        groups: who.groups.iter().map(ToString::to_string).collect(),
        method: who.method.to_owned(),
        authenticated_at: who.authenticated_at,
        ends_at: who.ends_at,
        explain,
    }))
}

impl From<Origins> for OriginsBody {
    fn from(origins: Origins) -> Self {
        let groups = origins.groups.into_iter();
        Self {
            scheme: origins.scheme,
            issuer: origins.issuer,
            subject: origins.subject,
            claims: origins.claims,
            groups: groups.map(|(group, from)| (group.to_string(), from)).collect(),
        }
    }
}

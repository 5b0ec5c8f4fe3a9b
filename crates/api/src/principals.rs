//! `/v1/principals`: who there is, for those who review and audit.

use axum::{Json, extract::State};
use jiff::Timestamp;
use portcullis_control::{Control, OpContext, views::PrincipalView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::Search,
    grants::GrantBody,
    page::{self, PageQuery},
    parts::Shared,
    principal::PrincipalBody,
    sign_ins::SignInBody,
};

/// Somebody who was seen.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SeenPrincipal)]
pub struct SeenPrincipalBody {
    /// Who.
    pub principal: PrincipalBody,
    /// What to call them.
    pub name: String,
    /// A verified e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The human being; the same for all principals of one person. Workloads have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Their groups, as they are now.
    pub groups: Vec<String>,
    /// Whether they may sign in.
    pub active: bool,
    /// Whether the directory keeps them by SCIM: then it has their groups.
    pub provisioned: bool,
    /// When they last signed in, or asked for access.
    #[schema(value_type = String, format = DateTime)]
    pub last_sign_in: Timestamp,
    /// Their sign-ins in force; of a CI job, those of all its runs.
    pub sign_ins: Vec<SignInBody>,
    /// Their grants in force, of those that the caller may see.
    pub grants: Vec<GrantBody>,
}

/// A part of the list, the last seen first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SeenPrincipals)]
pub struct SeenPrincipalsBody {
    /// Them.
    pub principals: Vec<SeenPrincipalBody>,
    /// The cursor of the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The people and workloads that were seen
///
/// Takes `viewAudit`, or the right to review something. Without `viewAudit` or `administer`, grants are those that the caller
/// could review, or revoke.
#[utoipa::path(get, path = "/v1/principals", tag = "identity", operation_id = "principals",
    params(PageQuery), responses((status = 200, body = SeenPrincipalsBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<PageQuery>,
) -> Answer<Json<SeenPrincipalsBody>> {
    let limit = page::limit(query.limit)?;
    let (seen, next) = api.control.people(&op, "", query.cursor.as_deref(), limit).await?;
    let principals = seen.into_iter().map(|seen| body(&api.control, &op, seen)).collect();
    Ok(Json(SeenPrincipalsBody { principals, next }))
}

fn body(control: &Control, op: &OpContext, seen: PrincipalView) -> SeenPrincipalBody {
    let principal = seen.principal;
    SeenPrincipalBody {
        principal: (&principal.id).into(),
        name: principal.name,
        email: principal.email,
        person: principal.person.map(|person| person.to_string()),
        groups: principal.groups.iter().map(ToString::to_string).collect(),
        active: seen.active,
        provisioned: seen.is_provisioned,
        last_sign_in: seen.last_sign_in,
        sign_ins: seen.sign_ins.iter().map(SignInBody::from).collect(),
        grants: seen.grants.into_iter().map(GrantBody::seen_by(control, op)).collect(),
    }
}

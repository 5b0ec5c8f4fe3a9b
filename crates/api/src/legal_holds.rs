//! `/v1/audit/holds`: what stays on record, however old it is, until somebody says otherwise.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_model::{GrantId, HoldScope, IncidentId, LegalHold, LegalHoldId, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, named},
    parts::Shared,
    principal::PrincipalBody,
};

/// Which entries of the record are held: those that all that is given is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HoldScope)]
pub struct HoldScopeBody {
    /// Of this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Of before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// What this principal did, such as `corp:ana`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// What happened at this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// What was done by or for this grant, and how it came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub grant: Option<GrantId>,
    /// What belongs to this incident, with what was asked for and granted for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub incident: Option<IncidentId>,
}

/// A legal hold to be placed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlaceLegalHold)]
pub struct PlaceLegalHoldBody {
    /// What is held; one thing at least.
    pub scope: HoldScopeBody,
    /// Why.
    pub reason: String,
}

/// The end of a legal hold.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReleaseLegalHold)]
pub struct ReleaseLegalHoldBody {
    /// Why.
    pub reason: String,
}

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LegalHold)]
pub struct LegalHoldBody {
    /// Its id.
    pub id: String,
    /// `in_force` or `released`.
    pub state: String,
    /// What is held.
    pub scope: HoldScopeBody,
    /// Why.
    pub reason: String,
    /// Who placed it.
    pub placed_by: PrincipalBody,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub placed_at: Timestamp,
    /// Who released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<PrincipalBody>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub released_at: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_reason: Option<String>,
}

/// All legal holds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = LegalHolds)]
pub struct LegalHoldsBody {
    /// Newest first.
    pub holds: Vec<LegalHoldBody>,
}

impl From<HoldScopeBody> for HoldScope {
    fn from(body: HoldScopeBody) -> Self {
        let HoldScopeBody { since, until, principal, service, grant, incident } = body;
        Self { since, until, principal: principal.map(Into::into), service, grant, incident }
    }
}

impl From<&LegalHold> for LegalHoldBody {
    fn from(hold: &LegalHold) -> Self {
        let HoldScope { since, until, principal, service, grant, incident } = hold.scope.clone();
        let principal = principal.as_deref().map(str::to_owned);
        let released = hold.released.as_ref();
        Self {
            id: hold.id.to_string(),
            state: if hold.is_in_force() { "in_force" } else { "released" }.to_owned(),
            scope: HoldScopeBody { since, until, principal, service, grant, incident },
            reason: hold.reason.clone(),
            placed_by: (&hold.placed_by).into(),
            placed_at: hold.placed_at,
            released_by: released.map(|release| (&release.by).into()),
            released_at: released.map(|release| release.at),
            release_reason: released.map(|release| release.reason.clone()),
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, place)).routes(routes!(release))
}

/// All legal holds, newest first; takes `viewAudit` or `administer`
#[utoipa::path(get, path = "/v1/audit/holds", tag = "audit", operation_id = "legal_holds",
    responses((status = 200, body = LegalHoldsBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<LegalHoldsBody>> {
    let all = api.control.legal_holds(&op).await?;
    Ok(Json(LegalHoldsBody { holds: all.iter().map(LegalHoldBody::from).collect() }))
}

/// Keep a part of the record from retention and erasure; takes `administer`
#[utoipa::path(post, path = "/v1/audit/holds", tag = "audit", operation_id = "place_legal_hold",
    request_body = PlaceLegalHoldBody, responses((status = 201, body = LegalHoldBody)))]
pub(crate) async fn place(
    Caller(op): Caller,
    State(api): State<Shared>,
    Body(body): Body<PlaceLegalHoldBody>,
) -> Answer<(StatusCode, Json<LegalHoldBody>)> {
    let placed = api.control.place_legal_hold(&op, body.scope.into(), &body.reason).await?;
    Ok((StatusCode::CREATED, Json((&placed).into())))
}

/// Release a legal hold; takes `administer`
#[utoipa::path(post, path = "/v1/audit/holds/{id}/release", tag = "audit",
    operation_id = "release_legal_hold", params(("id" = String, Path)),
    request_body = ReleaseLegalHoldBody, responses((status = 200, body = LegalHoldBody)))]
pub(crate) async fn release(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Body(body): Body<ReleaseLegalHoldBody>,
) -> Answer<Json<LegalHoldBody>> {
    let id: LegalHoldId = named(&id, "the legal hold")?;
    let released = api.control.release_legal_hold(&op, id, &body.reason).await?;
    Ok(Json((&released).into()))
}

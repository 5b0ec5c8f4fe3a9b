//! `/v1/grants`: looking at grants, revoking them, giving them back.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use portcullis_control::{
    Control, Cut, OpContext,
    views::{Ask, AskFor},
};
use portcullis_model::{Grant, GrantEnd, GrantId, GrantState, Window};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access_requests::{AccessRequestBody, idempotency_key},
    caller::Caller,
    error::Answer,
    extract::{Body, Search, named},
    page::{self, PageQuery},
    parts::Shared,
    principal::NamedPrincipalBody,
};

/// A grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Grant)]
pub struct GrantBody {
    /// Its id.
    pub id: String,
    /// `in_force` or `ended`.
    pub state: String,
    /// Whether it opens anything at the moment.
    pub in_force: bool,
    /// When it ended, before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Why: `expired`, `revoked`, `used_up`, `given_back`, `idle`, `rule_gone`,
    /// `incident_resolved` or `holder_gone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub end: Option<GrantEnd>,
    /// The access request that it came from.
    pub access_request: String,
    /// Who holds it.
    pub principal: NamedPrincipalBody,
    /// The rule that issued it.
    pub rule: String,
    /// `automatic` or `review`.
    pub kind: String,
    /// How many distinct people approved it.
    pub reviews: u8,
    /// What it covers.
    pub operation: String,
    /// Where.
    pub service: String,
    /// On one addressed instance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The incident that it is for: it ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The digest of the only request that it admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When approval started its clock.
    #[schema(value_type = String, format = DateTime)]
    pub starts_at: Timestamp,
    /// When its window closes.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// How many requests it may carry; any number if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// How many it has carried, if they are counted.
    pub uses: u32,
    /// It ends when nobody uses it for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub idle: Option<Window>,
    /// Where its start is on record; said of one grant, not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<GrantRecordBody>,
}

/// Where the start of a grant is on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = GrantRecord)]
pub struct GrantRecordBody {
    /// The event's position in the log.
    pub seq: u64,
    /// Where its proof is to be had.
    pub proof: String,
}

impl GrantBody {
    /// As it is now, for one who may see it.
    pub(crate) fn seen_by<'a>(
        control: &'a Control,
        op: &'a OpContext,
    ) -> impl Fn(Grant) -> Self + 'a {
        move |grant| {
            let in_force = grant.in_force(op.now());
            let known_as = control.known_as(op, &grant.principal);
            let (state, ended_at, end) = match grant.state {
                GrantState::InForce => ("in_force", None, None),
                GrantState::Ended { at, why, by: _ } => ("ended", Some(at), Some(why)),
            };
            Self {
                id: grant.id.to_string(),
                state: state.to_owned(),
                in_force,
                ended_at,
                end,
                access_request: grant.access_request.to_string(),
                principal: NamedPrincipalBody::new(&grant.principal, known_as),
                rule: grant.rule.to_string(),
                kind: grant.kind.as_str().to_owned(),
                reviews: grant.reviews,
                operation: grant.operation.to_string(),
                service: grant.resource.service.to_string(),
                instance: grant.resource.instance.map(|name| name.to_string()),
                incident: grant.incident.map(|id| id.to_string()),
                digest: grant.digest.map(|digest| digest.to_string()),
                starts_at: grant.starts_at,
                expires_at: grant.expires_at,
                max_uses: grant.max_uses,
                uses: grant.uses,
                idle: grant.idle,
                record: None,
            }
        }
    }
}

/// A part of a list of grants, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Grants)]
pub struct GrantsBody {
    /// The grants.
    pub grants: Vec<GrantBody>,
    /// The cursor of the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(grant))
        .routes(routes!(revoke))
        .routes(routes!(give_back))
        .routes(routes!(extend))
}

/// Grants that I may see, newest first
#[utoipa::path(get, path = "/v1/grants", tag = "access", operation_id = "grants", params(PageQuery),
    responses((status = 200, body = GrantsBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<PageQuery>,
) -> Answer<Json<GrantsBody>> {
    let (limit, before) = (page::limit(query.limit)?, page::cursor(query.cursor.as_deref())?);
    let (grants, next) = api.control.grants_after(&op, before, limit).await?;
    let grants = grants.into_iter().map(GrantBody::seen_by(&api.control, &op)).collect();
    Ok(Json(GrantsBody { grants, next: next.map(|id| id.to_string()) }))
}

/// One grant
#[utoipa::path(get, path = "/v1/grants/{id}", tag = "access", params(("id" = String, Path)),
    responses((status = 200, body = GrantBody)))]
pub(crate) async fn grant(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<GrantBody>> {
    let id = id_of(&id)?;
    let grant = api.control.grant(&op, id).await?;
    let seq = api.control.place_of_grant(&op, id).await?;
    let record = seq.map(|seq| GrantRecordBody { seq, proof: format!("/v1/grants/{id}/proof") });
    Ok(Json(GrantBody { record, ..GrantBody::seen_by(&api.control, &op)(grant) }))
}

/// How a grant is revoked.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevokeQuery {
    /// Wait until every connection that it opened is gone, `50s` at most. A grant that is over already is
    /// no conflict then.
    #[param(value_type = Option<String>)]
    pub wait: Option<Window>,
}

/// A grant that is over. With `wait`, what became of the connections that it had opened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RevokedGrant)]
pub struct RevokedBody {
    /// The grant.
    #[serde(flatten)]
    pub grant: GrantBody,
    /// Whether none of them is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_gone: Option<bool>,
    /// Those that lived when it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Vec<CutBody>>,
    /// Cores of the gate that have not said in time what they carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent_cores: Vec<usize>,
}

/// A connection, and how it ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = CutConnection)]
pub struct CutBody {
    /// Its id.
    pub id: String,
    /// What.
    pub operation: String,
    /// Which instance.
    pub instance: String,
    /// `http`, `grpc`, `websocket` or `sse`.
    pub protocol: String,
    /// Why it is over, as the record says it, such as `grant_ended`; absent if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Bytes that went up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_up: Option<u64>,
    /// Bytes that came down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_down: Option<u64>,
}

impl From<Cut> for CutBody {
    fn from(Cut { connection, over }: Cut) -> Self {
        Self {
            id: connection.id.to_string(),
            operation: connection.operation.to_string(),
            instance: connection.instance.to_string(),
            protocol: connection.protocol.to_owned(),
            ended: over.map(|over| over.why.to_owned()),
            bytes_up: over.map(|over| over.up),
            bytes_down: over.map(|over| over.down),
        }
    }
}

/// Revoke a grant; answered once no gate of this process uses it any more
#[utoipa::path(post, path = "/v1/grants/{id}/revoke", tag = "access",
    params(("id" = String, Path), RevokeQuery), responses((status = 200, body = RevokedBody)))]
pub(crate) async fn revoke(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Search(query): Search<RevokeQuery>,
) -> Answer<Json<RevokedBody>> {
    let (id, body) = (id_of(&id)?, GrantBody::seen_by(&api.control, &op));
    let Some(wait) = query.wait else {
        let grant = body(api.control.revoke(&op, id).await?);
        let (all_gone, connections, silent_cores) = (None, None, Vec::new());
        return Ok(Json(RevokedBody { grant, all_gone, connections, silent_cores }));
    };
    let cuts = api.control.revoke_and_wait(&op, id, wait.get()).await?;
    let all_gone = Some(cuts.all_gone());
    let connections = Some(cuts.connections.into_iter().map(Into::into).collect());
    let (grant, silent_cores) = (body(cuts.grant), cuts.silent);
    Ok(Json(RevokedBody { grant, all_gone, connections, silent_cores }))
}

/// Give my own grant back
#[utoipa::path(post, path = "/v1/grants/{id}/give-back", tag = "access", params(("id" = String, Path)),
    responses((status = 200, body = GrantBody)))]
pub(crate) async fn give_back(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<GrantBody>> {
    let grant = api.control.give_back(&op, id_of(&id)?).await?;
    Ok(Json(GrantBody::seen_by(&api.control, &op)(grant)))
}

/// More of a grant: a new access request that moves its end when it is approved
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Extend)]
pub struct ExtendBody {
    /// Why; must not be empty.
    pub reason: String,
    /// Until when, counted from approval, like `30m`; the way's longest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub duration: Option<Window>,
}

/// Ask for more of my own grant. Connections that it opened live on
#[utoipa::path(post, path = "/v1/grants/{id}/extend", tag = "access", params(("id" = String, Path),
    ("Idempotency-Key" = Option<String>, Header, description = "As for asking.")),
    request_body = ExtendBody, responses((status = 201, body = AccessRequestBody)))]
pub(crate) async fn extend(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(body): Body<ExtendBody>,
) -> Answer<(StatusCode, Json<AccessRequestBody>)> {
    let ExtendBody { reason, duration } = body;
    let ask =
        Ask { what: AskFor::Extension(id_of(&id)?), rule: None, incident: None, reason, duration };
    let view = match idempotency_key(&headers)? {
        Some(key) => api.control.ask_once(&op, key, ask).await?,
        None => api.control.ask(&op, ask).await?,
    };
    Ok((StatusCode::CREATED, Json(view.into())))
}

pub(crate) fn id_of(text: &str) -> Answer<GrantId> {
    named(text, "the grant")
}

//! `/v1/deliveries`: what receivers did not take in the end.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_control::Undelivered;
use portcullis_model::DeliveryId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::named,
    page::{self, PageQuery},
    parts::Shared,
};

/// A message that was set aside.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryBody {
    /// Its id on the list.
    pub id: String,
    /// Who did not take it: `lifecycle tickets`, `teams:payments`.
    pub receiver: String,
    /// `event` or `notice`.
    pub kind: String,
    /// The message's own id; it stays the same however often it is sent.
    pub message: String,
    /// The event's type, or the access request that the notice is about.
    pub about: String,
    /// Its place in the record, if it is an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How often it was sent.
    pub attempts: u32,
    /// Why it was not taken, the last time.
    pub why: String,
    /// When it was set aside.
    #[schema(value_type = String, format = DateTime)]
    pub set_aside_at: Timestamp,
    /// When it was last sent.
    #[schema(value_type = String, format = DateTime)]
    pub tried_at: Timestamp,
    /// What is sent, if it is an event; a notice is written anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
}

/// One part of the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Deliveries)]
pub struct DeliveriesBody {
    /// Newest first.
    pub deliveries: Vec<DeliveryBody>,
    /// The cursor of the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<Undelivered> for DeliveryBody {
    fn from(view: Undelivered) -> Self {
        let body = view.body.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self {
            id: view.id.to_string(),
            receiver: view.receiver,
            kind: view.kind.to_owned(),
            message: view.message,
            about: view.about,
            position: view.position,
            attempts: view.attempts,
            why: view.why,
            set_aside_at: view.set_aside_at,
            tried_at: view.tried_at,
            body,
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(deliveries))
        .routes(routes!(delivery))
        .routes(routes!(redeliver))
        .routes(routes!(drop_delivery))
}

/// What receivers did not take in the end; takes `viewAudit`
#[utoipa::path(get, path = "/v1/deliveries", tag = "audit", operation_id = "deliveries",
    params(PageQuery), responses((status = 200, body = DeliveriesBody)))]
pub(crate) async fn deliveries(
    Caller(op): Caller,
    State(api): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<DeliveriesBody>> {
    let all = api.control.undelivered(&op).await?;
    let part = page::cut(&query, all, |one| one.id, DeliveryBody::from)?;
    Ok(Json(DeliveriesBody { deliveries: part.items, next: part.next }))
}

/// One message that was set aside, with what is sent; takes `viewAudit`
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "audit", operation_id = "delivery",
    params(("id" = String, Path)), responses((status = 200, body = DeliveryBody)))]
pub(crate) async fn delivery(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<DeliveryBody>> {
    let id: DeliveryId = named(&id, "the message")?;
    Ok(Json(api.control.one_undelivered(&op, id).await?.into()))
}

/// Send a message again, now and once; it leaves the list if it arrives. Takes `administer`
#[utoipa::path(post, path = "/v1/deliveries/{id}/redeliver", tag = "audit", operation_id = "redeliver",
    params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn redeliver(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.control.redeliver(&op, named(&id, "the message")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a message from the list; nobody is told of it any more. Takes `administer`
#[utoipa::path(post, path = "/v1/deliveries/{id}/drop", tag = "audit", operation_id = "drop_delivery",
    params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn drop_delivery(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.control.drop_undelivered(&op, named(&id, "the message")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

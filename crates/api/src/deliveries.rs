//! `/v1/deliveries`: what receivers did not take in the end.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use jiff::Timestamp;
use portcullis_control::{AllAgain, Onward, SentAgain, Undelivered};
use portcullis_model::DeliveryId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, named},
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

/// Which messages to send again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = RedeliverAll)]
#[serde(deny_unknown_fields)]
pub struct RedeliverAllBody {
    /// Those of this receiver only; of all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// The `next` of the call before; the beginning if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A message that was not taken again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = NotTakenAgain)]
pub struct NotTakenAgainBody {
    /// Its id on the list, where it still is.
    pub id: String,
    /// Who did not take it.
    pub receiver: String,
    /// Why.
    pub why: String,
}

/// What became of messages that were sent again together.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RedeliveredAll)]
pub struct RedeliveredAllBody {
    /// So many arrived, and left the list.
    pub arrived: u32,
    /// So many left it to follow their access requests again, and arrive when their receiver can be reached.
    pub underway: u32,
    /// Those that were not taken.
    pub not_taken: Vec<NotTakenAgainBody>,
    /// So many were not sent, because their receiver does not take any now.
    pub left: u32,
    /// Where to go on, as `after`; absent if all were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<AllAgain> for RedeliveredAllBody {
    fn from(again: AllAgain) -> Self {
        let not_taken = again.not_taken.into_iter().map(|one| NotTakenAgainBody {
            id: one.id.to_string(),
            receiver: one.receiver,
            why: one.why,
        });
        Self {
            arrived: again.arrived,
            underway: again.underway,
            not_taken: not_taken.collect(),
            left: again.left,
            next: again.next.map(|Onward { after, last }| format!("{after}-{last}")),
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(deliveries))
        .routes(routes!(redeliver_all))
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

/// Send all messages again that were set aside, or those of one receiver, oldest first, as many as can be in a
/// while; `next` goes on. Takes `administer`
#[utoipa::path(post, path = "/v1/deliveries/redeliver", tag = "audit", operation_id = "redeliver_all",
    request_body = RedeliverAllBody, responses((status = 200, body = RedeliveredAllBody)))]
pub(crate) async fn redeliver_all(
    Caller(op): Caller,
    State(api): State<Shared>,
    Body(body): Body<RedeliverAllBody>,
) -> Answer<Json<RedeliveredAllBody>> {
    let onward = |text: String| -> Answer<Onward> {
        let (after, last) = text.split_once('-').unwrap_or_default();
        Ok(Onward { after: named(after, "the message")?, last: named(last, "the message")? })
    };
    let from = body.after.map(onward).transpose()?;
    let again = api.control.redeliver_all(&op, body.receiver.as_deref(), from).await?;
    Ok(Json(again.into()))
}

/// Send a message again, now and once: 204 if it arrived and left the list, 202 if it left it to follow its
/// access request again. Takes `administer`
#[utoipa::path(post, path = "/v1/deliveries/{id}/redeliver", tag = "audit", operation_id = "redeliver",
    params(("id" = String, Path)), responses((status = 204), (status = 202)))]
pub(crate) async fn redeliver(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    Ok(match api.control.redeliver(&op, named(&id, "the message")?).await? {
        SentAgain::Arrived => StatusCode::NO_CONTENT,
        SentAgain::Underway => StatusCode::ACCEPTED,
    })
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

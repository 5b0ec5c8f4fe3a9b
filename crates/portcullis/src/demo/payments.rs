//! The demo's payments service: refunds in memory, behind the gate, trusting it for who asks.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A refund.
#[derive(Debug, Clone, Serialize)]
struct Refund {
    id: String,
    payment: String,
    amount: u64,
    currency: String,
    status: &'static str,
    #[serde(rename = "requestedBy")]
    requested_by: String,
    /// The number of the card that it goes back to, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<&'static str>,
}

/// What a caller sends.
#[derive(Debug, Deserialize)]
struct NewRefund {
    payment: String,
    amount: u64,
    currency: String,
}

type Refunds = Arc<Mutex<Vec<Refund>>>;

/// The service with one refund in it.
pub(super) fn router() -> Router {
    let first = Refund {
        id: "r-1".into(),
        payment: "p-1001".into(),
        amount: 1200,
        currency: "EUR".into(),
        status: "stuck",
        requested_by: "batch".into(),
        card: Some("4111111111111111"),
    };
    let refunds: Refunds = Arc::new(Mutex::new(vec![first]));
    Router::new()
        .route("/v1/refunds", get(list).post(create))
        .route("/v1/refunds/{id}", get(one).delete(cancel))
        .with_state(refunds)
}

async fn list(State(refunds): State<Refunds>) -> Json<Vec<Refund>> {
    Json(refunds.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn one(State(refunds): State<Refunds>, Path(id): Path<String>) -> Response {
    let refunds = refunds.lock().unwrap_or_else(PoisonError::into_inner);
    match refunds.iter().find(|refund| refund.id == id) {
        Some(refund) => Json(refund).into_response(),
        None => missing(&id),
    }
}

async fn create(
    State(refunds): State<Refunds>,
    headers: HeaderMap,
    Json(new): Json<NewRefund>,
) -> Response {
    let mut refunds = refunds.lock().unwrap_or_else(PoisonError::into_inner);
    let caller = headers.get("portcullis-principal").and_then(|value| value.to_str().ok());
    let refund = Refund {
        id: format!("r-{}", refunds.len() + 1),
        payment: new.payment,
        amount: new.amount,
        currency: new.currency,
        status: "done",
        requested_by: caller.unwrap_or("nobody").to_owned(),
        card: None,
    };
    refunds.push(refund.clone());
    (StatusCode::CREATED, Json(refund)).into_response()
}

async fn cancel(State(refunds): State<Refunds>, Path(id): Path<String>) -> Response {
    let mut refunds = refunds.lock().unwrap_or_else(PoisonError::into_inner);
    match refunds.iter_mut().find(|refund| refund.id == id) {
        Some(refund) => {
            refund.status = "cancelled";
            Json(&*refund).into_response()
        }
        None => missing(&id),
    }
}

fn missing(id: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": format!("no refund {id}") }))).into_response()
}

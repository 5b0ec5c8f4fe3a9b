//! The demo's ledger: gRPC in all four kinds, and a ticker over WebSocket.

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::Response,
    routing::{get, post},
};
use tonic::server::Grpc;
use tonic_prost::ProstCodec;
use tower::service_fn;

mod methods;
mod ticker;

/// The service. Paths are as `demo/apis/ledger.proto` has them.
pub(super) fn router() -> Router {
    Router::new()
        .route("/demo.ledger.v1.Ledger/Balance", post(balance))
        .route("/demo.ledger.v1.Ledger/Entries", post(entries))
        .route("/demo.ledger.v1.Ledger/Post", post(posted))
        .route("/demo.ledger.v1.Ledger/Reconcile", post(reconcile))
        .route("/ticker", get(ticker::upgrade))
}

async fn balance(request: Request) -> Response<Body> {
    let mut grpc = Grpc::new(ProstCodec::default());
    grpc.unary(service_fn(methods::balance), request).await.map(Body::new)
}

async fn entries(request: Request) -> Response<Body> {
    let mut grpc = Grpc::new(ProstCodec::default());
    grpc.server_streaming(service_fn(methods::entries), request).await.map(Body::new)
}

async fn posted(request: Request) -> Response<Body> {
    let mut grpc = Grpc::new(ProstCodec::default());
    grpc.client_streaming(service_fn(methods::post), request).await.map(Body::new)
}

async fn reconcile(request: Request) -> Response<Body> {
    let mut grpc = Grpc::new(ProstCodec::default());
    grpc.streaming(service_fn(methods::reconcile), request).await.map(Body::new)
}

//! The control API: axum handlers over [`portcullis_control::Control`].
//!
//! One file per resource, each with the shapes it puts on the wire. A handler turns the wire into
//! model types, calls one use case and turns what comes back into the wire again; it decides
//! nothing. Who may call what is decided in control, and every handler that is not in the short
//! public list takes a `Caller`, which cannot be had without authentication. `GET` never
//! changes state, except for `/sign-in`, whose state is the browser's. Credentials come in the
//! `Authorization` header, or in the cookie of a browser that signed in: then what changes something
//! must come from a page of this origin and carry its token.

pub mod access_requests;
pub mod audit;
mod browser;
pub mod bundle;
pub(crate) mod caller;
pub mod connections;
pub mod connectors;
mod console;
pub mod decisions;
pub mod deliveries;
pub mod device;
pub(crate) mod edge;
pub(crate) mod error;
pub mod events;
pub mod evidence;
pub mod exports;
pub(crate) mod extract;
pub mod grants;
mod idempotency;
pub mod incidents;
pub mod legal_holds;
pub mod making;
mod openapi;
pub mod operations;
pub mod page;
pub mod pages;
pub mod parts;
pub mod passkeys;
pub mod policy;
pub mod principal;
pub mod principals;
pub mod problem_kind;
pub mod proofs;
pub mod refusals;
pub mod reports;
pub mod runs;
pub mod schedules;
mod scim;
pub mod sealed_credentials;
pub mod services;
pub mod sign_ins;
mod slack;
pub mod tokens;
mod trace;
pub mod way;
pub mod whoami;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{any, get},
};
use utoipa_axum::router::OpenApiRouter;

pub use parts::ApiParts;

use crate::{error::ApiError, parts::Shared};

/// The longest body that is read: 256 KiB.
pub const BODY_LIMIT: usize = 256 * 1024;

/// The whole control API. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`:
/// who calls from where goes into the record, and without it authenticated calls answer 500.
pub fn router(parts: ApiParts) -> Router {
    let parts: Shared = Arc::new(parts);
    let (routes, document) = documented().split_for_parts();
    let takers = idempotency::Takers::of(&document);
    let document = openapi::finish(document, &parts.base_url);
    routes
        .merge(pages::routes())
        .merge(browser::routes())
        .merge(console::routes())
        .route("/scim/v2/{*path}", any(scim::nothing))
        .route("/v1/openapi.json", get(async move || axum::Json(document)))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .fallback(async || ApiError::NoSuchPath)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(takers, idempotency::refuse))
        .layer(middleware::from_fn_with_state(Arc::clone(&parts), edge::finish))
        .with_state(parts)
}

fn documented() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::preamble())
        .merge(whoami::routes())
        .merge(services::routes())
        .merge(refusals::routes())
        .merge(access_requests::routes())
        .merge(grants::routes())
        .merge(sealed_credentials::routes())
        .merge(incidents::routes())
        .merge(schedules::routes())
        .merge(connectors::routes())
        .merge(slack::routes())
        .merge(tokens::routes())
        .merge(sign_ins::routes())
        .merge(reports::routes())
        .merge(runs::routes())
        .merge(principals::routes())
        .merge(scim::routes())
        .merge(passkeys::routes())
        .merge(browser::session::routes())
        .merge(connections::routes())
        .merge(device::routes())
        .merge(audit::routes())
        .merge(legal_holds::routes())
        .merge(proofs::routes())
        .merge(evidence::routes())
        .merge(exports::routes())
        .merge(deliveries::routes())
        .merge(decisions::routes())
        .merge(bundle::routes())
        .merge(policy::routes())
        .merge(events::routes())
        .merge(operations::routes())
}

#[cfg(test)]
mod tests;

//! `Idempotency-Key`: taken by the calls whose documentation says so, and refused by all others that
//! create. A caller who sends one relies on it; a call that ignored it would be made twice.

use std::{collections::HashSet, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use portcullis_control::ControlError;
use utoipa::openapi::OpenApi;

use crate::error::ApiError;

/// The header's name; it is compared in any case.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The calls that take one, by their paths as they are documented.
#[derive(Debug, Clone)]
pub(crate) struct Takers(Arc<HashSet<String>>);

impl Takers {
    /// Those of `document`.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let posts = document.paths.paths.iter().filter_map(|(path, item)| {
            let params = item.post.as_ref()?.parameters.as_ref()?;
            params.iter().any(|param| param.name == IDEMPOTENCY_KEY).then(|| path.clone())
        });
        Self(Arc::new(posts.collect()))
    }
}

/// Refuses a key where none is taken.
pub(crate) async fn refuse(
    State(takers): State<Takers>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let sent = request.method() == Method::POST && request.headers().contains_key(IDEMPOTENCY_KEY);
    let refused = sent && path.is_some_and(|path| !takers.0.contains(path.as_str()));
    if !refused {
        return next.run(request).await;
    }
    let mut known: Vec<_> = takers.0.iter().map(String::as_str).collect();
    known.sort_unstable();
    let message =
        format!("this call takes none, so leave it out; {} take one", known.join(" and "));
    ApiError::from(ControlError::Invalid { field: IDEMPOTENCY_KEY, message }).into_response()
}

//! `Idempotency-Key`: taken by the calls whose documentation says so, and refused by all others that
//! create. A caller who sends one relies on it; a call that ignored it would be made twice.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use portcullis_control::ControlError;
use utoipa::openapi::{OpenApi, RefOr, path::Parameter};

use crate::error::ApiError;

/// The header's name; it is compared in any case.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The calls that take one, by their paths as they are documented.
#[derive(Debug, Clone)]
pub(crate) struct Takers(Arc<[String]>);

impl Takers {
    /// Those of `document`.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let posts = document.paths.paths.iter().filter_map(|(path, item)| {
            let params = item.post.as_ref()?.parameters.as_ref()?;
            params.iter().any(is_key).then(|| path.clone())
        });
        Self(posts.collect())
    }

    fn take(&self, path: &str) -> bool {
        self.0.iter().any(|known| {
            let mut parts = known.split('/').zip(path.split('/'));
            known.split('/').count() == path.split('/').count()
                && parts.all(|(known, part)| known == part || known.starts_with('{'))
        })
    }
}

fn is_key(param: &RefOr<Parameter>) -> bool {
    matches!(param, RefOr::T(param) if param.name == IDEMPOTENCY_KEY)
}

/// Refuses a key where none is taken.
pub(crate) async fn refuse(State(takers): State<Takers>, request: Request, next: Next) -> Response {
    let sent = request.method() == Method::POST && request.headers().contains_key(IDEMPOTENCY_KEY);
    if !sent || takers.take(request.uri().path()) {
        return next.run(request).await;
    }
    let known = takers.0.join(" and ");
    let message = format!("this call takes none, so leave it out; {known} take one");
    ApiError::from(ControlError::Invalid { field: IDEMPOTENCY_KEY, message }).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_whole_path() {
        let takers = Takers(["/v1/grants/{id}/extend".to_owned()].into());
        assert!(takers.take("/v1/grants/01KB/extend"));
        for other in ["/v1/grants/01KB/revoke", "/v1/grants/01KB", "/v1/grants/a/extend/", "/"] {
            assert!(!takers.take(other), "{other}");
        }
    }
}

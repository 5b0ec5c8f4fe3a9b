//! What every answer gets on its way out: a request id, security headers, finished problems.

use std::panic::AssertUnwindSafe;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use portcullis_model::{RequestId, problem::PROBLEM_JSON};
use tracing::Instrument;

use crate::{
    error::{ApiError, Unfinished},
    parts::{ApiParts, Shared},
    problem_kind::ProblemKind,
    trace::Call,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("portcullis-request-id");

/// Wraps every route and both fallbacks.
pub(crate) async fn finish(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let id = RequestId::new(api.clock.now(), api.entropy.as_ref()).to_string();
    let span = tracing::info_span!("api.call", request = %id, method = %request.method());
    let traced = Call::begin(&api, &id, &request);
    let mut response = answered(next.run(request)).instrument(span).await;
    finish_problem(&api, &id, &mut response);
    if let Some(traced) = traced {
        traced.answered(&api, response.status());
    }
    secure(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// A panic is the end of one call: 500, and whoever else is served goes on. What was not committed
/// did not happen.
async fn answered(answer: impl Future<Output = Response>) -> Response {
    let caught = AssertUnwindSafe(answer).catch_unwind().await;
    caught.unwrap_or_else(|_| ApiError::Panicked.into_response())
}

fn finish_problem(api: &ApiParts, id: &str, response: &mut Response) {
    let status = response.status().as_u16();
    let unfinished = match response.extensions_mut().remove::<Unfinished>() {
        Some(unfinished) => unfinished,
        // Whatever a library answered by itself, such as a body that broke off.
        None if status >= 400 && !has_body_of_ours(response.headers()) => Unfinished {
            kind: ProblemKind::of_status(status),
            detail: "the request could not be read".to_owned(),
            ..Unfinished::default()
        },
        None => return,
    };
    let kind = unfinished.kind.unwrap_or(ProblemKind::Internal);
    let problem = unfinished.finish(kind, &api.base_url, id.to_owned());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    *response.body_mut() = Body::from(body);
}

/// The pages, the readiness report and SCIM answer errors in a shape of their own.
fn has_body_of_ours(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let ours = ["text/html", "application/json", "application/scim+json"];
    kind.is_some_and(|kind| ours.iter().any(|ours| kind.starts_with(ours)))
}

fn secure(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in fixed {
        // The pages bring a policy of their own.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f13_a_panic_over_a_call_is_a_500_that_says_nothing_of_it() {
        let panics = || -> Response { std::panic::panic_any("a-secret-in-a-panic") };
        let response = answered(async move { panics() }).now_or_never().unwrap();
        assert_eq!(response.status(), 500);
        let unfinished = response.extensions().get::<Unfinished>().unwrap();
        assert_eq!(unfinished.kind, Some(ProblemKind::Internal));
        assert!(!unfinished.detail.contains("a-secret"), "{}", unfinished.detail);
        let sound = answered(async { Response::default() }).now_or_never().unwrap();
        assert_eq!(sound.status(), 200);
    }
}

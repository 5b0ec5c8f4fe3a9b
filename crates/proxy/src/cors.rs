//! Pages of other origins that a service is shared with (Fetch, "HTTP-CORS protocol").
//!
//! A browser asks beforehand, without credentials, so the gate answers that itself: nothing is decided
//! and nothing forwarded. What a page may read is then said on every answer, refusals included, so that
//! an application can tell its user why. It opens nothing: who asks is still to be identified, and the
//! gate's own cookie stays good for pages of its own origin only.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts,
};
use hyper::body::Body;
use portcullis_model::{Refusal, ServiceName};
use portcullis_policy::edge::{Cors, Origins};

use crate::{
    body::DownBody,
    canonical::{self, single::Present},
    exchange::Exchange,
    filter::{remove_matching, request::REQUEST_ID},
    serve::sign_in,
};

/// What a page may read beside what any page may: what the gate says.
const EXPOSED: &str = "Portcullis-Request-Id, Portcullis-Grant, Portcullis-Refusal, Portcullis-Masked, Preference-Applied, Retry-After, WWW-Authenticate";
/// What a preflight's answer depends on.
const ASKED: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// Whether a request may be a browser's question before its request.
pub(crate) fn may_be_preflight(exchange: &Exchange, headers: &HeaderMap) -> bool {
    exchange.method == Method::OPTIONS
        && exchange.present.has(Present::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && exchange.body.as_ref().is_none_or(Body::is_end_stream)
}

/// The answer to a preflight; `None` where the service is not shared with its origin: then it is a
/// request like any other.
pub(crate) fn preflight(
    exchange: &mut Exchange,
    parts: &Parts,
) -> Result<Option<Response<DownBody>>, Refusal> {
    let peer = &exchange.peer;
    let parts = parts.clone();
    let request = canonical::read(parts, exchange.present, peer.tls.as_ref(), &peer.last_host)?;
    exchange.reads_as(&request);
    let snapshot = exchange.snapshot.clone();
    let Some((service, cors)) = shared(exchange, &snapshot) else { return Ok(None) };
    let origin = exchange.origin.as_deref();
    let Some(origin) = origin.and_then(|origin| allowed(cors, origin)) else { return Ok(None) };
    let status = StatusCode::NO_CONTENT;
    exchange.core.metrics.answered(exchange.answered(Some(service), "preflight", status));
    let mut response = Response::new(DownBody::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow(headers, cors, origin);
    for (name, text) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, &cors.methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers),
    ] {
        insert(headers, name, text);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age));
    headers.insert(header::VARY, HeaderValue::from_static(ASKED));
    headers.insert(REQUEST_ID, exchange.id_header.clone());
    Ok(Some(response))
}

/// Says on an answer whose pages may read it, instead of what an upstream said about that.
pub(crate) fn say(exchange: &Exchange, response: &mut Response<DownBody>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let Some((_, cors)) = shared(exchange, &exchange.snapshot) else { return };
    let headers = response.headers_mut();
    remove_matching(headers, is_cors);
    if cors.origins != Origins::Any || cors.credentials {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let origin = exchange.origin.as_deref();
    let Some(origin) = origin.and_then(|origin| allowed(cors, origin)) else { return };
    allow(headers, cors, origin);
    match cors.expose.as_str() {
        "" => insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        more => {
            let all = format!("{EXPOSED}, {more}");
            insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, &all);
        }
    }
}

/// How the service of a request is shared, if it is; the gate's own pages never are.
fn shared<'a>(
    exchange: &Exchange,
    snapshot: &'a portcullis_policy::Snapshot,
) -> Option<(&'a ServiceName, &'a Cors)> {
    let catalog = snapshot.bundle().catalog();
    let service = match &exchange.service {
        Some(name) => catalog.service(name)?,
        None if sign_in::is_own(exchange.path()) => return None,
        None => catalog.route(exchange.host(), exchange.path())?.service,
    };
    let source = service.source();
    Some((&source.name, source.edge.cors.as_ref()?))
}

/// What to say to pages of `origin`, if it is one of those.
fn allowed(cors: &Cors, origin: &HeaderValue) -> Option<HeaderValue> {
    match &cors.origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::These(these) => {
            let is_one = these.iter().any(|one| one.as_bytes() == origin.as_bytes());
            is_one.then(|| origin.clone())
        }
    }
}

fn allow(headers: &mut HeaderMap, cors: &Cors, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.credentials {
        let yes = HeaderValue::from_static("true");
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

fn is_cors(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-")
}

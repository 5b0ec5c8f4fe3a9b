//! Says no: in the client's protocol, on the record, and with what would change the answer.

pub(crate) mod grpc;
pub(crate) mod html;
pub(crate) mod problem;
mod rest;

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use portcullis_identity::dpop;
use portcullis_model::{
    REFUSAL_HEADER, Refusal, RefusalMark,
    refusal::{Unavailable, UpstreamTrouble},
};

use crate::{
    body::DownBody,
    browser,
    canonical::Speaks,
    exchange::{Exchange, Key},
    filter::request::REQUEST_ID,
    hold,
    ports::KeptRefusal,
    ports::RecordBroken,
    record,
    spans::Phase,
    tunnel::PROTOCOL,
};

/// Marks every refusal, in whatever protocol and form, and no answer of an upstream.
const REFUSAL: HeaderName = HeaderName::from_static(REFUSAL_HEADER);

/// Answers `refusal`. Never forwards, never fails.
pub(crate) async fn refuse(exchange: &mut Exchange, mut refusal: Refusal) -> Response<DownBody> {
    exchange.spans.enter(Phase::Refuse);
    if let Refusal::Requestable(requestable) = &mut refusal {
        keep(exchange, requestable).await;
    }
    let led = browser::lead(exchange, &refusal);
    let status = led.as_ref().map_or_else(|| problem::status(&refusal), Response::status);
    if let Err(RecordBroken) = record::refused(exchange, &refusal, status) {
        refusal = Refusal::Unavailable(Unavailable::Record);
    }
    let rest = rest::dispose(exchange).await;
    let recorded = !matches!(refusal, Refusal::Unavailable(_));
    let mut response = led.filter(|_| recorded).unwrap_or_else(|| answer(exchange, &refusal));
    browser::clean_up(exchange, response.headers_mut());
    let headers = response.headers_mut();
    mark(headers, &refusal);
    headers.insert(REQUEST_ID, exchange.id_header.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let ends = rest == rest::Rest::Unread || leaves_doubt(exchange, &refusal);
    if ends && exchange.peer_speaks_http1 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Says that it is the gate which refuses: an upstream cannot say that, whatever else it imitates.
pub(crate) fn mark(headers: &mut HeaderMap, refusal: &Refusal) {
    if let Ok(mark) = HeaderValue::try_from(RefusalMark::from(refusal).to_string()) {
        headers.insert(REFUSAL, mark);
    }
}

/// Whether what stands behind the request may be something else than the next one: the rest of a
/// message that reads two ways, or early data of a tunnel that was never opened.
fn leaves_doubt(exchange: &Exchange, refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Malformed(_) | Refusal::HeadTooLarge(_) | Refusal::TooSlow)
        || exchange.method == Method::CONNECT
        || exchange.speaks == Speaks::Tcp
}

/// Keeps a requestable refusal so that it can be asked about, and says who could review it.
async fn keep(exchange: &Exchange, requestable: &mut portcullis_model::refusal::Requestable) {
    let Some(identity) = exchange.identity.as_ref().map(Rc::clone) else { return };
    let refusals = &exchange.core.parts.refusals;
    let kept = KeptRefusal {
        principal: identity.subject.principal().id.clone(),
        request: exchange.id,
        operation: requestable.operation.clone(),
        resource: portcullis_model::Resource {
            service: requestable.service.clone(),
            instance: exchange.instance.clone(),
        },
        digest: requestable.digest.clone(),
        summary: hold::summary(exchange),
        ways: requestable.ways.clone(),
        body: exchange.shown.as_deref().cloned(),
        time: exchange.now,
    };
    requestable.id = refusals.keep(kept).await;
    let reviewers = refusals.reviewers(&requestable.operation);
    for way in requestable.ways.iter_mut().filter(|way| way.reviews > 0) {
        way.reviewers.clone_from(&reviewers);
    }
}

fn answer(exchange: &Exchange, refusal: &Refusal) -> Response<DownBody> {
    let problem = problem::of(exchange, refusal);
    let mut response = match exchange.speaks {
        Speaks::Grpc => return grpc::response(refusal, &problem),
        Speaks::Http | Speaks::WebSocket | Speaks::Tcp if exchange.prefers_html => {
            let ask = problem.ask_url.as_deref().map(|url| browser::ask(exchange, url));
            html::response(&problem, ask.as_deref(), browser::step_up(exchange, refusal).as_deref())
        }
        Speaks::Http | Speaks::WebSocket | Speaks::Tcp => problem::response(&problem),
    };
    *response.status_mut() = problem::status(refusal);
    let headers = response.headers_mut();
    match refusal {
        Refusal::Unauthenticated | Refusal::BadCredentials(_) => {
            let by_proof = exchange.key == Key::Proof;
            let scheme = if by_proof { dpop::CHALLENGE } else { "Bearer" };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        Refusal::MethodNotAllowed => {
            let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        // RFC 9110 section 15.5.22.
        Refusal::SpeaksTcp(_) => {
            headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        }
        Refusal::Limited { retry_after } => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
        }
        Refusal::Unavailable(Unavailable::Overloaded)
        | Refusal::Upstream(UpstreamTrouble::Overloaded) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Refusal::Malformed(_)
        | Refusal::TooSlow
        | Refusal::CrossOrigin
        | Refusal::Denied(_)
        | Refusal::Requestable(_)
        | Refusal::Declined(_)
        | Refusal::NotFound
        | Refusal::TooLarge(_)
        | Refusal::HeadTooLarge(_)
        | Refusal::Misdirected
        | Refusal::NotRepresentable(_)
        | Refusal::Unavailable(_)
        | Refusal::Upstream(_) => {}
    }
    debug_assert!(response.status() != StatusCode::OK, "a refusal is no success");
    response
}

#[cfg(test)]
mod tests;

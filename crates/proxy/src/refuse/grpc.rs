//! Refusals as gRPC says them: a status in the headers of an answer without a body.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use portcullis_model::{
    Problem, Refusal,
    refusal::{Unavailable, UpstreamTrouble, Waited},
};

use crate::{
    body::{DownBody, in_words},
    ports::ConnectionEnd,
};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const INVALID_ARGUMENT: u16 = 3;
const DEADLINE_EXCEEDED: u16 = 4;
const NOT_FOUND: u16 = 5;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const FAILED_PRECONDITION: u16 = 9;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

/// The gRPC status of each refusal.
pub(crate) const fn status(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::Malformed(_) | Refusal::NotRepresentable(_) => INVALID_ARGUMENT,
        Refusal::MethodNotAllowed => UNIMPLEMENTED,
        Refusal::Unauthenticated | Refusal::BadCredentials(_) => UNAUTHENTICATED,
        // It was the caller's own deadline that passed.
        Refusal::Requestable(what)
            if matches!(what.waited, Some(Waited { by_caller: true, .. })) =>
        {
            DEADLINE_EXCEEDED
        }
        Refusal::CrossOrigin
        | Refusal::Denied(_)
        | Refusal::Requestable(_)
        | Refusal::Declined(_) => PERMISSION_DENIED,
        Refusal::NotFound => NOT_FOUND,
        Refusal::TooLarge(_) | Refusal::HeadTooLarge(_) | Refusal::Limited { .. } => {
            RESOURCE_EXHAUSTED
        }
        Refusal::Misdirected | Refusal::SpeaksTcp(_) => FAILED_PRECONDITION,
        Refusal::Unavailable(Unavailable::Internal)
        | Refusal::Upstream(UpstreamTrouble::Opaque) => INTERNAL,
        Refusal::Unavailable(_)
        | Refusal::Upstream(
            UpstreamTrouble::Unreachable | UpstreamTrouble::Broken | UpstreamTrouble::Overloaded,
        ) => UNAVAILABLE,
        Refusal::TooSlow | Refusal::Upstream(UpstreamTrouble::TimedOut) => DEADLINE_EXCEEDED,
    }
}

/// A refusal as a trailers-only answer; the HTTP status is 200, as the protocol wants it.
pub(super) fn response(refusal: &Refusal, problem: &Problem) -> Response<DownBody> {
    let mut response = Response::new(DownBody::whole(Bytes::new()));
    let mut message = problem.detail.clone().unwrap_or_else(|| problem.title.clone());
    if let Some(ask) = &problem.ask {
        message.push_str("; ");
        message.push_str(ask);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    add(headers, status(refusal), &message);
    response
}

/// The trailers of a stream that is cut.
pub(crate) fn cut_trailers(end: ConnectionEnd) -> HeaderMap {
    let status = match end {
        ConnectionEnd::ShuttingDown
        | ConnectionEnd::UpstreamGone
        | ConnectionEnd::ClientGone
        | ConnectionEnd::Finished => UNAVAILABLE,
        ConnectionEnd::GrantEnded
        | ConnectionEnd::SignInEnded
        | ConnectionEnd::PolicyChanged
        | ConnectionEnd::Flooding
        | ConnectionEnd::Idle
        | ConnectionEnd::MessageDenied
        | ConnectionEnd::Closed => PERMISSION_DENIED,
        ConnectionEnd::MessageUnreadable => INVALID_ARGUMENT,
        ConnectionEnd::TooMuch => RESOURCE_EXHAUSTED,
        ConnectionEnd::Opaque => INTERNAL,
    };
    let mut trailers = HeaderMap::with_capacity(2);
    add(&mut trailers, status, in_words(end));
    trailers
}

fn add(headers: &mut HeaderMap, status: u16, message: &str) {
    /// The protocol percent-encodes what is outside visible ASCII, and the percent sign.
    const ENCODED: AsciiSet = CONTROLS.add(b'%');
    headers.insert(STATUS, HeaderValue::from(status));
    let message = utf8_percent_encode(message, &ENCODED).to_string();
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert(MESSAGE, message);
    }
}

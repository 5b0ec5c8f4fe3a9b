//! The header section that an upstream gets.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{fold, remove_matching, strip_hop_by_hop};
use crate::canonical::{Authority, single::Present};

const PRINCIPAL: HeaderName = HeaderName::from_static("portcullis-principal");
const ASSERTION: HeaderName = HeaderName::from_static("portcullis-assertion");
/// Names one request in the record.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("portcullis-request-id");
/// W3C trace context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Removes what a client may not tell an upstream. Called before routing and digests, so that what
/// they read is what will be sent. `present` may tell of more than is left, never of less. Returns what
/// `Connection` named, which may not come behind the body either.
pub(crate) fn strip(headers: &mut HeaderMap, present: Present) -> Vec<HeaderName> {
    let nominated =
        if present.has(Present::HOP_BY_HOP) { strip_hop_by_hop(headers) } else { Vec::new() };
    if present.has(Present::EXPECT) {
        headers.remove(header::EXPECT);
    }
    // What others noted about a trace that is not continued (W3C Trace Context, 4.3).
    if present.has(Present::TRACESTATE) && !present.has(Present::TRACEPARENT) {
        headers.remove(TRACESTATE);
    }
    headers.remove(header::HOST);
    if present.has(Present::RESERVED) {
        remove_matching(headers, fold::is_reserved);
    }
    // A token of ours that was not the one used must not leave the house either.
    let ours = |value: &HeaderValue| {
        value
            .as_bytes()
            .rsplit(|b| *b == b' ')
            .next()
            .is_some_and(|token| token.starts_with(b"pc_"))
    };
    if present.has(Present::AUTHORIZATION) && headers.get(header::AUTHORIZATION).is_some_and(ours) {
        headers.remove(header::AUTHORIZATION);
    }
    nominated
}

/// What the gate says about a request.
#[derive(Debug)]
pub(crate) struct Own<'a> {
    pub(crate) principal: &'a HeaderValue,
    pub(crate) assertion: Option<HeaderValue>,
    pub(crate) request_id: &'a HeaderValue,
    pub(crate) traceparent: Option<HeaderValue>,
    /// The client's address, as text.
    pub(crate) client: &'a HeaderValue,
    /// `for=…;proto=…`, without the host.
    pub(crate) forwarded: &'a str,
    pub(crate) tls: bool,
    pub(crate) authority: &'a Authority,
}

/// Adds the gate's own headers, after everything that a client could touch.
pub(crate) fn add(headers: &mut HeaderMap, own: Own<'_>) {
    headers.reserve(9);
    headers.insert(PRINCIPAL, own.principal.clone());
    headers.insert(REQUEST_ID, own.request_id.clone());
    if let Some(assertion) = own.assertion {
        headers.insert(ASSERTION, assertion);
    }
    if let Some(traceparent) = own.traceparent {
        headers.insert(TRACEPARENT, traceparent);
    }
    headers.insert(X_FORWARDED_FOR, own.client.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme(own.tls)));
    headers.insert(X_FORWARDED_HOST, own.authority.header().clone());
    let forwarded = || forwarded(own.forwarded, own.authority.header());
    if let Some(forwarded) = own.authority.forwarded(forwarded) {
        headers.insert(header::FORWARDED, forwarded);
    }
}

/// `http` or `https`.
pub(crate) const fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// RFC 7239, replaced and never appended to: a client's own text cannot break out of its quotes.
fn forwarded(start: &str, authority: &HeaderValue) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(start.len() + authority.len() + 8);
    text.extend_from_slice(start.as_bytes());
    text.extend_from_slice(b";host=\"");
    text.extend_from_slice(authority.as_bytes());
    text.push(b'"');
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
}

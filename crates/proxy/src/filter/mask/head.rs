//! The header sections around a masked answer: what is asked of an upstream, and what of its head may pass.
//!
//! Entity tags, digests, lengths and parts say something about a text that the client does not get, and are
//! gone. So is every header that is not known to say nothing about data; of the few that lead somewhere or
//! keep a session, those pass that look like nothing sensitive.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, response::Parts,
};

use super::{Framing, Rules, Trouble, answer::Kind, coding, telling::tells};
use crate::filter::remove_matching;

/// Asks for nothing that could not be masked. RFC 9110: a server may always answer as if these were not
/// there; what would make a change depend on a tag that no client was given is refused.
pub(crate) fn of_request(method: &Method, headers: &mut HeaderMap) -> Result<(), &'static str> {
    const CONDITIONS: [HeaderName; 3] =
        [header::IF_NONE_MATCH, header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
    let is_safe = method.is_safe();
    let are_any = |name: &HeaderName| {
        headers.get_all(name).iter().all(|value| value.as_bytes().trim_ascii() == b"*")
    };
    if !is_safe && !CONDITIONS.iter().all(are_any) {
        return Err(NO_TAGS);
    }
    remove_matching(headers, |name| match *name {
        header::RANGE | header::IF_RANGE | header::IF_MODIFIED_SINCE => true,
        header::IF_NONE_MATCH | header::IF_MATCH | header::IF_UNMODIFIED_SINCE => is_safe,
        _ => matches!(
            name.as_str(),
            "a-im"
                | "want-digest"
                | "want-content-digest"
                | "want-repr-digest"
                | "available-dictionary"
        ),
    });
    if headers.contains_key(GRPC_ACCEPTS) {
        headers.insert(GRPC_ACCEPTS, HeaderValue::from_static("identity"));
    }
    let accepted = accepted(headers);
    headers.insert(header::ACCEPT_ENCODING, accepted);
    Ok(())
}

/// The codings of messages that a gRPC client takes.
const GRPC_ACCEPTS: HeaderName = HeaderName::from_static("grpc-accept-encoding");

const NO_TAGS: &str =
    "answers of this service are masked and have no entity tags, so no change can depend on one";

/// Of the codings that a client takes, those that can be undone.
fn accepted(headers: &HeaderMap) -> HeaderValue {
    let mut accepted = Vec::new();
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for item in value.as_bytes().split(|byte| *byte == b',') {
            let name = item.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            if coding::ASKED.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
                accepted.push(item.trim_ascii());
            }
        }
    }
    let identity = HeaderValue::from_static("identity");
    if accepted.is_empty() {
        return identity;
    }
    HeaderValue::from_bytes(&accepted.join(&b", "[..])).unwrap_or(identity)
}

/// What the answer to `method` is made of, by its head; and the head loses what must not pass.
pub(crate) fn of_answer(method: &Method, head: &mut Parts, rules: &Rules) -> Result<Kind, Trouble> {
    let is_part = head.status == StatusCode::PARTIAL_CONTENT
        || head.status == StatusCode::NOT_MODIFIED
        || head.headers.contains_key(header::CONTENT_RANGE);
    if is_part {
        return Err(Trouble::Unasked);
    }
    let has_none = *method == Method::HEAD
        || head.status.is_informational()
        || head.status == StatusCode::NO_CONTENT
        || head.status == StatusCode::RESET_CONTENT;
    let kind = if has_none { Kind::Nothing } else { kind(&head.headers)? };
    // HTTP/1 lets a server put words beside a status.
    head.extensions.clear();
    of_headers(&mut head.headers, rules);
    Ok(kind)
}

/// Takes from an answer that agrees to another protocol what must not pass.
pub(crate) fn of_upgrade<B>(response: &mut Response<B>, rules: &Rules) {
    response.extensions_mut().clear();
    of_headers(response.headers_mut(), rules);
}

fn of_headers(headers: &mut HeaderMap, rules: &Rules) {
    remove_matching(headers, |name| !is_harmless(name) && !may_lead(name));
    withhold(headers, rules);
}

/// Takes from the trailers of a call what must not pass.
pub(crate) fn of_trailers(trailers: &mut HeaderMap, rules: &Rules) {
    remove_matching(trailers, |name| !matches!(name.as_str(), "grpc-status" | "grpc-message"));
    withhold(trailers, rules);
}

/// By the content type, of which there is one, in UTF-8. A body of none of these kinds has to be empty.
fn kind(headers: &HeaderMap) -> Result<Kind, Trouble> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (one, other) = (types.next(), types.next());
    let Some(text) = one else { return Ok(Kind::Nothing) };
    if other.is_none() && text == "application/json" {
        return Ok(Kind::Json(Framing::One));
    }
    let text = text.to_str().map_err(|_| Trouble::Type)?;
    if other.is_some() || !is_utf8(text) {
        return Err(Trouble::Type);
    }
    Ok(Kind::of(text))
}

/// Whether no parameter says that it is anything else.
fn is_utf8(content_type: &str) -> bool {
    content_type.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset")
            || ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
    })
}

/// Headers that are about the exchange, and never about data.
fn is_harmless(name: &HeaderName) -> bool {
    // Names that have a number are compared by that: most of those that come.
    match *name {
        header::AGE
        | header::ALLOW
        | header::CACHE_CONTROL
        | header::CONNECTION
        | header::CONTENT_LANGUAGE
        | header::CONTENT_SECURITY_POLICY
        | header::CONTENT_TYPE
        | header::DATE
        | header::EXPIRES
        | header::PRAGMA
        | header::REFERRER_POLICY
        | header::RETRY_AFTER
        | header::SERVER
        | header::STRICT_TRANSPORT_SECURITY
        | header::UPGRADE
        | header::VARY
        | header::VIA
        | header::WWW_AUTHENTICATE
        | header::X_CONTENT_TYPE_OPTIONS
        | header::X_FRAME_OPTIONS => true,
        header::CONTENT_LENGTH
        | header::CONTENT_ENCODING
        | header::ETAG
        | header::LAST_MODIFIED
        | header::ACCEPT_RANGES => false,
        _ => is_harmless_by_name(name.as_str()),
    }
}

fn is_harmless_by_name(name: &str) -> bool {
    const STARTS: [&str; 4] =
        ["access-control-", "cross-origin-", "ratelimit", "sec-websocket-accept"];
    let is_known =
        matches!(name, "clear-site-data" | "grpc-status" | "permissions-policy" | "x-request-id");
    is_known || STARTS.iter().any(|start| name.starts_with(start))
}

/// Headers that lead somewhere or keep a session.
fn may_lead(name: &HeaderName) -> bool {
    match *name {
        header::LOCATION
        | header::CONTENT_LOCATION
        | header::LINK
        | header::SET_COOKIE
        | header::SEC_WEBSOCKET_PROTOCOL => true,
        _ => name.as_str() == "grpc-message",
    }
}

/// Values that look like something sensitive go, whatever header they are in.
fn withhold(headers: &mut HeaderMap, rules: &Rules) {
    let is_fine = |value: &HeaderValue| !tells(value.as_bytes(), rules);
    if headers.values().all(is_fine) {
        return;
    }
    let doomed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| !headers.get_all(*name).iter().all(is_fine))
        .cloned()
        .collect();
    for name in doomed {
        let kept: Vec<HeaderValue> =
            headers.get_all(&name).iter().filter(|value| is_fine(value)).cloned().collect();
        headers.remove(&name);
        for value in kept {
            headers.append(&name, value);
        }
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

//! What a service wants changed in the headers of its requests and answers.
//!
//! Requests are changed when their route is found, and before their operation is: operation, digest, decision
//! and the upstream see the same headers. What the gate itself reads, sets or frames by cannot be named by a
//! rule, in whatever spelling: what a rule changes it changes in all of them.

use http::{HeaderMap, HeaderName};
use portcullis_policy::edge::{HeaderChanges, HeaderRules};

use super::fold;
use crate::canonical::single::Present;

/// Changes a request as its service wants it.
pub(crate) fn of_request(rules: &HeaderRules, headers: &mut HeaderMap) {
    // Another spelling of a name that is set or removed may be the same to the service.
    for name in rules.request.remove.iter().chain(rules.request.set.keys()) {
        super::remove_matching(headers, |other| fold::are_alike(name.get(), other));
    }
    put(&rules.request, headers);
}

/// Changes an answer as its service wants it.
pub(crate) fn of_response(rules: &HeaderRules, headers: &mut HeaderMap) {
    for name in &rules.response.remove {
        headers.remove(name.get());
    }
    put(&rules.response, headers);
}

fn put(changes: &HeaderChanges, headers: &mut HeaderMap) {
    for (name, value) in &changes.set {
        headers.insert(name.get(), value.get().clone());
    }
    for (name, value) in &changes.add {
        headers.append(name.get(), value.get().clone());
    }
}

/// What the gate reads of requests.
const READ: [&str; 15] = [
    "authorization",
    "content-type",
    "content-length",
    "content-encoding",
    "expect",
    "grpc-timeout",
    "accept",
    "cookie",
    "origin",
    "traceparent",
    "tracestate",
    "prefer",
    "dpop",
    "proxy-status",
    "sec-websocket-key",
];

/// What belongs to one connection.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// What messages are framed and understood by.
const FRAMING: [&str; 7] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "trailer",
    "expect",
];

/// Why no rule may name this header of a request; `None` if one may.
pub fn kept_from_requests(name: &HeaderName) -> Option<&'static str> {
    if fold::is_reserved(name) {
        return Some("it says who asks, and only the gate does");
    }
    let read = Present::named(name) != Present::default();
    if read || is_like(name, &READ) || is_like(name, &HOP_BY_HOP) || is_like(name, &FRAMING) {
        return Some("the gate reads it, or frames messages by it");
    }
    (starts_like(name, "sec-") || starts_like(name, "access-control-"))
        .then_some("the gate reads it, or browsers vouch for it")
}

/// Why no rule may name this header of an answer; `None` if one may.
pub fn kept_from_responses(name: &HeaderName) -> Option<&'static str> {
    if fold::is_ours(name) || is_like(name, &["set-cookie", "www-authenticate"]) {
        return Some("only the gate, or the service itself, says that");
    }
    if starts_like(name, "access-control-") {
        return Some("`cors` is for that");
    }
    let framed = is_like(name, &HOP_BY_HOP) || is_like(name, &FRAMING);
    (framed || starts_like(name, "grpc-") || starts_like(name, "sec-websocket-"))
        .then_some("messages are framed and read by it")
}

/// Whether `name` is another spelling of one of `kept`.
fn is_like(name: &HeaderName, kept: &[&'static str]) -> bool {
    kept.iter().any(|kept| fold::are_alike(name, &HeaderName::from_static(kept)))
}

/// Whether `name` starts with `prefix`, however its parts are put together.
fn starts_like(name: &HeaderName, prefix: &str) -> bool {
    name.as_str().replace(['_', '.'], "-").starts_with(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
        pairs.collect()
    }

    fn rules(text: &str) -> HeaderRules {
        serde_json::from_str(text).expect("rules")
    }

    #[test]
    fn c02_what_is_set_or_removed_is_so_in_every_spelling() {
        let rules = rules(
            r#"{"request": {"set": {"X-Team": "shop"}, "add": {"Via-Gate": "2"}, "remove": ["Accept-Encoding"]}, "response": {}}"#,
        );
        let mut own = headers(&[
            ("x-team", "evil"),
            ("x_team", "evil"),
            ("x.team", "evil"),
            ("via-gate", "1"),
            ("accept-encoding", "br"),
            ("accept_encoding", "br"),
            ("x-teams", "stays"),
        ]);
        of_request(&rules, &mut own);
        let mut left: Vec<_> = own.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [("via-gate", "1"), ("via-gate", "2"), ("x-team", "shop"), ("x-teams", "stays")]
        );
    }

    #[test]
    fn c01_what_says_who_asks_or_frames_messages_is_not_for_rules() {
        let name = |text: &str| HeaderName::from_bytes(text.as_bytes()).expect("a name");
        for kept in [
            "Portcullis-Principal",
            "X-Forwarded-For",
            "X_Forwarded_For",
            "Forwarded",
            "Authorization",
            "Cookie",
            "Host",
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
            "Content-Type",
            "Upgrade",
            "TE",
            "Trailer",
            "Expect",
            "Origin",
            "Prefer",
            "Sec-WebSocket-Key",
            "Sec-Fetch-Site",
            "grpc-timeout",
            "traceparent",
            // Other spellings of what is kept.
            "contentlength",
            "author-ization",
            "Transfer.Encoding",
            "_Cookie",
            "sec_fetch_site",
            "Access_Control-Request-Method",
            "up-grade",
            "D-PoP",
        ] {
            assert!(kept_from_requests(&name(kept)).is_some(), "{kept}");
        }
        for kept in [
            "Portcullis-Grant",
            "Set-Cookie",
            "Transfer-Encoding",
            "Content-Length",
            "Content-Type",
            "Connection",
            "Access-Control-Allow-Origin",
            "grpc-status",
            "WWW-Authenticate",
            "Upgrade",
            "setcookie",
            "Content_Length",
            "trans-ferencoding",
            "access.control.allow.origin",
            "grpc_status",
        ] {
            assert!(kept_from_responses(&name(kept)).is_some(), "{kept}");
        }
        for free in ["X-Team", "Accept-Encoding", "User-Agent", "Secret-Team", "Hosted-By"] {
            assert!(kept_from_requests(&name(free)).is_none(), "{free}");
        }
        for free in ["Server", "Strict-Transport-Security", "Cache-Control", "Vary"] {
            assert!(kept_from_responses(&name(free)).is_none(), "{free}");
        }
    }
}

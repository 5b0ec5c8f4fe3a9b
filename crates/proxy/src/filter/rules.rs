//! What a service wants changed in the headers of its requests and answers.
//!
//! Requests are changed before anything reads them: route, policy, digest and the upstream see the same
//! headers. What the gate itself reads, sets or frames by cannot be named by a rule.

use http::{HeaderMap, HeaderName, header};
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

/// Why no rule may name this header of a request; `None` if one may.
pub fn kept_from_requests(name: &HeaderName) -> Option<&'static str> {
    if fold::is_reserved(name) {
        return Some("it says who asks, and only the gate does");
    }
    if Present::named(name) != Present::default() || is_framing(name) {
        return Some("the gate reads it, or frames messages by it");
    }
    let text = name.as_str();
    let read = ["prefer", "dpop", "tracestate", "proxy-status"].contains(&text);
    (read || text.starts_with("sec-") || text.starts_with("access-control-"))
        .then_some("the gate reads it, or browsers vouch for it")
}

/// Why no rule may name this header of an answer; `None` if one may.
pub fn kept_from_responses(name: &HeaderName) -> Option<&'static str> {
    if fold::is_ours(name) || *name == header::SET_COOKIE || *name == header::WWW_AUTHENTICATE {
        return Some("only the gate, or the service itself, says that");
    }
    let text = name.as_str();
    if text.starts_with("access-control-") {
        return Some("`cors` is for that");
    }
    let read = Present::named(name).has(Present::HOP_BY_HOP) || is_framing(name);
    (read || text.starts_with("grpc-") || text.starts_with("sec-websocket-"))
        .then_some("messages are framed and read by it")
}

fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "connection"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "content-range"
            | "trailer"
            | "expect"
    )
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
        ] {
            assert!(kept_from_responses(&name(kept)).is_some(), "{kept}");
        }
        for free in ["X-Team", "Accept-Encoding", "User-Agent"] {
            assert!(kept_from_requests(&name(free)).is_none(), "{free}");
        }
        for free in ["Server", "Strict-Transport-Security", "Cache-Control", "Vary"] {
            assert!(kept_from_responses(&name(free)).is_none(), "{free}");
        }
    }
}

//! What passes in a header section, and what the gate says about itself in it.
//!
//! The order is the promise: first hop-by-hop headers and whatever `Connection` nominates leave,
//! then every spelling of a header that upstreams may take for an identity, and the gate's own come
//! last. So a client can neither set nor remove what an upstream trusts.

pub(crate) mod assertion;
pub(crate) mod fold;
pub(crate) mod mask;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod rules;
pub(crate) mod trailers;

use http::{HeaderMap, HeaderName, header};

use crate::canonical::{framing::tokens, single::Present};

/// Removes what belongs to this hop, nominated headers first. Returns their names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) -> Vec<HeaderName> {
    // Two words that most connections say, and the headers of that name are removed below.
    let is_name = |token: &&[u8]| {
        !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close")
    };
    let nominated: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter(is_name)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect();
    for name in &nominated {
        headers.remove(name);
    }
    // RFC 9110 section 7.6.1: no header has this name, so that none is nominated by it.
    headers.remove("close");
    remove_matching(headers, |name| Present::named(name).has(Present::HOP_BY_HOP));
    nominated
}

/// Removes every header that `drop` points at.
pub(crate) fn remove_matching(headers: &mut HeaderMap, drop: impl Fn(&HeaderName) -> bool) {
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| drop(name)).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;

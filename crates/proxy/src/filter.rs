//! What passes in a header section, and what the gate says about itself in it.
//!
//! The order is the promise: first hop-by-hop headers and whatever `Connection` nominates leave,
//! then every spelling of a header that upstreams may take for an identity, and the gate's own come
//! last. So a client can neither set nor remove what an upstream trusts.

pub(crate) mod assertion;
pub(crate) mod fold;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod trace;

use http::{HeaderMap, HeaderName, header};

use crate::canonical::framing::tokens;

/// Headers that belong to one hop (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Whether `name` belongs to one hop, whatever `Connection` says.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// Removes what belongs to this hop, nominated headers first.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Two words that most connections say name no header that is not removed below.
    let is_name = |token: &&[u8]| {
        !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close")
    };
    let nominated: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter(is_name)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect();
    for name in nominated {
        headers.remove(name);
    }
    // A pass over what is there costs less than a look-up for each name that may be.
    let there = |headers: &HeaderMap, hop: &HeaderName| headers.keys().any(|name| name == hop);
    for hop in &HOP_BY_HOP {
        if there(headers, hop) {
            headers.remove(hop);
        }
    }
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

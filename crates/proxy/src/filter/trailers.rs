//! What passes behind a body.
//!
//! Whoever reads trailers may merge them into the head (RFC 9110 section 6.5.1), where all that decides has been
//! decided and filtered already. So what could have changed a head does not pass behind one: what this hop alone
//! may say, what speaks in the gate's name, and what was taken from this very head.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use portcullis_policy::{catalog::HeaderParams, edge::HeaderRules};

use super::{fold, remove_matching, strip_hop_by_hop};

/// What the trailers of one message must not be taken for, beside what those of any message must not.
#[derive(Debug)]
pub(crate) struct Withheld {
    /// The headers in which the operation has parameters.
    pub(crate) declared: Option<HeaderParams>,
    /// What the service wants changed in headers.
    pub(crate) rules: Option<Arc<HeaderRules>>,
    /// What `Connection` named in the head, and left with it.
    pub(crate) nominated: Vec<HeaderName>,
}

impl Withheld {
    /// On the heap, and only if there is any of it: most messages have neither that nor trailers.
    pub(crate) fn boxed(self) -> Option<Box<Self>> {
        let is_any = self.declared.is_some() || self.rules.is_some() || !self.nominated.is_empty();
        is_any.then(|| Box::new(self))
    }

    /// Whether an upstream may take `name` for something that its service changed, or a client nominated, in the head.
    fn has_of_request(&self, name: &HeaderName) -> bool {
        let alike = |other: &HeaderName| fold::are_alike(name, other);
        let changed = |rules: &Arc<HeaderRules>| {
            let mut names = rules.request.remove.iter().chain(rules.request.set.keys());
            names.any(|name| alike(name.get()))
        };
        self.declared.as_ref().is_some_and(|declared| declared.has(name))
            || self.rules.as_ref().is_some_and(changed)
            || self.nominated.iter().any(alike)
    }

    /// The same for an answer, where names are what they are.
    fn has_of_answer(&self, name: &HeaderName) -> bool {
        let changed = |rules: &Arc<HeaderRules>| {
            let mut names = rules.response.remove.iter().chain(rules.response.set.keys());
            names.any(|other| other.get() == name)
        };
        self.rules.as_ref().is_some_and(changed) || self.nominated.contains(name)
    }
}

/// Trailers of a request: those that could be merged into a header section that decides are dropped, and so are
/// those `withheld`.
pub(crate) fn of_request(trailers: &mut HeaderMap, withheld: Option<&Withheld>) {
    strip_hop_by_hop(trailers);
    let forbidden = |name: &HeaderName| {
        fold::is_reserved(name)
            || withheld.is_some_and(|withheld| withheld.has_of_request(name))
            || matches!(
                name.as_str(),
                "host"
                    | "authorization"
                    | "cookie"
                    | "content-length"
                    | "content-type"
                    | "content-encoding"
                    | "expect"
                    | "trailer"
            )
    };
    remove_matching(trailers, forbidden);
}

/// Trailers of an answer: as its head, they say nothing in the gate's name, set no cookies, and have nothing that
/// belongs to one hop, for which an answer that is whole would break off in HTTP/2 (RFC 9113 section 8.2.2).
pub(crate) fn of_answer(trailers: &mut HeaderMap, withheld: Option<&Withheld>) {
    strip_hop_by_hop(trailers);
    let forbidden = |name: &HeaderName| {
        fold::is_ours(name)
            || *name == header::SET_COOKIE
            || withheld.is_some_and(|withheld| withheld.has_of_answer(name))
    };
    remove_matching(trailers, forbidden);
}

//! What a header section holds of the headers that the gate reads or removes, found in one pass
//! instead of a look-up for each; and the rule for those that decide something: each at most once,
//! in plain ASCII.

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_model::Refusal;

use crate::filter::fold;

/// The gate's own credential header.
pub(crate) const PORTCULLIS_AUTHORIZATION: HeaderName =
    HeaderName::from_static("portcullis-authorization");
/// A proof of possession (RFC 9449).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");
/// Addresses one instance.
pub(crate) const PORTCULLIS_INSTANCE: HeaderName = HeaderName::from_static("portcullis-instance");
/// How long a gRPC client waits.
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A set of headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Present(u32);

impl Present {
    pub(crate) const AUTHORIZATION: Self = Self(1);
    pub(crate) const PORTCULLIS_AUTHORIZATION: Self = Self(1 << 1);
    pub(crate) const PORTCULLIS_INSTANCE: Self = Self(1 << 2);
    pub(crate) const CONTENT_TYPE: Self = Self(1 << 3);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 4);
    pub(crate) const CONTENT_ENCODING: Self = Self(1 << 5);
    pub(crate) const EXPECT: Self = Self(1 << 6);
    pub(crate) const UPGRADE: Self = Self(1 << 7);
    pub(crate) const GRPC_TIMEOUT: Self = Self(1 << 8);
    pub(crate) const CONNECTION: Self = Self(1 << 9);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 10);
    pub(crate) const TE: Self = Self(1 << 11);
    pub(crate) const ACCEPT: Self = Self(1 << 12);
    pub(crate) const TRACEPARENT: Self = Self(1 << 13);
    /// Anything that belongs to one hop, whatever `Connection` says (RFC 9110 section 7.6.1).
    pub(crate) const HOP_BY_HOP: Self = Self(1 << 14);
    /// Anything that a client may not set, in whatever spelling.
    pub(crate) const RESERVED: Self = Self(1 << 15);
    pub(crate) const COOKIE: Self = Self(1 << 18);
    pub(crate) const ORIGIN: Self = Self(1 << 19);
    pub(crate) const TRACESTATE: Self = Self(1 << 20);
    const TWICE: Self = Self(1 << 16);
    const NOT_ASCII: Self = Self(1 << 17);
    /// The headers that decide something.
    const DECISIVE: Self = Self((1 << 9) - 1);

    /// What is in `headers`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for (name, value) in headers {
            let this = Self::named(name);
            let decisive = Self(this.0 & Self::DECISIVE.0);
            if decisive != Self::default() {
                present.add(Self::TWICE, present.has(decisive));
                present.add(Self::NOT_ASCII, !is_visible(value));
            }
            present.add(this, true);
            present.add(Self::RESERVED, fold::is_reserved(name));
        }
        present
    }

    /// Whether any of `these` is there.
    pub(crate) const fn has(self, these: Self) -> bool {
        self.0 & these.0 != 0
    }

    /// Refuses duplicates and bytes that are not visible ASCII in any header that a decision reads.
    pub(crate) const fn check(self) -> Result<(), Refusal> {
        if self.has(Self::TWICE) {
            return Err(Refusal::Malformed("a header that decides something is there twice"));
        }
        if self.has(Self::NOT_ASCII) {
            return Err(Refusal::Malformed("a header that decides something is not plain ASCII"));
        }
        Ok(())
    }

    /// All but `those`.
    pub(crate) const fn without(self, those: Self) -> Self {
        Self(self.0 & !those.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn add(&mut self, this: Self, is_there: bool) {
        if is_there {
            self.0 |= this.0;
        }
    }

    /// What one header is.
    pub(crate) fn named(name: &HeaderName) -> Self {
        match name.as_str() {
            "authorization" => Self::AUTHORIZATION,
            "portcullis-authorization" => Self::PORTCULLIS_AUTHORIZATION,
            "portcullis-instance" => Self::PORTCULLIS_INSTANCE,
            "content-type" => Self::CONTENT_TYPE,
            "content-length" => Self::CONTENT_LENGTH,
            "content-encoding" => Self::CONTENT_ENCODING,
            "expect" => Self::EXPECT,
            "upgrade" => Self::UPGRADE.and(Self::HOP_BY_HOP),
            "grpc-timeout" => Self::GRPC_TIMEOUT,
            "connection" => Self::CONNECTION.and(Self::HOP_BY_HOP),
            "transfer-encoding" => Self::TRANSFER_ENCODING.and(Self::HOP_BY_HOP),
            "te" => Self::TE.and(Self::HOP_BY_HOP),
            "accept" => Self::ACCEPT,
            "cookie" => Self::COOKIE,
            "origin" => Self::ORIGIN,
            "traceparent" => Self::TRACEPARENT,
            "tracestate" => Self::TRACESTATE,
            "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings" => Self::HOP_BY_HOP,
            _ => Self::default(),
        }
    }
}

/// As [`HeaderValue::to_str`] has it, on many bytes at once: tokens are long.
fn is_visible(value: &HeaderValue) -> bool {
    // INVARIANT: no header value holds control characters; what is not visible is not ASCII.
    value.as_bytes().is_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn visible_is_what_the_library_calls_so(
            bytes in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                prop_assert_eq!(is_visible(&value), value.to_str().is_ok());
            }
        }

        #[test]
        fn present_is_what_look_ups_find(
            names in proptest::collection::vec(
                "(authorization|portcullis-(authorization|instance)|content-(type|length|encoding)|expect\
                 |upgrade|grpc-timeout|connection|transfer-encoding|te|accept|traceparent|x-[a-z]{1,3}\
                 |keep-alive|proxy-(connection|authenticate|authorization)|http2-settings|x-forwarded-for|host)", 0..8
            )
        ) {
            let value = HeaderValue::from_static("v");
            let mut headers = HeaderMap::new();
            for name in &names {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.clone());
            }
            let present = Present::of(&headers);
            let mut decisive_twice = false;
            for name in headers.keys() {
                let this = Present::named(name);
                prop_assert!(this == Present::default() || present.has(this));
                let count = headers.get_all(name).iter().count();
                decisive_twice |= this.has(Present::DECISIVE) && count > 1;
            }
            for (name, this) in [
                ("te", Present::TE), ("upgrade", Present::UPGRADE), ("accept", Present::ACCEPT),
                ("connection", Present::CONNECTION), ("authorization", Present::AUTHORIZATION),
            ] {
                prop_assert_eq!(present.has(this), headers.contains_key(name));
            }
            prop_assert_eq!(present.check().is_err(), decisive_twice);
            prop_assert_eq!(present.has(Present::RESERVED), headers.keys().any(fold::is_reserved));
            let hop = [
                "connection", "keep-alive", "proxy-connection", "proxy-authenticate",
                "proxy-authorization", "te", "transfer-encoding", "upgrade", "http2-settings",
            ];
            let belongs_to_hop = |name: &HeaderName| hop.contains(&name.as_str());
            prop_assert_eq!(present.has(Present::HOP_BY_HOP), headers.keys().any(belongs_to_hop));
        }
    }
}

//! SPIFFE IDs, read strictly.

use std::{fmt, str::FromStr, sync::Arc};

const LONGEST_ID: usize = 2048;
const LONGEST_DOMAIN: usize = 255;
const SCHEME: &str = "spiffe://";

/// A text that is no SPIFFE ID or no trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSpiffeId(&'static str);

/// A trust domain's name: `prod.example.com` (SPIFFE-ID, 2.1).
///
/// Only what the specification allows: lower-case letters, digits, `.`, `-` and `_`. Names are never
/// folded, so two that differ are two.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// The name of a workload in a trust domain: `spiffe://prod.example.com/ns/payments/sa/api`
/// (SPIFFE-ID, 2). Without a path it would name the domain and no workload, so it needs one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    domain: TrustDomain,
    path: Box<str>,
}

impl TrustDomain {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From `spiffe://prod.example.com`, as trust bundles are keyed.
    pub fn of_id(text: &str) -> Result<Self, InvalidSpiffeId> {
        text.strip_prefix(SCHEME).unwrap_or(text).parse()
    }
}

impl SpiffeId {
    /// The domain that vouches for it.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if text.is_empty() || text.len() > LONGEST_DOMAIN {
            return Err(InvalidSpiffeId("a trust domain has 1 to 255 characters"));
        }
        if !text.bytes().all(allowed) {
            return Err(InvalidSpiffeId(
                "a trust domain is made of lower-case letters, digits, `.`, `-` and `_`, like prod.example.com",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > LONGEST_ID {
            return Err(InvalidSpiffeId("the SPIFFE ID is longer than 2048 bytes"));
        }
        let rest = text.strip_prefix(SCHEME);
        let rest = rest.ok_or(InvalidSpiffeId("the name is not a SPIFFE ID"))?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        let domain = domain.parse()?;
        if path.is_empty() {
            return Err(InvalidSpiffeId("the SPIFFE ID names a trust domain and no workload"));
        }
        if !path.split('/').all(is_segment) {
            return Err(InvalidSpiffeId("the path of the SPIFFE ID is not well-formed"));
        }
        Ok(Self { domain, path: format!("/{path}").into() })
    }
}

/// Letters, digits, `.`, `-` and `_`; neither empty nor relative. So there is no query, no fragment,
/// no encoding and no control character, and one name has one spelling.
fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({self})")
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.domain, self.path)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_is_a_domain_and_a_path() {
        let id: SpiffeId = "spiffe://prod.example.com/ns/pay/sa/Api_1".parse().unwrap();
        assert_eq!((id.domain().as_str(), id.path()), ("prod.example.com", "/ns/pay/sa/Api_1"));
        assert_eq!(id.to_string(), "spiffe://prod.example.com/ns/pay/sa/Api_1");
    }

    #[test]
    fn one_name_has_one_spelling() {
        for bad in [
            "",
            "prod.example.com/a",
            "SPIFFE://prod.example.com/a",
            "spiffe:/prod.example.com/a",
            "spiffe://",
            "spiffe:///a",
            "spiffe://prod.example.com",
            "spiffe://prod.example.com/",
            "spiffe://prod.example.com/a/",
            "spiffe://prod.example.com//a",
            "spiffe://prod.example.com/./a",
            "spiffe://prod.example.com/../a",
            "spiffe://prod.example.com/a?b",
            "spiffe://prod.example.com/a#b",
            "spiffe://prod.example.com/a%62",
            "spiffe://prod.example.com/a b",
            "spiffe://prod.example.com/a\0",
            "spiffe://prod.example.com\0.evil.example/a",
            "spiffe://Prod.example.com/a",
            "spiffe://user@prod.example.com/a",
            "spiffe://prod.example.com:443/a",
            "https://prod.example.com/a",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad:?}");
        }
        assert!(format!("spiffe://a/{}", "b".repeat(3000)).parse::<SpiffeId>().is_err());
    }

    #[test]
    fn a_bundle_is_keyed_by_its_domain_with_or_without_the_scheme() {
        assert_eq!(TrustDomain::of_id("spiffe://a.b").unwrap(), "a.b".parse().unwrap());
        assert_eq!(TrustDomain::of_id("a.b").unwrap(), "a.b".parse().unwrap());
        assert!(TrustDomain::of_id("spiffe://a.b/c").is_err());
    }
}

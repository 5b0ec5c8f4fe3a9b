//! Opaque access tokens: who presents one is asked at whoever issued it (RFC 7662).
//!
//! Which issuer that is follows from configuration and from the token's own prefix, before anybody
//! is asked: a token goes to one issuer at most, and an answer is good for the question that it was
//! given to and for no other. Nothing that has the form of a JWT, and nothing that Portcullis issued
//! itself, is ever asked about.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use portcullis_model::{Clock, Secret};
use tokio::runtime::Handle;

use crate::{
    AuthError, Authenticated, ConfigError, EndpointUrl, IssuerUrl, Mapping, ProviderClient,
    Unverified, jws, workloads::Verified,
};

mod answer;
mod limits;
mod source;

pub use source::Again;
use source::Introspector;

/// For how long an answer is good, at most. Default 30 s.
pub const LONGEST_ANSWER: Duration = Duration::from_secs(30);
/// Longer than any honest opaque token.
const MAX_TOKEN: usize = 4096;
/// What all tokens that Portcullis issues begin with.
const OURS: &str = "pc_";

/// Where an issuer answers questions about its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Introspection {
    /// Where its discovery document says.
    Discovered {
        /// The issuer.
        issuer: IssuerUrl,
        /// Hosts, besides the issuer's own, that the document may point to.
        endpoint_hosts: Vec<String>,
    },
    /// Here.
    At {
        /// The endpoint.
        endpoint: EndpointUrl,
        /// What `iss` must be, where the answer names it.
        issuer: Option<IssuerUrl>,
    },
}

/// One issuer of opaque workload tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpaqueIssuer {
    /// Its name in configuration: the first half of its principals' names.
    pub name: String,
    /// Where it is asked.
    pub introspection: Introspection,
    /// Who Portcullis is there.
    pub client_id: String,
    /// Proves it (`client_secret_basic`).
    pub client_secret: Secret,
    /// What its tokens begin with; needed where there are several issuers.
    pub prefix: Option<String>,
    /// What `aud` must be or hold, if anything.
    pub audience: Option<String>,
    /// What `scope` must hold, all of it.
    pub scopes: Vec<String>,
    /// What its principals are called, and what is known of them.
    pub mapping: Mapping,
    /// For how long an answer is good, at most.
    pub answer: Duration,
}

impl OpaqueIssuer {
    /// What the issuer calls itself, as far as that is known.
    pub(crate) fn issuer(&self) -> Option<&IssuerUrl> {
        match &self.introspection {
            Introspection::Discovered { issuer, .. } => Some(issuer),
            Introspection::At { issuer, .. } => issuer.as_ref(),
        }
    }

    /// The issuer as people are told it.
    fn in_words(&self) -> String {
        let place = match &self.introspection {
            Introspection::Discovered { issuer, .. } => issuer.to_string(),
            Introspection::At { endpoint, .. } => endpoint.to_string(),
        };
        self.issuer().map_or(place, ToString::to_string)
    }
}

/// Whether `prefixes` tell all opaque tokens apart: by the issuer's name, what is wrong.
pub fn check_prefixes(prefixes: &[(&str, Option<&str>)]) -> Result<(), ConfigError> {
    let refused = |name: &str, why| Err(ConfigError::Prefix { issuer: name.to_owned(), why });
    for (at, (name, prefix)) in prefixes.iter().enumerate() {
        let Some(prefix) = prefix else {
            if prefixes.len() == 1 {
                return Ok(());
            }
            return refused(
                name,
                "of several issuers each needs a `prefix`, or one would be shown \
                                  the other's tokens",
            );
        };
        if !is_token(prefix) || prefix.starts_with(OURS) {
            return refused(
                name,
                "`prefix` is what its tokens begin with: letters, digits and \
                                  `-._~+/`, and not `pc_`",
            );
        }
        let clash = |(other, (_, theirs)): (usize, &(&str, Option<&str>))| {
            other != at && theirs.is_some_and(|theirs| theirs.starts_with(prefix))
        };
        if prefixes.iter().enumerate().any(clash) {
            return refused(name, "another issuer's `prefix` begins with this one");
        }
    }
    Ok(())
}

/// All issuers of opaque tokens.
#[derive(Debug, Default)]
pub(crate) struct Introspectors(Vec<Arc<Introspector>>);

impl Introspectors {
    pub(crate) fn new(
        issuers: Vec<OpaqueIssuer>,
        client: &ProviderClient,
        clock: &Arc<dyn Clock>,
        control: &Handle,
    ) -> Result<Self, ConfigError> {
        let prefixes: Vec<_> =
            issuers.iter().map(|one| (one.name.as_str(), one.prefix.as_deref())).collect();
        check_prefixes(&prefixes)?;
        let mut names = HashSet::new();
        if let Some(twice) = issuers.iter().find(|one| !names.insert(one.name.clone())) {
            return Err(ConfigError::DuplicateName(twice.name.clone()));
        }
        let each = issuers.into_iter();
        Ok(Self(each.map(|one| Introspector::new(one, client, clock, control)).collect()))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|one| one.name())
    }

    /// The names of the issuers that do not answer.
    pub(crate) fn unavailable(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|one| one.is_silent()).map(|one| one.name())
    }

    /// What is known of `token`, without waiting; `None` if it is no opaque token.
    pub(crate) fn try_verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<Result<Verified, Unverified>> {
        self.asked_about(token).map(|chosen| chosen?.try_verify(token, now))
    }

    /// Who presents `token`, waiting for its issuer; `None` if it is no opaque token.
    pub(crate) async fn authenticate(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<Result<Authenticated, AuthError>> {
        match self.asked_about(token)? {
            Ok(chosen) => Some(chosen.authenticate(token, now).await),
            Err(error) => Some(Err(error)),
        }
    }

    /// The only issuer that may be asked about `token`; `None` if it is no opaque token.
    fn asked_about(&self, token: &str) -> Option<Result<&Arc<Introspector>, AuthError>> {
        if self.0.is_empty() || token.starts_with(OURS) || jws::is_jose(token) {
            return None;
        }
        if token.len() > MAX_TOKEN || !is_token(token) {
            return Some(Err(AuthError::Bad("this is neither a JWT nor an opaque token")));
        }
        // INVARIANT: prefixes were checked, so that one fits at most.
        let fits =
            |one: &&Arc<Introspector>| one.prefix().is_none_or(|prefix| token.starts_with(prefix));
        let unknown = AuthError::Bad("no issuer of tokens that begin like this is configured");
        Some(self.0.iter().find(fits).ok_or(unknown))
    }
}

/// What a bearer token may be made of (RFC 6750, 2.1).
fn is_token(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !bare.is_empty() && bare.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_leave_no_token_a_choice() {
        assert!(check_prefixes(&[]).is_ok());
        assert!(check_prefixes(&[("a", None)]).is_ok());
        assert!(check_prefixes(&[("a", Some("a_")), ("b", Some("b_"))]).is_ok());
        for bad in [
            [("a", None), ("b", Some("b_"))],
            [("a", None), ("b", None)],
            [("a", Some("a_")), ("b", Some("a_"))],
            [("a", Some("a_")), ("b", Some("a_b_"))],
            [("a", Some("")), ("b", Some("b_"))],
            [("a", Some("pc_x")), ("b", Some("b_"))],
            [("a", Some("a b")), ("b", Some("b_"))],
        ] {
            assert!(check_prefixes(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_what_rfc_6750_allows() {
        for good in ["a", "aZ09-._~+/", "abc=="] {
            assert!(is_token(good), "{good}");
        }
        for bad in ["", "=", "a=b", "a b", "a\"", "a\u{e9}", "a,b", "a\n"] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}

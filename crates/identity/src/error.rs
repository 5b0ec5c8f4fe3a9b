//! Why a caller is not who they may claim to be, and why a configuration cannot be used.

/// The answer depends on the variant: 401; or 503 and 429 for what may work later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing was presented.
    #[error("no credentials were presented")]
    Missing,
    /// What was presented is worth nothing. The words betray no secret and no neighbour's state.
    #[error("{0}")]
    Bad(&'static str),
    /// The issuer cannot be asked for its keys, or about a token, and may be later.
    #[error("issuer `{0}` does not answer at the moment")]
    IssuerUnavailable(String),
    /// Too many tokens that nobody knows are presented: 429, for a second.
    #[error("issuer `{0}` is asked about too many unknown tokens at the moment")]
    Busy(String),
}

/// A configured issuer or provider that cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The issuer's address.
    #[error("issuer `{issuer}`: {why}")]
    IssuerUrl {
        /// As it is written.
        issuer: String,
        /// What to change.
        why: &'static str,
    },
    /// The address of an endpoint.
    #[error("endpoint `{endpoint}`: {why}")]
    Endpoint {
        /// As it is written.
        endpoint: String,
        /// What to change.
        why: &'static str,
    },
    /// What tells the opaque tokens of several issuers apart.
    #[error("introspection of `{issuer}`: {why}")]
    Prefix {
        /// The issuer's name in configuration.
        issuer: String,
        /// What to change.
        why: &'static str,
    },
    /// The subject template.
    #[error("subject template `{template}`: {why}")]
    Template {
        /// As it is written.
        template: String,
        /// What to change.
        why: &'static str,
    },
    /// A rule of `groups`.
    #[error("group rule `{0}` must read `claim=value`")]
    GroupRule(String),
    /// A glob of a rule.
    #[error("glob `{glob}`: {why}")]
    Glob {
        /// As it is written.
        glob: String,
        /// What to change.
        why: &'static str,
    },
    /// Two entries would accept the same tokens.
    #[error("issuer `{0}` is configured twice; one entry per issuer decides who its tokens are")]
    DuplicateIssuer(String),
    /// Two entries would name their principals alike.
    #[error("two issuers are named `{0}`; principals carry that name, so it must be unique")]
    DuplicateName(String),
    /// The HTTP client cannot be built.
    #[error("the client for identity providers cannot be built: {0}")]
    Http(String),
}

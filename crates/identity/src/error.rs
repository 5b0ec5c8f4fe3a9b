//! Why a caller is not who they may claim to be.

/// The answer depends on the variant: 401, or 503 for what may work later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing was presented.
    #[error("no credentials were presented")]
    Missing,
    /// What was presented is worth nothing. The words betray no secret and no neighbour's state.
    #[error("{0}")]
    Bad(&'static str),
    /// The issuer's keys are not known yet, and may be later.
    #[error("the keys of issuer `{0}` cannot be fetched at the moment")]
    IssuerUnavailable(String),
}

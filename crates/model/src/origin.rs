//! Where what is known of a principal came from, for `whoami --explain`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Group;

/// What was read out of a token, and by which words of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The issuer that vouched for it, by its identifier.
    pub issuer: String,
    /// How the subject is made from claims: `ci:{repository}`.
    pub subject: String,
    /// Each group, and what gave it: a claim, or a rule.
    pub groups: BTreeMap<Group, String>,
}

/// What a CI job's sign-in has and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Seconds without a heartbeat after which it ends.
    pub heartbeat: u32,
    /// Where what is known of it came from.
    pub origin: Origin,
}

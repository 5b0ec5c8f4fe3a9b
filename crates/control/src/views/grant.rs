//! A grant that is looked at closely.

use portcullis_model::Grant;

use super::KnownAs;

/// One grant, with what its viewer can do about it.
#[derive(Debug, Clone)]
pub struct GrantView {
    /// The grant.
    pub grant: Grant,
    /// What its holder is called now.
    pub holder: KnownAs,
    /// Whether it is the viewer's own.
    pub is_mine: bool,
    /// Whether the viewer may revoke it.
    pub may_revoke: bool,
    /// Live connections that end with it.
    pub connections: usize,
}

/// A grant in the list of what somebody holds, with what its viewer can do about it.
#[derive(Debug, Clone)]
pub struct HeldGrant {
    /// The grant.
    pub grant: Grant,
    /// Where the viewer can look closer.
    pub closer: Closer,
    /// Whether the viewer may revoke it.
    pub may_revoke: bool,
}

/// Where somebody who knows of a grant can look closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closer {
    /// At the grant.
    Grant,
    /// At the access request that it came of.
    AccessRequest,
    /// At neither.
    Nowhere,
}

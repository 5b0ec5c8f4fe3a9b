//! Tokens for tools that cannot sign in: a one-time token is redeemed for a grant token, which opens
//! one grant and ends with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::GrantId;

/// What a holder hands to a tool. The token exists outside only; inside there is a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeToken {
    /// The grant that it leads to.
    pub grant: GrantId,
    /// When the holder proved who they are.
    pub authenticated_at: Timestamp,
    /// When it lapses.
    pub expires_at: Timestamp,
}

/// What the tool presents at the gate; it ends when its grant does and not before. The token exists outside only; inside there is a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantToken {
    /// The only grant that it opens.
    pub grant: GrantId,
    /// When the holder of the grant proved who they are.
    pub authenticated_at: Timestamp,
}

impl OneTimeToken {
    /// What it is redeemed for.
    pub fn redeemed(&self) -> GrantToken {
        GrantToken { grant: self.grant, authenticated_at: self.authenticated_at }
    }
}

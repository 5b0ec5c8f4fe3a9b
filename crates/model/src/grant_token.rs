//! Tokens for tools that cannot sign in: a one-time token is redeemed for a grant token, which opens
//! one grant and ends with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{GrantId, Thumbprint};

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

/// The key that a token is worth something with only, as `cnf` has it (RFC 7800).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BoundTo {
    /// A key whose holder signs a proof for every request (RFC 9449).
    #[serde(rename = "jkt")]
    Key(Thumbprint),
    /// A client certificate, presented on the connection (RFC 8705).
    #[serde(rename = "x5t#S256")]
    Certificate(Thumbprint),
}

/// What the tool presents at the gate; it ends when its grant does and not before. The token exists outside only; inside there is a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantToken {
    /// The only grant that it opens.
    pub grant: GrantId,
    /// When the holder of the grant proved who they are.
    pub authenticated_at: Timestamp,
    /// The key of the tool that redeemed it; without one, whoever has the token may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<BoundTo>,
}

impl OneTimeToken {
    /// What it is redeemed for, by who has that key.
    pub fn redeemed(&self, bound_to: Option<BoundTo>) -> GrantToken {
        GrantToken { grant: self.grant, authenticated_at: self.authenticated_at, bound_to }
    }
}

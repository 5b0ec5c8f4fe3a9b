//! An authenticated session with Portcullis, of a person or of a CI job's run: opaque, revocable, for
//! one audience.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{PersonId, PrincipalId, Run, ServiceName, SignInId};

/// Where a sign-in may be presented: never at both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// At the gate, towards services.
    Gate,
    /// At the control API.
    Control,
}

/// Why a sign-in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInEnd {
    /// It reached its time.
    Expired,
    /// The person signed out.
    SignedOut,
    /// Somebody with the right ended it.
    Revoked,
    /// The control sign-in it was made from ended.
    ParentEnded,
    /// The run was not heard of any more.
    Silent,
    /// The person was deactivated in the directory.
    Deactivated,
}

/// One sign-in. Its token exists outside only; inside there is a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// Its id, which is no secret.
    pub id: SignInId,
    /// Where it may be presented.
    pub audience: Audience,
    /// Who signed in.
    pub principal: PrincipalId,
    /// The human being; a run has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// When the person proved who they are.
    pub authenticated_at: Timestamp,
    /// When this sign-in was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// The control sign-in that a gate sign-in was made from; it never outlives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SignInId>,
    /// The only service that a gate sign-in opens, if it was made for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// What a CI job's sign-in, and those made from it, have and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Box<Run>>,
}

impl SignIn {
    /// Whether it is worth anything at `now`.
    pub fn in_force(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

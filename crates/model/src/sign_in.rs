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
    /// Nobody used it for too long.
    Idle,
    /// The same browser signed in again.
    Replaced,
    /// The person signed out at the identity provider.
    ProviderSignedOut,
    /// The identity provider no longer vouches for the person.
    ProviderRefused,
    /// The run was not heard of any more.
    Silent,
    /// The person was deactivated in the directory.
    Deactivated,
}

impl SignInEnd {
    /// What the record calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::SignedOut => "signed_out",
            Self::Revoked => "revoked",
            Self::ParentEnded => "parent_ended",
            Self::Idle => "idle",
            Self::Replaced => "replaced",
            Self::ProviderSignedOut => "provider_signed_out",
            Self::ProviderRefused => "provider_refused",
            Self::Silent => "silent",
            Self::Deactivated => "deactivated",
        }
    }
}

/// How a sign-in is presented: never in both ways.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// In a header, by a command line.
    #[default]
    Token,
    /// In a cookie, by one browser, at one origin only.
    Cookie {
        /// `https://payments.example.com`.
        origin: String,
    },
}

impl Held {
    /// Whether a browser holds it.
    pub const fn by_browser(&self) -> bool {
        matches!(self, Self::Cookie { .. })
    }
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
    /// How it is presented.
    #[serde(default)]
    pub held: Held,
    /// The session at the identity provider (`sid`), as its logout tokens name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_session: Option<String>,
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

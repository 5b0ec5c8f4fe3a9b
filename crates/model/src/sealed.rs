//! Sealed credentials: made in advance by two people, for the day on which nothing else answers.
//!
//! Each is for one holder, one service and one emergency rule, and for a bounded time. Control signs
//! its terms; the holder's private key, which a passphrase locks, opens it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Base64Url, PersonId, PolicyId, Principal, PrincipalId, SealedId, ServiceName, Window};

/// What a sealed credential is good for. Control signs exactly this, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedTerms {
    /// The credential's id.
    pub id: SealedId,
    /// The one service.
    pub service: ServiceName,
    /// The one emergency rule.
    pub rule: PolicyId,
    /// Who uses it, as they were known when it was sealed.
    pub holder: Principal,
    /// How long one opening lasts at most.
    pub window: Window,
    /// It opens nothing before.
    pub not_before: Timestamp,
    /// It opens nothing from then on.
    pub expires_at: Timestamp,
    /// Whoever has the private half opens it (Ed25519).
    pub public_key: Base64Url,
    /// Who proposed it.
    pub proposed_by: PrincipalId,
    /// Who agreed.
    pub sealed_by: PrincipalId,
}

/// What the holder says and signs when they open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedOpening {
    /// Which credential.
    pub credential: SealedId,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// For how long; never longer than the terms say.
    pub window: Window,
}

/// Where a sealed credential is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SealedState {
    /// One person wants it. It opens nothing.
    Proposed,
    /// Two people agreed.
    Sealed {
        /// The second of them.
        by: PrincipalId,
        /// The second of them, as a human being.
        person: PersonId,
        /// When.
        at: Timestamp,
        /// It opens nothing from then on.
        expires_at: Timestamp,
        /// The terms and control's signature, as the gate reads them.
        signed: String,
    },
    /// It opens nothing any more, if it ever did.
    Revoked {
        /// When.
        at: Timestamp,
        /// Who revoked it, if somebody did by name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<PrincipalId>,
        /// Why, in words.
        why: String,
    },
}

impl SealedState {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Sealed { .. } => "sealed",
            Self::Revoked { .. } => "revoked",
        }
    }
}

/// A transition that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSealing {
    /// It is sealed or revoked.
    #[error("the sealed credential is {0} already")]
    NotProposed(&'static str),
    /// Whoever proposed it is one person.
    #[error("it takes a second person; you proposed this sealed credential")]
    SamePerson,
    /// It opens nothing anyway.
    #[error("the sealed credential is revoked already")]
    Revoked,
}

/// A sealed credential as control keeps it. The private key is nowhere here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedCredential {
    /// Its id.
    pub id: SealedId,
    /// The one service.
    pub service: ServiceName,
    /// The one emergency rule.
    pub rule: PolicyId,
    /// Who uses it.
    pub holder: PrincipalId,
    /// What they were called.
    pub holder_name: String,
    /// How long one opening lasts at most.
    pub window: Window,
    /// How long it is good for, from its sealing.
    pub valid_for: Window,
    /// The public half of what opens it.
    pub public_key: Base64Url,
    /// What it is for.
    pub purpose: String,
    /// Who proposed it.
    pub proposed_by: PrincipalId,
    /// Who proposed it, as a human being: this is what counts.
    pub proposer: PersonId,
    /// When.
    pub proposed_at: Timestamp,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: SealedState,
}

impl SealedCredential {
    /// Whether `person` could be the second of the two.
    pub fn sealable_by(&self, person: PersonId) -> Result<(), InvalidSealing> {
        match &self.state {
            SealedState::Proposed if self.proposer == person => Err(InvalidSealing::SamePerson),
            SealedState::Proposed => Ok(()),
            over => Err(InvalidSealing::NotProposed(over.as_str())),
        }
    }

    /// The second person agrees.
    pub fn seal(
        self,
        by: PrincipalId,
        person: PersonId,
        at: Timestamp,
        signed: String,
    ) -> Result<Self, InvalidSealing> {
        self.sealable_by(person)?;
        let expires_at = at + self.valid_for.signed();
        Ok(Self { state: SealedState::Sealed { by, person, at, expires_at, signed }, ..self })
    }

    /// It opens nothing from now on.
    pub fn revoke(
        self,
        at: Timestamp,
        by: Option<PrincipalId>,
        why: String,
    ) -> Result<Self, InvalidSealing> {
        match self.state {
            SealedState::Revoked { .. } => Err(InvalidSealing::Revoked),
            SealedState::Proposed | SealedState::Sealed { .. } => {
                Ok(Self { state: SealedState::Revoked { at, by, why }, ..self })
            }
        }
    }
}

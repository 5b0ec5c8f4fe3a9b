//! Grants: time-boxed permissions, each a fact that one rule issued.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AccessRequestId, GrantId, IncidentId, OperationName, PersonId, PolicyId, PrincipalId,
    RequestId, Resource, Window,
};

/// How a grant was obtained. Cedar reads it as `context.grant.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantKind {
    /// The policy approved it.
    Automatic,
    /// People approved it.
    Review,
}

impl GrantKind {
    /// The word that policies and people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Review => "review",
        }
    }
}

/// Why a grant is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    /// Its window closed.
    Expired,
    /// Somebody with the right revoked it.
    Revoked,
    /// It carried as many requests as it may.
    UsedUp,
    /// Its holder gave it back.
    GivenBack,
    /// Nobody used it for as long as its rule lets it lie.
    Idle,
    /// The rule that issued it is no longer in force.
    RuleGone,
    /// The incident that it was for is over.
    IncidentResolved,
    /// Its holder is gone: a run that ended, a person who was deactivated.
    HolderGone,
}

impl GrantEnd {
    /// For people: "the grant …".
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "was revoked",
            Self::UsedUp => "is used up",
            Self::GivenBack => "was given back",
            Self::Idle => "was not used",
            Self::RuleGone => "lost its rule",
            Self::IncidentResolved => "ended with its incident",
            Self::HolderGone => "lost its holder",
        }
    }
}

/// Where a grant is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum GrantState {
    /// Opens the gate until `expires_at`.
    InForce,
    /// Opens nothing any more.
    Ended {
        /// When.
        at: Timestamp,
        /// Why.
        why: GrantEnd,
        /// Who ended it, if a person did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<PersonId>,
    },
}

/// A transition that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the grant {}", .0.in_words())]
pub struct GrantOver(pub GrantEnd);

/// A time-boxed permission for one principal and one operation, under one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Counts its changes; part of every cache key that a grant takes part in.
    pub version: u32,
    /// The access request that it came from.
    pub access_request: AccessRequestId,
    /// Who holds it.
    pub principal: PrincipalId,
    /// The rule that issued it. Under any other it is worth nothing.
    pub rule: PolicyId,
    /// How it was obtained.
    pub kind: GrantKind,
    /// How many distinct people approved it.
    pub reviews: u8,
    /// What it covers.
    pub operation: OperationName,
    /// Where: the service, or one addressed instance.
    pub resource: Resource,
    /// The incident that it is for: it ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// The only request that it admits, if it is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Arc<str>>,
    /// When approval started its clock.
    pub starts_at: Timestamp,
    /// When its window closes.
    pub expires_at: Timestamp,
    /// How many requests it may carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// The requests that it has carried, if they are counted.
    pub uses: u32,
    /// It ends when nobody uses it for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Window>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: GrantState,
}

impl Grant {
    /// Whether it opens anything at `now`: in force, inside its window, uses left.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.starts_at <= now && !self.is_over(now)
    }

    /// Whether it opens nothing from `now` on. Where the wall clock was set back to before its start, it
    /// opens nothing either, and is not over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.state != GrantState::InForce || now >= self.expires_at || self.uses_left() == Some(0)
    }

    /// Requests that it may still carry; `None` is any number.
    pub fn uses_left(&self) -> Option<u32> {
        self.max_uses.map(|max| max.saturating_sub(self.uses))
    }

    /// Ends it.
    pub fn end(
        self,
        at: Timestamp,
        why: GrantEnd,
        by: Option<PersonId>,
    ) -> Result<Self, GrantOver> {
        match self.state {
            GrantState::InForce => Ok(Self {
                version: self.version.saturating_add(1),
                state: GrantState::Ended { at, why, by },
                ..self
            }),
            GrantState::Ended { why, .. } => Err(GrantOver(why)),
        }
    }

    /// Moves its end to `until`, never to an earlier one. From now on it is of this kind, and so many people
    /// stand behind it.
    pub fn extend(
        self,
        until: Timestamp,
        kind: GrantKind,
        reviews: u8,
        now: Timestamp,
    ) -> Result<Self, GrantOver> {
        match self.state {
            GrantState::Ended { why, .. } => Err(GrantOver(why)),
            GrantState::InForce if now >= self.expires_at => Err(GrantOver(GrantEnd::Expired)),
            GrantState::InForce => Ok(Self {
                version: self.version.saturating_add(1),
                expires_at: self.expires_at.max(until),
                kind,
                reviews,
                ..self
            }),
        }
    }

    /// Spends one use on `request`; the last one ends it.
    pub fn consume(self, now: Timestamp, _request: RequestId) -> Result<Self, GrantOver> {
        if let GrantState::Ended { why, .. } = self.state {
            return Err(GrantOver(why));
        }
        if now >= self.expires_at {
            return Err(GrantOver(GrantEnd::Expired));
        }
        let left = self.uses_left();
        let spent = Self {
            uses: self.uses.saturating_add(1),
            version: self.version.saturating_add(1),
            ..self
        };
        match left {
            Some(0) => Err(GrantOver(GrantEnd::UsedUp)),
            Some(1) => spent.end(now, GrantEnd::UsedUp, None),
            Some(_) | None => Ok(spent),
        }
    }
}

//! Ways: what would open the gate.

use serde::{Deserialize, Serialize};

use crate::{GrantKind, IncidentId, PolicyId, Window};

/// One thing that would open the gate: the rule that would issue a grant, and on what terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Way {
    /// The rule's policy id.
    pub rule: PolicyId,
    /// How it is obtained.
    pub kind: GrantKind,
    /// How many distinct people must approve. Zero: the policy does.
    pub reviews: u8,
    /// The longest window that it gives.
    pub max_duration: Window,
    /// How many requests a grant may carry; without it, any number in its window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// The open incident that the grant would be for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// A grant that nobody uses for so long ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Window>,
    /// Asked ahead of time: what the gate will still check when the request comes, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_be_checked: Vec<String>,
    /// How long a request may wait at the gate for it; without it, only one that prefers to wait does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Window>,
    /// Who could review, by name, for people to read; filled in by control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviewers: Vec<String>,
}

impl Way {
    /// Whether it is taken in an emergency only, by whoever names it.
    pub fn is_emergency(&self) -> bool {
        self.kind == GrantKind::Emergency
    }

    /// Emergencies last; else fewest reviews first, then the longest duration, then the policy's id.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.is_emergency()
            .cmp(&other.is_emergency())
            .then(self.reviews.cmp(&other.reviews))
            .then(other.max_duration.cmp(&self.max_duration))
            .then(self.rule.cmp(&other.rule))
    }
}

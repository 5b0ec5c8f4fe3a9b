//! Legal holds: what must stay on record, however old it is, until somebody says otherwise.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{EventFilter, GrantId, IncidentId, LegalHoldId, PrincipalId, ServiceName};

/// Which entries are held: those that all that is given is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldScope {
    /// Of this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Of before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What this principal did: `corp:ana`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arc<str>>,
    /// What happened at this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// What was done by or for this grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// What belongs to this incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// Somebody let go of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRelease {
    /// Who.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// A legal hold. While it is in force, neither retention nor anybody's erasure touches what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalHold {
    /// Its id.
    pub id: LegalHoldId,
    /// What it keeps.
    pub scope: HoldScope,
    /// Why.
    pub reason: String,
    /// Who placed it.
    pub placed_by: PrincipalId,
    /// When.
    pub placed_at: Timestamp,
    /// Who let go of it, if somebody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<HoldRelease>,
}

impl HoldScope {
    /// The question that the entries answer which are held.
    pub fn filter(&self) -> EventFilter {
        EventFilter {
            since: self.since,
            until: self.until,
            principal: self.principal.clone(),
            service: self.service.clone(),
            grant: self.grant,
            incident: self.incident.clone(),
            ..EventFilter::default()
        }
    }
}

impl LegalHold {
    /// Whether it keeps anything still.
    pub fn is_in_force(&self) -> bool {
        self.released.is_none()
    }

    /// Lets go of what it keeps; `None` if somebody has done so before.
    pub fn release(self, release: HoldRelease) -> Option<Self> {
        self.is_in_force().then_some(Self { released: Some(release), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrincipalKind;

    #[test]
    fn a_hold_is_released_once() {
        let who = PrincipalId::new(PrincipalKind::User, "corp", "lea");
        let hold = LegalHold {
            id: LegalHoldId::from_bits(1),
            scope: HoldScope { principal: Some("corp:ana".into()), ..HoldScope::default() },
            reason: "case 7".into(),
            placed_by: who.clone(),
            placed_at: Timestamp::UNIX_EPOCH,
            released: None,
        };
        assert!(hold.is_in_force() && !hold.scope.filter().is_open());
        assert!(HoldScope::default().filter().is_open());
        let release = HoldRelease { by: who, at: Timestamp::UNIX_EPOCH, reason: "over".into() };
        let released = hold.release(release.clone()).unwrap();
        assert!(!released.is_in_force());
        assert_eq!(released.release(release), None);
    }
}

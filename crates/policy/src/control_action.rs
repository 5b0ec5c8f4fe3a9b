//! The control plane's own actions, decided by the same policies as everything else.
//!
//! Allowed or not, never requestable. Two things no policy can change: a workload never reviews, and
//! nobody reviews their own access request.

use std::{net::IpAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{AccessRequest, PolicyId, ServiceName};

use crate::{Snapshot, Subject};

/// What people do at the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlAction {
    /// Answer somebody's access request.
    Review,
    /// End somebody's grant.
    Revoke,
    /// See who is connected.
    ViewConnections,
    /// Read the record.
    ViewAudit,
    /// Change the bundle, people and keys.
    Administer,
}

impl ControlAction {
    /// The id of its Cedar action.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Revoke => "revoke",
            Self::ViewConnections => "viewConnections",
            Self::ViewAudit => "viewAudit",
            Self::Administer => "administer",
        }
    }
}

/// What it is done to.
#[derive(Debug, Clone, Copy)]
pub enum ControlResource<'a> {
    /// An access request that has waited for so long.
    AccessRequest {
        /// The access request.
        request: &'a AccessRequest,
        /// For how long nobody has decided it.
        waited: SignedDuration,
    },
    /// One service, and what belongs to it.
    Service(&'a ServiceName),
    /// All of it.
    System,
}

/// Under which circumstances.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlContext {
    /// The time of the decision.
    pub now: Timestamp,
    /// Where it came from; `None` is unknown, not absent: a permit that reads it does not apply, a
    /// forbid that reads it denies.
    pub source: Option<IpAddr>,
    /// How the caller authenticated.
    pub auth_method: &'static str,
    /// How long ago.
    pub auth_age: SignedDuration,
}

/// The answer, with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlVerdict {
    /// Yes or no.
    pub allowed: bool,
    /// The policies that permit, or those that forbid.
    pub policies: Arc<[PolicyId]>,
}

impl Snapshot {
    /// Whether `subject` may do `action` to `on`.
    pub fn allows(
        &self,
        subject: &Subject,
        action: ControlAction,
        on: ControlResource<'_>,
        at: &ControlContext,
    ) -> ControlVerdict {
        let _ = (subject, action, on, at);
        ControlVerdict { allowed: false, policies: [].into() }
    }
}

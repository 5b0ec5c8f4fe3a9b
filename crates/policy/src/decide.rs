//! One question, three answers.

use jiff::Timestamp;
use portcullis_model::{Grant, OperationName, PolicyId, PrincipalId, Resource, Way};

use crate::{
    Snapshot,
    context::{Context, Subject},
};

/// An access query.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Who.
    pub subject: &'a Subject,
    /// What.
    pub operation: &'a OperationName,
    /// On what.
    pub resource: &'a Resource,
    /// Under which circumstances.
    pub context: &'a Context,
    /// The digest of the request at hand, if it was computed: grants may be bound to one.
    pub digest: Option<&'a str>,
}

/// Proof of one decision to permit. Only the PDP makes one; it is never stored.
#[derive(Debug)]
pub struct Pass {
    principal: PrincipalId,
    operation: OperationName,
    resource: Resource,
    grant: Option<std::sync::Arc<Grant>>,
    rereads_time: bool,
}

impl Pass {
    /// For whom.
    pub fn principal(&self) -> &PrincipalId {
        &self.principal
    }

    /// For what.
    pub fn operation(&self) -> &OperationName {
        &self.operation
    }

    /// On what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The grant that opened the gate; `None` if standing policy did. If its uses are counted, one
    /// must be consumed durably before anything is sent.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_deref()
    }

    /// Whether the policies read time, so that a live connection must be decided again every second.
    pub fn rereads_time(&self) -> bool {
        self.rereads_time
    }
}

/// Why not, and nothing would open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// No policy permits, or one forbids.
    ByPolicy,
    /// A `forbid` could not be evaluated.
    ErroringForbid,
    /// No permit's head matches this principal on any operation of the service: the service does not exist for it.
    Invisible,
}

/// The three answers.
#[derive(Debug)]
pub enum Answer {
    /// Yes.
    Permit(Pass),
    /// Not yet: these ways, best first, never empty.
    Requestable(Vec<Way>),
    /// No.
    Deny(Denial),
}

/// An answer with its reasons.
#[derive(Debug)]
pub struct Verdict {
    /// The answer.
    pub answer: Answer,
    /// The determining policies: those that permit, or those that forbid.
    pub policies: std::sync::Arc<[PolicyId]>,
    /// Until when the same question has the same answer, state unchanged; windows excepted.
    pub valid_until: Option<Timestamp>,
}

/// Decisions and slices remembered by one core. Sound by its keys; see the module documentation.
#[derive(Debug, Default)]
pub struct DecisionCache {}

impl Snapshot {
    /// Decides `query` against this snapshot.
    pub fn decide(&self, _query: &Query<'_>, _cache: &mut DecisionCache) -> Verdict {
        Verdict { answer: Answer::Deny(Denial::ByPolicy), policies: [].into(), valid_until: None }
    }
}

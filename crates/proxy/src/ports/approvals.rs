//! Access requests for requests that wait at the gate.

use std::{collections::BTreeMap, fmt::Debug, net::IpAddr};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_identity::Authenticated;
use portcullis_model::{OperationName, PolicyId, RequestId, Resource, ShownBody};

/// A request that is about to wait. Nothing of its payload is in here.
#[derive(Debug, Clone)]
pub struct HeldRequest {
    /// Who asks.
    pub caller: Authenticated,
    /// From where.
    pub source: IpAddr,
    /// The request.
    pub request: RequestId,
    /// What.
    pub operation: OperationName,
    /// Where.
    pub resource: Resource,
    /// The rule of the way that is taken.
    pub rule: PolicyId,
    /// What the grant shall be bound to: `sha256:…`.
    pub digest: String,
    /// Method and path, for people.
    pub summary: String,
    /// Declared parameters by name, as text.
    pub parameters: BTreeMap<String, String>,
    /// Bytes of its body.
    pub size: u64,
    /// The body, as people see it, if it can be shown.
    pub body: Option<ShownBody>,
    /// It is refused then.
    pub until: Timestamp,
}

/// What became of an access request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldAnswer {
    /// Its grant is in the snapshot.
    Approved,
    /// No: who or what, and why.
    Declined(String),
    /// It is over without an answer: withdrawn by its requester, or expired.
    Over,
}

/// Why a request does not wait any longer, its answer aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldEnd {
    /// Nobody answered in time.
    Unanswered,
    /// The client went away.
    ClientGone,
    /// The caller's sign-in, token or certificate ended.
    SignInEnded,
    /// The gate stops.
    ShuttingDown,
}

/// Why no access request was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// Control would not have it: the way is gone, or too many of this principal wait already.
    #[error("the access request cannot be opened")]
    Refused,
    /// The store or the record does not answer.
    #[error("the store does not answer")]
    Unavailable,
}

/// Opens access requests for requests that wait.
#[async_trait]
pub trait Approvals: Debug + Send + Sync {
    /// Opens one. A way without reviews is answered by then. One that asks for the same already is
    /// waited for together: its grant carries one of those that wait.
    async fn open(&self, held: HeldRequest) -> Result<Box<dyn Approval>, NotOpened>;
}

/// An access request that somebody waits for. Dropped, it is withdrawn: the client went away.
#[async_trait]
pub trait Approval: Debug + Send {
    /// Resolves when it is answered, or over.
    async fn answered(&mut self) -> HoldAnswer;

    /// Takes it back. `Some` if it was answered first.
    async fn withdraw(self: Box<Self>, why: HoldEnd) -> Option<HoldAnswer>;
}

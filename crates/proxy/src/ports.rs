//! What the data path needs from the rest of the house. In one process the binary fits control and
//! the log to these; in a fleet the feed. Nothing here names a database.

mod approvals;
mod contents;
mod countries;
mod sealed;
mod upstream_certificates;

use std::{fmt::Debug, future::Future, net::IpAddr, pin::Pin, rc::Rc, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_model::{
    Attempt, ClassName, ConnectionId, GrantId, InstanceName, OperationName, Outcome, PolicyId,
    Principal, PrincipalId, RecordLevel, RefusalId, RefusalsCounted, RequestId, Resource, Secret,
    ServiceName, ShownBody, SignInId, Way,
};
use portcullis_policy::{Snapshot, rate_limit::RateLimit};
use tokio::sync::watch;

pub use self::{
    approvals::{Approval, Approvals, HeldRequest, HoldAnswer, HoldEnd, NotOpened},
    contents::Contents,
    countries::{Countries, NoDatabase},
    sealed::SealedUses,
    upstream_certificates::UpstreamCertificates,
};

/// Where snapshots come from.
pub trait SnapshotFeed: Debug + Send + Sync {
    /// The newest snapshot.
    fn current(&self) -> Arc<Snapshot>;

    /// Changes whenever a newer snapshot is there; carries its version.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The record cannot be written: nothing may be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be written")]
pub struct RecordBroken;

/// Becomes ready when an intent is as safe as its level asks for.
pub type Recorded = Pin<Box<dyn Future<Output = Result<(), RecordBroken>>>>;

/// One core's journal. Not `Send`: it never leaves its core.
pub trait Journal: Debug {
    /// Appends the first half of an attempt. The caller waits for what it returns before it sends
    /// anything upstream; all intents of one tick share one `write`.
    fn intent(&self, attempt: &Attempt<'_>, level: RecordLevel) -> Result<Recorded, RecordBroken>;

    /// Completes the attempt of `request`. Written with the next tick; never waited for.
    fn outcome(&self, request: RequestId, outcome: &Outcome<'_>);

    /// Appends an attempt that is whole already: a refusal.
    fn refused(&self, attempt: &Attempt<'_>, outcome: &Outcome<'_>) -> Result<(), RecordBroken>;

    /// Appends how many refusals were not listed.
    fn counted(&self, refusals: &RefusalsCounted) -> Result<(), RecordBroken>;
}

/// Opens one journal per core, and says whether the record can be written at all.
pub trait Journals: Debug + Send + Sync {
    /// The journal of core number `core`; called once per core, on that core.
    fn open(&self, core: usize) -> std::io::Result<Rc<dyn Journal>>;
}

/// Why a use could not be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// The grant has ended, or somebody else spent its last use.
    #[error("the grant has no use left")]
    Over,
    /// The store does not answer.
    #[error("the store does not answer")]
    Unavailable,
}

/// Spends uses of counted grants, durably and exactly once.
#[async_trait]
pub trait Consumption: Debug + Send + Sync {
    /// Spends one use of `grant` on `request`.
    async fn consume(&self, grant: GrantId, request: RequestId) -> Result<(), ConsumeError>;

    /// A grant that ends unused was used. Never waits.
    fn used(&self, grant: GrantId);
}

/// It is done more often than policy admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too often; try again in {retry_after} seconds")]
pub struct TooOften {
    /// Seconds until it is worth trying again; never zero.
    pub retry_after: u32,
}

/// Small rates, counted exactly in one place for all gates.
#[async_trait]
pub trait Limits: Debug + Send + Sync {
    /// Admits `who` to `what` once more under `limit`.
    async fn admit(
        &self,
        who: &PrincipalId,
        what: &OperationName,
        limit: RateLimit,
    ) -> Result<(), TooOften>;
}

/// A requestable refusal, to be kept for an hour so that it can be asked about.
#[derive(Debug, Clone)]
pub struct KeptRefusal {
    /// Whose: nobody else can read it.
    pub principal: PrincipalId,
    /// The refused request.
    pub request: RequestId,
    /// What was refused.
    pub operation: OperationName,
    /// Where.
    pub resource: Resource,
    /// The digest of the refused request, where a way counts uses.
    pub digest: Option<String>,
    /// Method and path, for people: `POST /v1/refunds`.
    pub summary: String,
    /// What would have opened it.
    pub ways: Vec<Way>,
    /// Its body, as people see it; none if nobody had to read it, or nobody could.
    pub body: Option<ShownBody>,
    /// When.
    pub time: Timestamp,
}

/// Keeps refusals.
#[async_trait]
pub trait Refusals: Debug + Send + Sync {
    /// Keeps one and names it; `None` if this principal has too many already or the store is busy.
    async fn keep(&self, refusal: KeptRefusal) -> Option<RefusalId>;

    /// Who could review a request for `operation`, by name, to be shown with its ways.
    fn reviewers(&self, operation: &OperationName) -> Vec<String>;
}

/// A code that a browser brings from control, and what it must fit to.
#[derive(Debug, Clone)]
pub struct CodeExchange {
    /// The code.
    pub code: Secret,
    /// Where this gate answered the browser.
    pub origin: String,
    /// What the browser holds since the sign-in was begun.
    pub verifier: Secret,
    /// The sign-in that the browser held until now: it ends.
    pub replaces: Option<Secret>,
    /// The browser's address.
    pub source: IpAddr,
}

/// A sign-in for a browser's cookie.
#[derive(Debug, Clone)]
pub struct CookieSignIn {
    /// What the cookie holds.
    pub token: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Why there is no sign-in for a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotExchanged {
    /// It is another gate's or browser's, or was used before.
    #[error("the code is worth nothing here")]
    Bad,
    /// Control does not answer.
    #[error("control does not answer")]
    Unavailable,
}

/// Browsers' sign-ins, which control makes and ends.
#[async_trait]
pub trait BrowserSignIns: Debug + Send + Sync {
    /// Exchanges a code, once.
    async fn exchange(&self, asked: CodeExchange) -> Result<CookieSignIn, NotExchanged>;

    /// Ends a sign-in, what it was made from, and all else that was. That it has ended is no error.
    async fn sign_out(&self, id: SignInId, source: IpAddr) -> Result<(), NotExchanged>;

    /// It was used. Never waits.
    fn seen(&self, id: SignInId);
}

/// Hears of workloads that nobody signed in.
pub trait Sightings: Debug + Send + Sync {
    /// One presented a token or a certificate of its own. Never waits.
    fn seen(&self, workload: &Arc<Principal>);
}

/// A connection as others see it.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Its id.
    pub id: ConnectionId,
    /// The request that opened it.
    pub request: RequestId,
    /// Who.
    pub principal: PrincipalId,
    /// Where.
    pub service: ServiceName,
    /// Which instance answers.
    pub instance: InstanceName,
    /// What.
    pub operation: OperationName,
    /// The grant that opened it.
    pub grant: Option<GrantId>,
    /// The grants that let it show sensitive data: it hangs on them too.
    pub reveals: Vec<GrantId>,
    /// The sign-in that it hangs on.
    pub sign_in: Option<SignInId>,
    /// The caller's address.
    pub source: IpAddr,
    /// `http`, `grpc`, `websocket`, `sse`, `tcp`.
    pub protocol: &'static str,
    /// Since when.
    pub since: Timestamp,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// One side finished.
    Finished,
    /// The client went away.
    ClientGone,
    /// The upstream broke off.
    UpstreamGone,
    /// Its grant ended.
    GrantEnded,
    /// Its sign-in, token or certificate ended.
    SignInEnded,
    /// Policy no longer permits it.
    PolicyChanged,
    /// Somebody closed it.
    Closed,
    /// The client sent too much that carries nothing.
    Flooding,
    /// A message that its client sent is not permitted.
    MessageDenied,
    /// A message that its client sent, and that a policy reads, cannot be read in one way.
    MessageUnreadable,
    /// It carried nothing for too long.
    Idle,
    /// It carried more than it may.
    TooMuch,
    /// It may have carried sensitive data, and could not be inspected any further.
    Opaque,
    /// The process stops.
    ShuttingDown,
}

/// A registered connection; dropped when it is over.
pub trait RegisteredConnection: Debug + Send {
    /// Resolves when somebody asked to close it.
    fn close_requested(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Classes of data that were masked in what it carried; told before it is over.
    fn met(&mut self, classes: Vec<ClassName>);

    /// The policies that a message of its client was denied by; told before it is over.
    fn denied_by(&mut self, policies: &[PolicyId]);

    /// It is over: why, and the bytes that went up and down.
    fn ended(self: Box<Self>, why: ConnectionEnd, bytes_up: u64, bytes_down: u64);
}

/// The registry of live connections.
pub trait Connections: Debug + Send + Sync {
    /// Registers one.
    fn opened(&self, info: ConnectionInfo) -> Box<dyn RegisteredConnection>;

    /// One that is registered shows sensitive data from here on, for as long as these grants live.
    fn shows(&self, id: ConnectionId, reveals: Vec<GrantId>);

    /// Core number `core` has looked at all of its connections under the snapshot of this version. What
    /// has to end by it is registered until it is over, however young.
    fn looked(&self, core: usize, version: u64);
}

//! What control needs from outside and does not know how to do itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::IpAddr,
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{AuthError, Authenticated, Job};
use portcullis_model::{
    AccessRequestId, AttributeValue, ConnectionId, Event, GrantId, Group, InstanceName, NoticeId,
    OperationName, PolicyId, PrincipalId, RequestId, Resource, Secret, ServiceName, ShownBody,
    SignInId, Way,
};
use portcullis_policy::notice::NoticeTarget;

use crate::connector::{ConnectedSystem, Summary};

/// The log cannot be written or read at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be reached")]
pub struct LogUnavailable;

/// One leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position.
    pub position: u64,
    /// The JSON text that was hashed.
    pub json: String,
}

/// Hashes that lead from a record, or from an earlier size, to the root of the log at `size`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPath {
    /// The size of the tree that it leads to.
    pub size: u64,
    /// The root of that tree, in base64.
    pub root: String,
    /// The hashes, in base64, as RFC 6962 orders them.
    pub hashes: Vec<String>,
    /// The signed checkpoint of that size; only the newest one is kept.
    pub checkpoint: Option<String>,
}

/// The transparency log, as control writes and reads it.
#[async_trait]
pub trait EventLog: Debug + Send + Sync {
    /// Appends one event; returns its position once it is durable.
    async fn append(&self, event: &Event) -> Result<u64, LogUnavailable>;

    /// How many leaves there are.
    async fn size(&self) -> Result<u64, LogUnavailable>;

    /// Leaves in their order, starting at `from`, at most `limit`.
    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, LogUnavailable>;

    /// What was removed by retention: from the first position, before the second, in their order. Reading
    /// passes over it.
    async fn removed(&self) -> Result<Vec<(u64, u64)>, LogUnavailable> {
        Ok(Vec::new())
    }

    /// A published file of the log by its C2SP path; `None` if there is no such file.
    async fn file(&self, path: &str) -> Result<Option<Vec<u8>>, LogUnavailable>;

    /// The leaf at `position` with its proof at the newest checkpoint, as a C2SP tlog-proof; `None` beyond.
    async fn prove(&self, position: u64) -> Result<Option<String>, LogUnavailable>;

    /// The proofs of all these leaves, without the leaves, at one checkpoint; `None` if one is beyond it.
    async fn prove_all(&self, positions: &[u64]) -> Result<Option<Vec<String>>, LogUnavailable>;

    /// The path from the leaf at `position` to the root of the first `size`, or of all; `None` beyond.
    async fn inclusion(
        &self,
        position: u64,
        size: Option<u64>,
    ) -> Result<Option<LogPath>, LogUnavailable>;

    /// That the first `from` leaves are the beginning of the first `to`, or of all; `None` beyond.
    async fn consistency(
        &self,
        from: u64,
        to: Option<u64>,
    ) -> Result<Option<LogPath>, LogUnavailable>;
}

/// A device authorisation that a provider began (RFC 8628).
#[derive(Debug, Clone)]
pub struct DeviceAuthorization {
    /// The provider's device code.
    pub device_code: Secret,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code filled in.
    pub verification_uri_complete: Option<String>,
    /// Seconds that it lives.
    pub expires_in: u32,
    /// Seconds between polls.
    pub interval: u32,
}

/// What a provider says of a person, its signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPerson {
    /// The provider's stable name for them.
    pub subject: String,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Whether the provider has checked that it is theirs.
    pub email_verified: bool,
    /// What to call them.
    pub name: Option<String>,
    /// Their groups.
    pub groups: BTreeSet<Group>,
    /// Claims that policies may read.
    pub claims: BTreeMap<String, AttributeValue>,
    /// How they authenticated (RFC 8176).
    pub amr: BTreeSet<String>,
    /// When; absent if the provider does not say.
    pub auth_time: Option<Timestamp>,
    /// The session at the provider (`sid`), if it has a name.
    pub session: Option<String>,
    /// What the provider is asked with again about them; absent if it gave nothing to ask with.
    pub renewal: Option<Secret>,
}

/// What a browser is sent to a provider with.
#[derive(Debug, Clone)]
pub struct AuthorizationRequest {
    /// Where it comes back to.
    pub redirect_uri: String,
    /// What it brings back.
    pub state: String,
    /// What the provider's answer must name.
    pub nonce: String,
    /// The SHA-256 of the verifier (RFC 7636).
    pub challenge: String,
    /// The person shall authenticate anew, as the provider's step-up says.
    pub fresh: bool,
}

/// What a browser came back with, and what it must fit to.
#[derive(Debug, Clone)]
pub struct Returned {
    /// The provider's code.
    pub code: Secret,
    /// Which issuer says that it answers (RFC 9207).
    pub issuer: Option<String>,
    /// Where it came back to.
    pub redirect_uri: String,
    /// What the challenge was made from.
    pub verifier: Secret,
    /// What the provider's answer must name.
    pub nonce: String,
    /// The person must have authenticated since.
    pub fresh_since: Option<Timestamp>,
}

/// Whom a provider signed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedOut {
    /// The person; of all their sessions, unless one is named.
    pub subject: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The message's own name: it is good once.
    pub id: String,
    /// It is refused by itself from then on.
    pub ends_at: Timestamp,
}

/// Why a provider does not vouch for somebody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    /// It says no, or what it says cannot be accepted. Final.
    #[error("{0}")]
    Refused(String),
    /// It does not answer.
    #[error(transparent)]
    Unavailable(#[from] ProviderUnavailable),
}

/// What asking a provider about a device authorisation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceOutcome {
    /// The person signed in.
    Done(Box<VerifiedPerson>),
    /// Not yet.
    Pending,
    /// Not yet, and it is asked too often.
    SlowDown,
    /// The person said no.
    Denied,
    /// Its time is up.
    Expired,
}

/// A provider that does not answer, or answers nonsense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the identity provider does not answer: {0}")]
pub struct ProviderUnavailable(pub String);

/// An identity provider of people.
#[async_trait]
pub trait PeopleProvider: Debug + Send + Sync {
    /// Its name in configuration: the first half of its people's principal ids.
    fn name(&self) -> &str;

    /// Begins a device authorisation.
    async fn begin(&self) -> Result<DeviceAuthorization, ProviderUnavailable>;

    /// Asks once how it went.
    async fn poll(&self, device_code: &Secret) -> Result<DeviceOutcome, ProviderUnavailable>;

    /// Where to send a browser.
    async fn authorize(&self, asked: AuthorizationRequest) -> Result<String, ProviderUnavailable>;

    /// Whether an answer that names `issuer` may be this provider's (RFC 9207).
    async fn check_issuer(&self, issuer: Option<&str>) -> Result<(), NotVouched>;

    /// Who came back.
    async fn redeem(&self, returned: Returned) -> Result<VerifiedPerson, NotVouched>;

    /// How often it is asked again about those who are signed in; never, if absent.
    fn recheck(&self) -> Option<Duration>;

    /// Asks again about `subject`.
    async fn renew(&self, renewal: &Secret, subject: &str) -> Result<VerifiedPerson, NotVouched>;

    /// Reads a logout token.
    async fn logged_out(&self, token: &str) -> Result<LoggedOut, NotVouched>;
}

/// Checks the JWTs that workloads present at control.
#[async_trait]
pub trait WorkloadVerifier: Debug + Send + Sync {
    /// Who presents `token`.
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Authenticated, AuthError>;

    /// Which CI job wants to exchange `token`.
    async fn job(&self, token: &str, now: Timestamp) -> Result<Job, AuthError>;
}

/// A message about an access request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its id: one that comes twice has the same.
    pub id: NoticeId,
    /// The access request.
    pub about: AccessRequestId,
    /// A JSON document.
    pub body: String,
    /// The same for people.
    pub summary: Summary,
}

/// Why somebody was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotDelivered {
    /// In words, without secrets.
    pub why: String,
    /// Whether it may work later.
    pub again: bool,
    /// How long the receiver wants to be left alone, if it says so.
    pub rest: Option<SignedDuration>,
    /// Whether it may have arrived all the same: it was sent, and nobody answered.
    pub lost: bool,
}

impl NotDelivered {
    /// It may work later.
    pub fn yet(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: true, rest: None, lost: false }
    }

    /// It was sent, and may have arrived: the answer was lost.
    pub fn lost(why: impl Into<String>) -> Self {
        Self { lost: true, ..Self::yet(why) }
    }

    /// It will be refused again.
    pub fn ever(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: false, rest: None, lost: false }
    }
}

/// Brings messages to those whom policies name.
#[async_trait]
pub trait Notifier: Debug + Send + Sync {
    /// Brings one, once; a few seconds at most.
    async fn deliver(&self, target: &NoticeTarget, notice: &Notice) -> Result<(), NotDelivered>;

    /// Who can be told, as the configuration has them.
    fn receivers(&self) -> Vec<ConnectedSystem> {
        Vec::new()
    }

    /// Nobody has to look at that access request any more: takes back what stands there of it.
    async fn take_back(
        &self,
        _target: &NoticeTarget,
        _about: AccessRequestId,
    ) -> Result<(), NotDelivered> {
        Ok(())
    }
}

/// A requestable refusal, to be kept for an hour so that its principal can ask about it.
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
    /// Method and path, for people.
    pub summary: String,
    /// What would have opened it.
    pub ways: Vec<Way>,
    /// Its body, as people see it; none if nobody had to read it, or nobody could.
    pub body: Option<ShownBody>,
    /// When.
    pub time: Timestamp,
}

/// A connection as the gate opened it.
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
    /// `http`, `grpc`, `websocket`, `sse`.
    pub protocol: &'static str,
    /// Since when.
    pub since: Timestamp,
}

impl ConnectionInfo {
    /// The grants that it hangs on.
    pub fn grants(&self) -> impl Iterator<Item = GrantId> {
        self.grant.iter().chain(&self.reveals).copied()
    }

    /// Whether it ends with this grant.
    pub fn hangs_on(&self, id: GrantId) -> bool {
        self.grants().any(|grant| grant == id)
    }
}

/// A request that is about to wait at the gate, and what people see of it.
#[derive(Debug, Clone)]
pub struct HeldRequest {
    /// The request.
    pub request: RequestId,
    /// What.
    pub operation: OperationName,
    /// Where.
    pub resource: Resource,
    /// The rule of the way that is taken.
    pub rule: PolicyId,
    /// What the grant shall be bound to.
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

/// What became of an access request that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldAnswer {
    /// Its grant is published.
    Approved,
    /// No: who or what, and why.
    Declined(String),
    /// Over without an answer: withdrawn, or expired.
    Over,
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

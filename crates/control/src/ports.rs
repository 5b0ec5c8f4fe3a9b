//! What control needs from outside and does not know how to do itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::IpAddr,
};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_identity::{AuthError, Authenticated, Job};
use portcullis_model::{
    AttributeValue, ConnectionId, Event, GrantId, Group, InstanceName, OperationName, PrincipalId,
    RequestId, Resource, Secret, ServiceName, SignInId, Way,
};

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

/// The transparency log, as control writes and reads it.
#[async_trait]
pub trait EventLog: Debug + Send + Sync {
    /// Appends one event; returns its position once it is durable.
    async fn append(&self, event: &Event) -> Result<u64, LogUnavailable>;

    /// How many leaves there are.
    async fn size(&self) -> Result<u64, LogUnavailable>;

    /// Leaves in their order, starting at `from`, at most `limit`.
    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, LogUnavailable>;

    /// A published file of the log by its C2SP path; `None` if there is no such file.
    async fn file(&self, path: &str) -> Result<Option<Vec<u8>>, LogUnavailable>;
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
}

/// Checks the JWTs that workloads present at control.
#[async_trait]
pub trait WorkloadVerifier: Debug + Send + Sync {
    /// Who presents `token`.
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Authenticated, AuthError>;

    /// Which CI job wants to exchange `token`.
    async fn job(&self, token: &str, now: Timestamp) -> Result<Job, AuthError>;
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
    /// The sign-in that it hangs on.
    pub sign_in: Option<SignInId>,
    /// The caller's address.
    pub source: IpAddr,
    /// `http`, `grpc`, `websocket`, `sse`.
    pub protocol: &'static str,
    /// Since when.
    pub since: Timestamp,
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

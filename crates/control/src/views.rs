//! What control answers, for the API to put on the wire.

mod connector;
mod content;
pub mod grant;
pub mod overview;
mod policies;
pub mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use portcullis_identity::{
    dpop::Asked,
    passkey::{AuthenticationResponse, RequestOptions},
};
use portcullis_model::{
    AccessRequest, AttributeValue, BoundTo, ConnectionId, Decision, DirectoryId, Grant, GrantId,
    Group, Incident, IncidentId, InstanceName, OperationName, PolicyId, Principal, PrincipalId,
    RefusalId, Scope, Secret, ServiceName, Severity, ShownBody, SignIn, Thumbprint, Way, Window,
};

pub use self::connector::{ConnectorState, ConnectorView, RefusedMessage};
pub use self::content::{ContentState, ContentView, ErasureView};
pub use policies::{BundleText, BundleView, CaseFailure, Explain, Explanation, PolicyTests};
pub use portcullis_model::EventFilter;
pub use portcullis_store::{StoredEmail, StoredGroup, StoredName, StoredUser};

/// A device sign-in that has begun (RFC 8628, through control).
#[derive(Debug, Clone)]
pub struct DeviceSignIn {
    /// What the CLI polls with; ours, not the provider's.
    pub device_token: Secret,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code filled in.
    pub verification_uri_complete: Option<String>,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// Seconds between polls.
    pub interval: u32,
}

/// What a poll found.
#[derive(Debug, Clone)]
pub enum DevicePoll {
    /// Not yet; poll again after so many seconds.
    Pending {
        /// Seconds.
        interval: u32,
    },
    /// The person signed in.
    Done {
        /// The control sign-in's token.
        token: Secret,
        /// The sign-in.
        sign_in: Box<SignIn>,
    },
}

/// Who the caller is.
#[derive(Debug, Clone)]
pub struct WhoAmI {
    /// The principal.
    pub principal: PrincipalId,
    /// What to call them.
    pub name: String,
    /// Verified e-mail.
    pub email: Option<String>,
    /// Groups.
    pub groups: BTreeSet<Group>,
    /// `sign_in` or `jwt`.
    pub method: &'static str,
    /// When they authenticated.
    pub authenticated_at: Timestamp,
    /// When that ends.
    pub ends_at: Timestamp,
}

/// What a caller may do anywhere at all, for what a console shows; each act is decided when it is done.
#[expect(clippy::struct_excessive_bools, reason = "each is a right of its own")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Powers {
    /// Review an access request for some operation.
    pub reviews: bool,
    /// End grants of some service.
    pub revokes: bool,
    /// Open and close incidents about some service.
    pub manages_incidents: bool,
    /// Read the record.
    pub reads_record: bool,
    /// Change the bundle, people and keys.
    pub administers: bool,
}

/// Where what is known of the caller came from.
#[derive(Debug, Clone)]
pub struct Origins {
    /// How they proved who they are, in words.
    pub scheme: String,
    /// The issuer or provider that vouched for them, as it calls itself.
    pub issuer: String,
    /// How their subject is made from claims.
    pub subject: String,
    /// Claims that policies may read.
    pub claims: BTreeMap<String, AttributeValue>,
    /// Each group, and what gave it.
    pub groups: BTreeMap<Group, String>,
}

/// Whether an operation can be used, as far as can be told without the request itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Standing policy or a grant permits it.
    Open,
    /// It can be asked for.
    Requestable(Vec<Way>),
    /// Standing policy shows a class of data where this holds, which the gate checks with each request.
    Conditional(Vec<String>),
    /// None of these.
    Closed,
}

/// One operation, for one caller.
#[derive(Debug, Clone)]
pub struct OperationView {
    /// Its name.
    pub name: OperationName,
    /// `read`, `write`, `admin`.
    pub group: &'static str,
    /// What the caller can do with it.
    pub reach: Reach,
}

/// One service, for one caller. Services in which no permit's head matches the caller are not shown.
#[derive(Debug, Clone)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Its hosts.
    pub hosts: Vec<String>,
    /// Its instances.
    pub instances: Vec<InstanceName>,
    /// Its operations.
    pub operations: Vec<OperationView>,
    /// Its classes of sensitive data: what it is to see each.
    pub classes: Vec<OperationView>,
}

/// A refusal, with its ways as they are now.
#[derive(Debug, Clone)]
pub struct RefusalView {
    /// Its code.
    pub id: RefusalId,
    /// When it happened.
    pub time: Timestamp,
    /// What was refused.
    pub operation: OperationName,
    /// Where.
    pub service: ServiceName,
    /// On which instance.
    pub instance: Option<InstanceName>,
    /// Method and path.
    pub summary: String,
    /// Its digest.
    pub digest: Option<String>,
    /// What would open it now; empty if nothing would.
    pub ways: Vec<Way>,
    /// Its body, masked, if it was kept.
    pub body: Option<ShownBody>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum AskFor {
    /// What a refusal was about.
    Refusal(RefusalId),
    /// Named operations of one service.
    Operations(Vec<AskOperation>),
    /// More of a grant of one's own: its end moves when it is approved.
    Extension(GrantId),
}

/// One operation asked for.
#[derive(Debug, Clone)]
pub struct AskOperation {
    /// The operation.
    pub operation: OperationName,
    /// On one addressed instance only.
    pub instance: Option<InstanceName>,
    /// The way to take; the first one if absent.
    pub rule: Option<PolicyId>,
}

/// An access request to be made.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What for.
    pub what: AskFor,
    /// The way to take, for all of it; the first one of each if absent.
    pub rule: Option<PolicyId>,
    /// Why; must not be empty.
    pub reason: String,
    /// The open incident that it is for; any, or none, if absent.
    pub incident: Option<IncidentId>,
    /// For how long; the way's longest if absent.
    pub duration: Option<Window>,
}

/// An incident to be opened.
#[derive(Debug, Clone)]
pub struct NewIncident {
    /// Its id; a new one if absent.
    pub id: Option<IncidentId>,
    /// What it is about.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The services that it is about; not empty.
    pub services: BTreeSet<ServiceName>,
    /// Who works on it.
    pub responders: BTreeSet<PrincipalId>,
    /// For how long that is known, unless it is said again.
    pub fresh_for: Option<Window>,
}

/// What is said about an incident; what is absent stays as it is.
#[derive(Debug, Clone, Default)]
pub struct IncidentChange {
    /// What it is about.
    pub title: Option<String>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// The services that it is about; not empty.
    pub services: Option<BTreeSet<ServiceName>>,
    /// Who works on it.
    pub responders: Option<BTreeSet<PrincipalId>>,
    /// For how long that is known; as long as before if absent.
    pub fresh_for: Option<Window>,
}

/// Who is on call from now on.
#[derive(Debug, Clone)]
pub struct OnCallInput {
    /// Who; nobody if empty.
    pub people: BTreeSet<PrincipalId>,
    /// Until when that is known; until something else is said if absent.
    pub until: Option<Timestamp>,
}

/// A review to be given.
#[derive(Debug, Clone)]
pub struct ReviewInput {
    /// Yes or no.
    pub decision: Decision,
    /// Why; a decline needs it.
    pub note: Option<String>,
    /// A shorter window.
    pub duration: Option<Window>,
    /// Less than was asked for.
    pub scope: Scope,
    /// A passkey's signature over the challenge that was given out for exactly this.
    pub passkey: Option<Box<AuthenticationResponse>>,
}

/// What a reviewer's passkey has to sign.
#[derive(Debug, Clone)]
pub struct PasskeyChallenge {
    /// For the browser.
    pub options: RequestOptions,
    /// What the challenge stands for, for people and programs to look at before.
    pub statement: String,
    /// When it lapses.
    pub expires_at: Timestamp,
}

/// What a principal is called, as far as it is known now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownAs {
    /// What the directory calls them, else what their provider does.
    pub name: Option<String>,
    /// A verified e-mail address, or the directory's.
    pub email: Option<String>,
}

/// An access request as one viewer may see it.
#[derive(Debug, Clone)]
pub struct AccessRequestView {
    /// The access request.
    pub request: AccessRequest,
    /// What the requester is called now.
    pub requester: KnownAs,
    /// Whether this viewer could review it now.
    pub can_review: bool,
    /// Whether their right to review it holds with a passkey only.
    pub needs_passkey: bool,
    /// Who could, by name.
    pub reviewers: Vec<String>,
    /// The incident that it is for, as long as it is open.
    pub incident: Option<Arc<Incident>>,
    /// The body of the request that was refused or waits, masked, as long as it is kept. Only where one
    /// access request is looked at.
    pub body: Option<ShownBody>,
}

/// Which access requests to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRequestFilter {
    /// The caller's own.
    Mine,
    /// The caller's own that somebody is yet to answer; they come in one part.
    MineWaiting,
    /// Those that the caller could review now.
    ToReview,
    /// Of these, the emergencies that nobody has looked at since.
    ToReviewAfterwards,
    /// All that the caller may see.
    All,
}

/// A live connection.
#[derive(Debug, Clone)]
pub struct ConnectionView {
    /// Its id.
    pub id: ConnectionId,
    /// Who.
    pub principal: PrincipalId,
    /// Where.
    pub service: ServiceName,
    /// Which instance.
    pub instance: InstanceName,
    /// What.
    pub operation: OperationName,
    /// The grant that opened it.
    pub grant: Option<GrantId>,
    /// The grants that let it show sensitive data: it ends with the first of them.
    pub reveals: Vec<GrantId>,
    /// `http`, `grpc`, `websocket`, `sse`.
    pub protocol: &'static str,
    /// The caller's address.
    pub source: IpAddr,
    /// Since when.
    pub since: Timestamp,
    /// Whether whoever looks may close it.
    pub may_close: bool,
}

/// A gate sign-in made from a control sign-in.
#[derive(Debug, Clone)]
pub struct GateSignIn {
    /// Its token.
    pub token: Secret,
    /// The sign-in.
    pub sign_in: SignIn,
}

/// A one-time token for a grant of the caller's own.
#[derive(Debug, Clone)]
pub struct NewOneTimeToken {
    /// It.
    pub token: Secret,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// What it leads to.
    pub grant: Grant,
}

/// The key of a tool that redeems a one-time token.
#[derive(Debug, Clone, Copy)]
pub enum ToolKey<'a> {
    /// It signed a proof for this very call.
    Proof {
        /// As it was sent.
        proof: &'a str,
        /// The call.
        asked: Asked<'a>,
    },
    /// It is a client certificate's, which the gate will see.
    Certificate(Thumbprint),
}

/// What a one-time token was redeemed for.
#[derive(Debug, Clone)]
pub struct NewGrantToken {
    /// It.
    pub token: Secret,
    /// The key without which it is worth nothing.
    pub bound_to: Option<BoundTo>,
    /// What it opens, and until when.
    pub grant: Grant,
}

/// A user of the directory, with the ids and names of their groups.
#[derive(Debug, Clone)]
pub struct DirectoryUser {
    /// The user.
    pub user: StoredUser,
    /// Their groups.
    pub groups: Vec<(DirectoryId, String)>,
}

/// Somebody who was seen, for reviewers and auditors.
#[derive(Debug, Clone)]
pub struct PrincipalView {
    /// Who, as they are now.
    pub principal: Principal,
    /// When they last signed in.
    pub last_sign_in: Timestamp,
    /// Whether they may sign in.
    pub active: bool,
    /// Whether the directory knows them, and so has their groups.
    pub is_provisioned: bool,
    /// Their sign-ins in force.
    pub sign_ins: Vec<SignIn>,
    /// Their grants in force, as far as the reader may see them.
    pub grants: Vec<Grant>,
}

/// A run that a CI job's token was exchanged for.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its token, for control.
    pub token: Secret,
    /// The sign-in.
    pub sign_in: SignIn,
    /// When it has to be heard of.
    pub heartbeat_by: Timestamp,
}

/// A run that was heard of.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    /// When it has to be heard of again.
    pub heartbeat_by: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// One leaf of the record: its number and its JSON text.
#[derive(Debug, Clone)]
pub struct EventLine {
    /// Position in the log.
    pub seq: u64,
    /// The leaf as it was hashed.
    pub json: String,
}

/// A part of the record: what answered a search.
#[derive(Debug, Clone, Default)]
pub struct EventPart {
    /// In the order that was asked for.
    pub lines: Vec<EventLine>,
    /// Where to go on: at this position, or, the newest first, before it. Absent if nothing is left there.
    pub next: Option<u64>,
    /// Whether there is something there to look at now.
    pub more: bool,
    /// How many entries the record had.
    pub size: u64,
    /// The first entry that retention has not removed.
    pub kept_from: u64,
}

//! Attempts: what the gate writes for every request, in two halves around the forwarding.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    BundleStamp, ClassName, ConnectionId, ContentNote, EventId, EventType, GrantId, InstanceName,
    OperationName, PolicyId, PrincipalId, RequestId, ServiceName,
};

/// How surely an attempt is on record before its request is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordLevel {
    /// Written to the operating system: survives the process, not a power cut.
    Standard,
    /// On stable storage: `fdatasync` returned.
    Strict,
}

/// The first half, known once the gate has decided. One of these is on record before a byte goes
/// upstream, and one for each refusal.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt<'a> {
    /// Its request id.
    pub request: RequestId,
    /// When the decision was made.
    pub time: Timestamp,
    /// Always `attempt`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// OCSF HTTP Activity.
    pub class: u32,
    /// Who; nobody if unidentified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<&'a PrincipalId>,
    /// How they proved it: `sign_in`, `jwt`, `grant_token`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<&'static str>,
    /// The service, if the host named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a ServiceName>,
    /// The addressed instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<&'a InstanceName>,
    /// The operation, if one matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'a OperationName>,
    /// `permit`, `requestable`, `deny`, or `refuse` where nothing could be decided.
    pub decision: &'static str,
    /// Why it was refused: the code of a [`crate::Refusal`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'static str>,
    /// The determining policies.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub policies: &'a [PolicyId],
    /// The bundle that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<&'a BundleStamp>,
    /// The grant that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The caller's address.
    pub source: IpAddr,
    /// The country that it is in, if a policy asked: as it was decided with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<&'a str>,
    /// The HTTP method.
    pub method: &'a str,
    /// The host, as routed.
    pub host: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The W3C trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<&'a str>,
    /// What was kept of it, as a policy's `@record` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a ContentNote>,
}

/// What of an attempt is read again, where it was written down elsewhere than in the record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AttemptNote {
    /// The request's id.
    pub request: RequestId,
    /// Who.
    pub principal: Option<PrincipalId>,
    /// The service.
    pub service: Option<ServiceName>,
    /// The addressed instance.
    pub instance: Option<InstanceName>,
    /// The operation.
    pub operation: Option<OperationName>,
    /// The determining policies.
    #[serde(default)]
    pub policies: Vec<PolicyId>,
    /// The caller's address.
    pub source: IpAddr,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
}

/// The second half, known at the response head.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Outcome<'a> {
    /// The status that the client got.
    pub status: u16,
    /// From the end of the request head to the response head, in microseconds.
    pub latency_us: u64,
    /// The instance that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<&'a InstanceName>,
    /// The connection that it opened, if it lives on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// What went wrong after the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// The classes of sensitive data that are masked for the caller.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub masked: &'a [&'a ClassName],
    /// Those of them that there was something of in the answer. None: it was not all there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<&'a [&'a ClassName]>,
    /// Those that are not masked.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub revealed: &'a [Revealed<'a>],
}

/// A class of sensitive data that somebody saw.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Revealed<'a> {
    /// Its name.
    pub class: &'a ClassName,
    /// The grant that revealed it; none if standing policy did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
}

/// Refusals of strangers that were too many to list: what the gate writes instead of them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RefusalsCounted {
    /// Its id.
    pub id: EventId,
    /// The end of the time in which they came.
    pub time: Timestamp,
    /// Always [`EventType::RefusalsCounted`].
    #[serde(rename = "type")]
    pub kind: EventType,
    /// OCSF HTTP Activity.
    pub class: u32,
    /// The start of that time.
    pub since: Timestamp,
    /// How many.
    pub count: u64,
}

impl RefusalsCounted {
    /// `count` refusals from `since` until `time`.
    pub const fn new(id: EventId, count: u64, since: Timestamp, time: Timestamp) -> Self {
        let kind = EventType::RefusalsCounted;
        Self { id, time, kind, class: kind.ocsf_class(), since, count }
    }
}

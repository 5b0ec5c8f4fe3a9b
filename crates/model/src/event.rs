//! Events: one entry of the record each.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AccessRequestId, AlertNote, BundleDigest, ClassName, ConnectionId, ErasedNote, EventId,
    GrantId, IncidentId, InstanceName, LegalHold, OperationName, PasskeyProof, PolicyId,
    PrincipalId, RemovalNote, RequestId, ServiceName, SignInId,
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A request at the gate, with its decision and outcome.
    Attempt,
    /// A long-lived exchange ended.
    ConnectionEnded,
    /// Refusals that were counted, not listed.
    RefusalsCounted,
    /// Somebody asked for access.
    AccessRequested,
    /// Somebody answered.
    Reviewed,
    /// A review that did not count, and why.
    ReviewRefused,
    /// An access request ended: approved, declined, withdrawn, expired.
    AccessRequestEnded,
    /// Somebody took an emergency way.
    EmergencyOpened,
    /// Somebody proposed a sealed credential.
    SealedProposed,
    /// A second person agreed to a sealed credential.
    SealedAgreed,
    /// A sealed credential opens nothing any more.
    SealedRevoked,
    /// A request went through by sealed credential while the record could not be written.
    SealedUsed,
    /// What gates wrote down of sealed credentials was changed, or a part of it is gone.
    SealedLogBroken,
    /// Somebody looked at an emergency afterwards: `approve` if it was in order.
    EmergencyReviewed,
    /// A grant started.
    GrantStarted,
    /// The end of a grant moved, as people or policy approved.
    GrantExtended,
    /// One use of a counted grant was spent.
    GrantUsed,
    /// A grant ended, and why.
    GrantEnded,
    /// A holder got a one-time token for a grant.
    TokenIssued,
    /// Somebody redeemed it for a grant token.
    TokenRedeemed,
    /// Somebody tried to redeem it again.
    TokenRefused,
    /// Somebody was told of an access request.
    NoticeDelivered,
    /// Somebody could not be told of an access request, and why.
    NoticeFailed,
    /// What a receiver does not take was set aside.
    DeliverySetAside,
    /// What had been set aside arrived after all.
    DeliveryRedelivered,
    /// Somebody dropped what had been set aside.
    DeliveryDropped,
    /// A decision of another system that was not taken, and why.
    DecisionRefused,
    /// A bundle came into force.
    BundleActivated,
    /// A bundle was refused; the old one stayed.
    BundleRefused,
    /// A person signed in, or a sign-in was made from another.
    SignedIn,
    /// Signing in failed.
    SignInRefused,
    /// A sign-in ended.
    SignInEnded,
    /// The identity provider changed a user or a group of the directory.
    DirectoryChanged,
    /// Somebody registered a passkey.
    PasskeyRegistered,
    /// Somebody deleted one of their passkeys.
    PasskeyRemoved,
    /// What the identity provider says of a person changed.
    PersonChanged,
    /// Somebody opened an incident.
    IncidentOpened,
    /// What is known of an incident changed, or was said again.
    IncidentChanged,
    /// Somebody closed an incident; grants for it ended.
    IncidentClosed,
    /// Who is on call changed, or was said again.
    ScheduleChanged,
    /// A gate saw a workload for the first time, or its issuer says something else of it than before.
    WorkloadSeen,
    /// Somebody used the control API in a way that changes nothing but is worth knowing.
    ControlRefused,
    /// Somebody closed a connection.
    ConnectionClosed,
    /// Somebody read the record.
    RecordRead,
    /// An evidence pack was given to somebody; which one, by the digest of what it holds.
    EvidenceGiven,
    /// Somebody erased what was kept of a request; the record still proves that it was there.
    ContentErased,
    /// Old entries are about to be removed from the record; which ones, and by which policy.
    RecordRemoved,
    /// Somebody placed a legal hold on a part of the record.
    LegalHoldPlaced,
    /// Somebody released a legal hold.
    LegalHoldReleased,
    /// A sink has taken nothing for long.
    ExportFailing,
    /// It takes events again.
    ExportRecovered,
    /// A message in the name of an incident system that did nothing, and why.
    HookRefused,
    /// An incident system has told nothing for long: what it keeps is unknown.
    ConnectorFailing,
    /// It tells again.
    ConnectorRecovered,
    /// Somebody had a message sent to a sink or a webhook, to see whether it arrives.
    ExportTested,
    /// An alert rule fired.
    AlertFired,
    /// Somebody went through who had access to what, and signed it off.
    AccessReviewed,
    /// The process started.
    Started,
    /// The process stopped in good order.
    Stopped,
}

impl EventType {
    /// The OCSF 1.x class: 4002 HTTP Activity, 3001 Account Change, 3002 Authentication, 3003 Authorize Session,
    /// 3004 Entity Management, 6003 API Activity, 6002 Application Lifecycle, 4001 Network Activity,
    /// 2004 Detection Finding.
    pub const fn ocsf_class(self) -> u32 {
        match self {
            Self::Attempt | Self::SealedUsed | Self::RefusalsCounted => 4002,
            Self::ConnectionEnded | Self::ConnectionClosed => 4001,
            Self::IncidentOpened
            | Self::IncidentChanged
            | Self::IncidentClosed
            | Self::ScheduleChanged
            | Self::AccessRequested
            | Self::Reviewed
            | Self::ReviewRefused
            | Self::DecisionRefused
            | Self::EmergencyReviewed
            | Self::AccessReviewed
            | Self::AccessRequestEnded => 3004,
            Self::EmergencyOpened
            | Self::SealedProposed
            | Self::SealedAgreed
            | Self::SealedRevoked
            | Self::GrantStarted
            | Self::GrantExtended
            | Self::GrantUsed
            | Self::GrantEnded
            | Self::TokenIssued
            | Self::TokenRedeemed
            | Self::TokenRefused => 3003,
            Self::SignedIn | Self::SignInRefused | Self::SignInEnded => 3002,
            Self::PersonChanged
            | Self::WorkloadSeen
            | Self::PasskeyRegistered
            | Self::PasskeyRemoved
            | Self::DirectoryChanged => 3001,
            Self::ControlRefused
            | Self::RecordRead
            | Self::EvidenceGiven
            | Self::ContentErased
            | Self::LegalHoldPlaced
            | Self::LegalHoldReleased
            | Self::ExportTested
            | Self::HookRefused
            | Self::NoticeDelivered
            | Self::NoticeFailed
            | Self::DeliverySetAside
            | Self::DeliveryRedelivered
            | Self::DeliveryDropped => 6003,
            Self::AlertFired => 2004,
            Self::BundleActivated
            | Self::BundleRefused
            | Self::SealedLogBroken
            | Self::RecordRemoved
            | Self::ExportFailing
            | Self::ExportRecovered
            | Self::ConnectorFailing
            | Self::ConnectorRecovered
            | Self::Started
            | Self::Stopped => 6002,
        }
    }
}

/// Which policies were in force.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BundleStamp {
    /// The digest of the whole content.
    pub digest: BundleDigest,
    /// Its place in the order of activations.
    pub generation: u64,
}

/// An entry of the record that control writes. Attempts have a shape of their own on the hot path
/// ([`crate::Attempt`]) and the same field names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id: it moves from the store to the log once.
    pub id: EventId,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The OCSF class of `kind`.
    pub class: u32,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalId>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// On which instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// What.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationName>,
    /// `permit`, `requestable`, `deny`, `approve`, `decline`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Arc<str>>,
    /// The determining policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyId>,
    /// The bundle in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleStamp>,
    /// The grant concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The grants that let a connection show sensitive data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reveals: Vec<GrantId>,
    /// The classes of sensitive data that were masked in what a connection carried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub met: Vec<ClassName>,
    /// The incident concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// The access request concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_request: Option<AccessRequestId>,
    /// The sign-in concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInId>,
    /// The connection concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// The HTTP request concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The caller's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// In words, for people; escaped wherever it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The signature that a review was given with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<Box<PasskeyProof>>,
    /// The alert that fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<Box<AlertNote>>,
    /// What was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Box<ErasedNote>>,
    /// What is removed from the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Box<RemovalNote>>,
    /// The legal hold that was placed or released, as it is then: all that there is to know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<Box<LegalHold>>,
}

impl Event {
    /// An event with nothing but what every event has.
    pub fn new(id: EventId, time: Timestamp, kind: EventType) -> Self {
        Self {
            id,
            time,
            kind,
            class: kind.ocsf_class(),
            principal: None,
            service: None,
            instance: None,
            operation: None,
            decision: None,
            policies: Vec::new(),
            bundle: None,
            grant: None,
            reveals: Vec::new(),
            met: Vec::new(),
            incident: None,
            access_request: None,
            sign_in: None,
            connection: None,
            request: None,
            source: None,
            detail: None,
            passkey: None,
            alert: None,
            erased: None,
            removal: None,
            legal_hold: None,
        }
    }
}

//! Refusals: why not. A closed enum, so that every protocol answers each one on purpose.

use std::time::Duration;

use serde::Serialize;

use crate::{BundleDigest, OperationName, RefusalId, ServiceName, Way};

/// Why the gate did not forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request cannot be read in exactly one way.
    Malformed(&'static str),
    /// An HTTP method that nobody forwards.
    MethodNotAllowed,
    /// No credentials.
    Unauthenticated,
    /// Credentials that are worth nothing; in words that betray nothing.
    BadCredentials(&'static str),
    /// A page of another origin used a browser's identity.
    CrossOrigin,
    /// Policy says no, and nothing would open it.
    Denied(Denial),
    /// Policy says not yet.
    Requestable(Box<Requestable>),
    /// It waited at the gate, and a reviewer or policy said no.
    Declined(Box<Declined>),
    /// No such host, or nothing there for this principal: the same answer.
    NotFound,
    /// A body over its limit.
    TooLarge(&'static str),
    /// A head over its limit.
    HeadTooLarge(&'static str),
    /// A body that comes too slowly.
    TooSlow,
    /// The connection was made for another host.
    Misdirected,
    /// A value that the declared type cannot hold.
    NotRepresentable(String),
    /// HTTP, to a service that speaks TCP and no HTTP.
    SpeaksTcp(ServiceName),
    /// Too many for now.
    Limited {
        /// Seconds until it is worth trying again.
        retry_after: u32,
    },
    /// Our own trouble.
    Unavailable(Unavailable),
    /// The upstream's trouble.
    Upstream(UpstreamTrouble),
}

/// A denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The service.
    pub service: ServiceName,
    /// The operation; `None` if the service has none for this request.
    pub operation: Option<OperationName>,
}

/// A denial that a grant would lift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requestable {
    /// The service.
    pub service: ServiceName,
    /// The operation.
    pub operation: OperationName,
    /// What would open it; never empty.
    pub ways: Vec<Way>,
    /// The digest of this very request: `sha256:…`, where a way counts uses.
    pub digest: Option<String>,
    /// The code to ask with; absent where too many were kept already.
    pub id: Option<RefusalId>,
    /// The bundle that decided.
    pub bundle: BundleDigest,
    /// It has waited at the gate, in vain.
    pub waited: Option<Waited>,
}

/// How long a request waited at the gate without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// So long.
    pub time: Duration,
    /// It was the caller's own deadline (`grpc-timeout`) that ended it.
    pub by_caller: bool,
}

/// The answer to a request that waited: no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declined {
    /// The service.
    pub service: ServiceName,
    /// The operation.
    pub operation: OperationName,
    /// Who or what, and why, in words.
    pub why: String,
}

/// What of ours is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// The record cannot be written.
    Record,
    /// The store does not answer.
    Store,
    /// The keys of this issuer are not known yet.
    Issuer,
    /// There is as much under way as there may be.
    Overloaded,
    /// The process is stopping.
    ShuttingDown,
    /// A fault of ours.
    Internal,
}

/// What went wrong upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamTrouble {
    /// No connection.
    Unreachable,
    /// It answered something that is no HTTP, or broke off.
    Broken,
    /// It did not answer in time.
    TimedOut,
    /// As much is under way to it as may be.
    Overloaded,
    /// What it answered may hold sensitive data, and cannot be inspected.
    Opaque,
}

impl Refusal {
    /// The code in the record, in metrics and in the problem's type.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Unauthenticated => "unauthenticated",
            Self::BadCredentials(_) => "bad-credentials",
            Self::CrossOrigin => "cross-origin",
            Self::Denied(_) => "denied",
            Self::Requestable(_) => "requestable",
            Self::Declined(_) => "declined",
            Self::NotFound => "not-found",
            Self::TooLarge(_) | Self::HeadTooLarge(_) => "too-large",
            Self::TooSlow => "too-slow",
            Self::Misdirected => "misdirected",
            Self::NotRepresentable(_) => "not-representable",
            Self::SpeaksTcp(_) => "speaks-tcp",
            Self::Limited { .. } => "limited",
            Self::Unavailable(Unavailable::Internal) => "internal",
            Self::Unavailable(_) => "unavailable",
            Self::Upstream(_) => "upstream",
        }
    }

    /// What the record calls the decision behind it.
    pub const fn decision(&self) -> &'static str {
        match self {
            Self::Denied(_) | Self::Declined(_) | Self::NotFound => "deny",
            Self::Requestable(_) => "requestable",
            _ => "refuse",
        }
    }
}

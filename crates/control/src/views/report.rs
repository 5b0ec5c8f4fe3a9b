//! Who had access to what, for those who answer for it.

use jiff::Timestamp;
use portcullis_model::{
    AccessRequest, BundleDigest, Grant, OperationName, PrincipalId, ServiceName,
};
use serde::Serialize;

/// The access that there was in a time, and the access that stands.
#[derive(Debug, Clone)]
pub struct AccessReport {
    /// From then on.
    pub since: Timestamp,
    /// Before then.
    pub until: Timestamp,
    /// When this was looked up; standing access is as it was then.
    pub made_at: Timestamp,
    /// What is in it.
    pub content: AccessContent,
    /// SHA-256 of its times and its content: what somebody signs off.
    pub digest: String,
}

/// What a report says.
#[derive(Debug, Clone, Serialize)]
pub struct AccessContent {
    /// The policies that standing access is by.
    pub bundle: BundleDigest,
    /// The grants that were in force some of the time, oldest first.
    pub grants: Vec<ReportedGrant>,
    /// Who saw sensitive data.
    pub revealed: Vec<SeenData>,
    /// Whether there was more of it than is counted.
    pub more_revealed: bool,
    /// Since when the record is kept, if retention removed some of that time: who saw what before is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_since: Option<Timestamp>,
    /// What each principal reaches without asking anybody.
    pub standing: Vec<StandingAccess>,
}

/// A grant, and how it came about.
#[derive(Debug, Clone, Serialize)]
pub struct ReportedGrant {
    /// The grant.
    pub grant: Grant,
    /// What it was asked with, and who reviewed it.
    pub request: Option<AccessRequest>,
}

/// Sensitive data of one class that one principal saw at one service.
#[derive(Debug, Clone, Serialize)]
pub struct SeenData {
    /// Who, as it stands in the record.
    pub principal: String,
    /// Where.
    pub service: String,
    /// Which class.
    pub class: String,
    /// In how many answers.
    pub answers: u64,
    /// In how many of them by a grant, and not by standing policy.
    pub by_grant: u64,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
}

/// What one principal reaches at one service without asking anybody.
#[derive(Debug, Clone, Serialize)]
pub struct StandingAccess {
    /// Who.
    pub principal: PrincipalId,
    /// What they are called.
    pub name: String,
    /// Where.
    pub service: ServiceName,
    /// The operations.
    pub operations: Vec<OperationName>,
    /// The classes of data that they see.
    pub reveals: Vec<OperationName>,
}

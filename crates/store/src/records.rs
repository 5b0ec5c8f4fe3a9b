//! What is stored beside the model's own types.

use jiff::Timestamp;
use portcullis_model::{
    AccessRequestId, Audience, Base64Url, BundleDigest, GrantId, GrantToken, IncidentId, NoticeId,
    OneTimeToken, OperationName, PersonId, PrincipalId, RefusalId, RequestId, Resource, SignIn,
    SignInId, TokenHash, Way,
};
use serde::{Deserialize, Serialize};

/// A human being.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub id: PersonId,
    /// The verified e-mail address that links their principals, in lower case.
    pub email: Option<String>,
}

/// A sign-in with the hash of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSignIn {
    /// The hash; the token itself is nowhere.
    pub hash: TokenHash,
    /// The sign-in.
    pub sign_in: SignIn,
    /// When a browser last used it, if that is known.
    pub seen_at: Option<Timestamp>,
}

/// What a one-time code stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCode {
    /// The control sign-in that a gate sign-in will be made from.
    pub parent: SignInId,
    /// The only origin that it is good for: `https://payments.example.com`.
    pub origin: String,
    /// The SHA-256 of what the browser holds there, in base64url: whoever exchanges it must show that.
    pub challenge: String,
    /// When it lapses.
    pub expires_at: Timestamp,
}

/// A one-time token that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOneTimeToken {
    /// What it is for.
    pub token: OneTimeToken,
    /// Whether it was redeemed.
    pub redeemed: bool,
    /// Whether somebody presented it after that.
    pub again: bool,
}

/// A grant token with its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrantToken {
    /// The hash; the token itself is nowhere.
    pub hash: TokenHash,
    /// What it opens.
    pub token: GrantToken,
}

/// What the identity provider is asked with again about a sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProviderToken {
    /// The control sign-in.
    pub sign_in: SignInId,
    /// The provider's name in configuration.
    pub provider: String,
    /// The token, sealed with a key that is not in the store.
    pub sealed: String,
    /// When to ask again.
    pub due_at: Timestamp,
}

/// A device sign-in under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDevice {
    /// Which provider was asked.
    pub provider: String,
    /// The provider's device code, sealed with a key that only the holder of our token can make.
    pub sealed_code: String,
    /// When it began.
    pub began_at: Timestamp,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// Seconds between polls.
    pub interval: u32,
    /// Where the sign-in that results may be presented.
    pub audience: Audience,
}

/// A refusal that its principal may ask about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRefusal {
    /// Its code; means something to its principal only.
    pub id: RefusalId,
    /// Whose.
    pub principal: PrincipalId,
    /// The refused request.
    pub request: RequestId,
    /// What was refused.
    pub operation: OperationName,
    /// Where.
    pub resource: Resource,
    /// The digest of the refused request, where a way counts uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Method and path, for people.
    pub summary: String,
    /// What would have opened it then.
    pub ways: Vec<Way>,
    /// Its body as people see it, sealed under the key beside the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// When.
    pub time: Timestamp,
}

/// What was answered to a caller under a key of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// Whose key.
    pub principal: PrincipalId,
    /// The key.
    pub key: String,
    /// The digest of what was asked.
    pub asked: String,
    /// The access request that was the answer.
    pub access_request: AccessRequestId,
    /// When.
    pub at: Timestamp,
}

/// What a passkey was asked to sign. Kept under the hash of the challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChallenge {
    /// Who was asked: nobody else's answer counts.
    pub principal: PrincipalId,
    /// What for.
    #[serde(flatten)]
    pub purpose: ChallengePurpose,
    /// When it lapses.
    pub expires_at: Timestamp,
}

/// What a challenge is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "snake_case")]
pub enum ChallengePurpose {
    /// Registering a passkey.
    Register,
    /// Reviewing.
    Review {
        /// What is reviewed.
        access_request: AccessRequestId,
        /// The random half of the challenge. The other half is what the reviewer answers.
        nonce: Base64Url,
    },
}

/// Somebody who has to be told of an access request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredNotice {
    /// Its id.
    pub id: NoticeId,
    /// What of.
    pub access_request: AccessRequestId,
    /// Whom, as policy writes it: `webhook:https://…`.
    pub target: String,
    /// When, at the earliest.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
}

/// One activation of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBundle {
    /// Its name.
    pub digest: BundleDigest,
    /// Its place in the order.
    pub generation: u64,
    /// When.
    pub activated_at: Timestamp,
    /// By whom or what.
    pub by: String,
    /// The human being who did it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// The digest that this activation was rolled back from: it stays out until the files change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_over: Option<BundleDigest>,
    /// Its whole source, so that it can come back.
    pub source: serde_json::Value,
}

/// An event that the log does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the order of commits.
    pub seq: i64,
    /// The event.
    pub event: portcullis_model::Event,
}

/// Where the log has an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMark {
    /// The event's place in the order of commits.
    pub seq: i64,
    /// Its position in the log.
    pub position: u64,
}

/// Which access requests to read, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessRequests {
    /// Those that wait; only those before this one, if one is named.
    Pending(Option<AccessRequestId>),
    /// Emergencies that nobody has reviewed since; only those before this one, if one is named.
    ToReviewAfterwards(Option<AccessRequestId>),
    /// One principal's that wait.
    PendingOf(PrincipalId),
    /// One principal's emergencies that nobody has reviewed since; only those before this one, if one is named.
    ToReviewAfterwardsOf(PrincipalId, Option<AccessRequestId>),
    /// One principal's; only those before this one, if one is named.
    Of(PrincipalId, Option<AccessRequestId>),
    /// The newest of all; only those before this one, if one is named.
    Newest(Option<AccessRequestId>),
}

/// How far the sealed log is read: its next entry, and the hash of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedMark {
    /// The number of the next entry.
    pub number: u64,
    /// The hash of the entry before.
    pub before: String,
}

/// Which incidents to read, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incidents {
    /// Those that are open.
    Open,
    /// The newest of all.
    Newest,
}

/// Which grants to read, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// Those that have not ended.
    InForce,
    /// Those that have not ended and are for one incident.
    InForceFor(IncidentId),
    /// Those for one incident, ended or not.
    For(IncidentId),
    /// One principal's that have not ended.
    InForceOf(PrincipalId),
    /// One principal's; only those before this one, if one is named.
    Of(PrincipalId, Option<GrantId>),
    /// The newest of all; only those before this one, if one is named.
    Newest(Option<GrantId>),
    /// Those that would end at this time or after it, unless they were ended before.
    After(Timestamp),
}

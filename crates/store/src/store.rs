//! What control needs of a store.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_model::{
    AccessRequest, AccessRequestId, BundleDigest, DeliveryId, Event, EventId, Grant, GrantId,
    Incident, IncidentId, LegalHold, LegalHoldId, NoticeId, Passkey, PersonId, Principal,
    PrincipalId, RefusalId, Schedule, SealedCredential, SealedId, TokenHash,
};

use crate::{
    AccessRequests, Change, ContentsUnderKey, ExportCursor, Grants, Incidents, LogMark,
    MessageCounts, SealedMark, SeenPlace, SeenPrincipal, StoreError, StoredAnswer, StoredBundle,
    StoredButton, StoredChallenge, StoredCode, StoredContent, StoredDelivery, StoredDevice,
    StoredErasure, StoredEvent, StoredFiring, StoredGrantToken, StoredGroup, StoredHabit,
    StoredMessage, StoredNotice, StoredOneTimeToken, StoredProviderToken, StoredRefusal,
    StoredSignIn, StoredUser,
};

type Result<T> = std::result::Result<T, StoreError>;

/// The state of control, behind any database.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Makes all changes, in order, in one transaction that is on stable storage when this returns;
    /// or none of them.
    async fn commit(&self, changes: Vec<Change>) -> Result<()>;

    /// An access request by id.
    async fn access_request(&self, id: AccessRequestId) -> Result<Option<AccessRequest>>;

    /// Access requests, newest first, at most `limit`.
    async fn access_requests(
        &self,
        which: AccessRequests,
        limit: u32,
    ) -> Result<Vec<AccessRequest>>;

    /// A grant by id.
    async fn grant(&self, id: GrantId) -> Result<Option<Grant>>;

    /// Grants, newest first, at most `limit`.
    async fn grants(&self, which: Grants, limit: u32) -> Result<Vec<Grant>>;

    /// An incident by id.
    async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>>;

    /// Incidents, newest first, at most `limit`.
    async fn incidents(&self, which: Incidents, limit: u32) -> Result<Vec<Incident>>;

    /// All schedules that were set.
    async fn schedules(&self) -> Result<Vec<Schedule>>;

    /// When grants in force were last used, where that is known.
    async fn grants_used(&self) -> Result<Vec<(GrantId, Timestamp)>>;

    /// Somebody who has to be told, by the message's id.
    async fn notice(&self, id: NoticeId) -> Result<Option<StoredNotice>>;

    /// Who has to be told of something.
    async fn notices(&self) -> Result<Vec<StoredNotice>>;

    /// All sign-ins that have not been ended.
    async fn sign_ins(&self) -> Result<Vec<StoredSignIn>>;

    /// All principals ever seen.
    async fn principals(&self) -> Result<Vec<Principal>>;

    /// The same, each with when it was last seen.
    async fn seen(&self) -> Result<Vec<SeenPrincipal>>;

    /// The last seen first, at most `limit`, of those that come after this place of the list.
    async fn seen_before(
        &self,
        before: Option<&SeenPlace>,
        limit: u32,
    ) -> Result<Vec<SeenPrincipal>>;

    /// Those of `ids` that were seen, in no order.
    async fn seen_of(&self, ids: &[PrincipalId]) -> Result<Vec<SeenPrincipal>>;

    /// All users of the directory, deleted ones included.
    async fn directory_users(&self) -> Result<Vec<StoredUser>>;

    /// All groups of the directory.
    async fn directory_groups(&self) -> Result<Vec<StoredGroup>>;

    /// The person whose verified e-mail address this is (lower case).
    async fn person_by_email(&self, email: &str) -> Result<Option<PersonId>>;

    /// The person behind a principal.
    async fn person_of(&self, principal: &PrincipalId) -> Result<Option<PersonId>>;

    /// A device sign-in by the hash of our token.
    async fn device(&self, hash: &TokenHash) -> Result<Option<StoredDevice>>;

    /// How many device sign-ins are under way.
    async fn devices_under_way(&self) -> Result<u32>;

    /// What a one-time code stands for, by its hash.
    async fn code(&self, hash: &TokenHash) -> Result<Option<StoredCode>>;

    /// A one-time token by its hash.
    async fn one_time_token(&self, hash: &TokenHash) -> Result<Option<StoredOneTimeToken>>;

    /// The grant tokens of all grants that have not ended.
    async fn grant_tokens(&self) -> Result<Vec<StoredGrantToken>>;

    /// What identity providers are asked with again.
    async fn provider_tokens(&self) -> Result<Vec<StoredProviderToken>>;

    /// A refusal of `principal`; nobody else's.
    async fn refusal(
        &self,
        principal: &PrincipalId,
        id: &RefusalId,
    ) -> Result<Option<StoredRefusal>>;

    /// When the oldest kept refusal happened, and the first device sign-in, code or the like lapses.
    async fn oldest_to_forget(&self) -> Result<(Option<Timestamp>, Option<Timestamp>)>;

    /// What was answered to `principal` under this key of theirs.
    async fn answer(&self, principal: &PrincipalId, key: &str) -> Result<Option<StoredAnswer>>;

    /// The passkeys of `principal`, oldest first.
    async fn passkeys(&self, principal: &PrincipalId) -> Result<Vec<Passkey>>;

    /// What the challenge with this hash is for, if it has not been answered.
    async fn challenge(&self, hash: &TokenHash) -> Result<Option<StoredChallenge>>;

    /// Activations, newest first, at most `limit`.
    async fn bundles(&self, limit: u32) -> Result<Vec<StoredBundle>>;

    /// The same without what they say: their `source` is null.
    async fn bundle_heads(&self, limit: u32) -> Result<Vec<StoredBundle>>;

    /// The activation of that generation.
    async fn bundle_at(&self, generation: u64) -> Result<Option<StoredBundle>>;

    /// The newest activation before that of another digest than `digest`.
    async fn bundle_other_than(&self, digest: &BundleDigest) -> Result<Option<StoredBundle>>;

    /// A sealed credential by id.
    async fn sealed_credential(&self, id: SealedId) -> Result<Option<SealedCredential>>;

    /// All sealed credentials, newest first.
    async fn sealed_credentials(&self) -> Result<Vec<SealedCredential>>;

    /// The sealed credential that a grant came of, if it came of one.
    async fn sealed_credential_of(&self, grant: GrantId) -> Result<Option<SealedId>>;

    /// How far the sealed log is read.
    async fn sealed_mark(&self) -> Result<Option<SealedMark>>;

    /// What was set aside, newest first, at most `limit`.
    async fn undelivered(&self, limit: u32) -> Result<Vec<StoredDelivery>>;

    /// What was set aside for `receiver`, or for anybody, behind the first of `between` and up to the second, oldest
    /// first, at most `limit`.
    async fn undelivered_between(
        &self,
        receiver: Option<&str>,
        between: (DeliveryId, DeliveryId),
        limit: u32,
    ) -> Result<Vec<StoredDelivery>>;

    /// One of them.
    async fn one_undelivered(&self, id: DeliveryId) -> Result<Option<StoredDelivery>>;

    /// How many messages are due at `now` or were tried, and how many were set aside.
    async fn message_counts(&self, now: Timestamp) -> Result<MessageCounts>;

    /// Whether what may be seen once was seen.
    async fn is_seen(&self, hash: &TokenHash) -> Result<bool>;

    /// How far a reader of the record has come; `None` if it has not begun.
    async fn export_cursor(&self, reader: &str) -> Result<Option<ExportCursor>>;

    /// What principals usually do, by kind, principal and what.
    async fn habits(&self) -> Result<Vec<StoredHabit>>;

    /// When alert rules last fired, newest first.
    async fn firings(&self) -> Result<Vec<StoredFiring>>;

    /// All messages in a chat that are yet to be posted or changed.
    async fn chat_messages(&self) -> Result<Vec<StoredMessage>>;

    /// The same about one access request.
    async fn chat_messages_about(&self, id: AccessRequestId) -> Result<Vec<StoredMessage>>;

    /// A button of a message, by the hash of what is in it; `None` if it is spent.
    async fn chat_button(&self, hash: &TokenHash) -> Result<Option<StoredButton>>;

    /// What is kept under this commitment.
    async fn content(&self, commitment: &str) -> Result<Option<StoredContent>>;

    /// That what was kept under this commitment was erased.
    async fn erasure(&self, commitment: &str) -> Result<Option<StoredErasure>>;

    /// How much content there is under each key.
    async fn contents_under_keys(&self) -> Result<Vec<ContentsUnderKey>>;

    /// What was deleted leaves the files of the store too. Unavailable if somebody reads all the while.
    async fn scrub(&self) -> Result<()>;
    /// All legal holds, newest first, released ones included. One that cannot be read is an error.
    async fn legal_holds(&self) -> Result<Vec<LegalHold>>;

    /// A legal hold by id.
    async fn legal_hold(&self, id: LegalHoldId) -> Result<Option<LegalHold>>;

    /// The event of the removal from the record that is not done yet, if there is one.
    async fn removal_under_way(&self) -> Result<Option<EventId>>;

    /// Where the log has this event.
    async fn place_of_event(&self, id: EventId) -> Result<Option<u64>>;

    /// Events that the log does not have yet, in the order of their commits, at most `limit`.
    async fn unlogged(&self, limit: u32) -> Result<Vec<StoredEvent>>;

    /// Events that the log has after `position`, in its order, at most `limit`.
    async fn logged_after(&self, position: u64, limit: u32) -> Result<Vec<(u64, Event)>>;

    /// Where the log has the start of `grant`.
    async fn place_of_grant(&self, grant: GrantId) -> Result<Option<u64>>;

    /// The highest position that an event has in the log.
    async fn last_logged(&self) -> Result<Option<u64>>;

    /// The log has these events at these positions. One transaction; a conflict if one of them has
    /// its position already.
    async fn logged(&self, marks: &[LogMark]) -> Result<()>;

    /// Waits for what runs, closes the store and lets go of it, whoever still refers to it. What is
    /// asked of it afterwards is unavailable.
    async fn close(&self);
}

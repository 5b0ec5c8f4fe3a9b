//! A store that fails when it is told to: before a commit, after it, or when the log's positions are
//! to be marked.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_model::{
    AccessRequest, AccessRequestId, BundleDigest, DeliveryId, Event, EventId, Grant, GrantId,
    Incident, IncidentId, LegalHold, LegalHoldId, NoticeId, Passkey, PersonId, Principal,
    PrincipalId, RefusalId, Schedule, SealedCredential, SealedId, TokenHash,
};
use portcullis_store::{
    AccessRequests, Change, ContentChange, ContentsUnderKey, ExportCursor, Grants, Incidents,
    LogMark, MessageCounts, SealedMark, SeenPlace, SeenPrincipal, SqliteStore, Store, StoreError,
    StoredAnswer, StoredBundle, StoredButton, StoredChallenge, StoredCode, StoredContent,
    StoredDelivery, StoredDevice, StoredErasure, StoredEvent, StoredFiring, StoredGrantToken,
    StoredGroup, StoredHabit, StoredMessage, StoredNotice, StoredOneTimeToken, StoredProviderToken,
    StoredRefusal, StoredSignIn, StoredUser,
};

type Result<T> = std::result::Result<T, StoreError>;

/// What fails.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Nothing is committed.
    pub(crate) refuses: AtomicBool,
    /// It is committed, and nobody hears of it.
    pub(crate) forgets_to_answer: AtomicBool,
    /// What is in the log is not marked.
    pub(crate) does_not_mark: AtomicBool,
    /// How many uses of sign-ins were committed: nothing fails, and nobody else tells.
    pub(crate) uses_seen: AtomicUsize,
    /// How often it was not committed where the record commits to content.
    pub(crate) unbound: AtomicUsize,
    /// Somebody else's, committed right before the next erasure.
    pub(crate) before_erasure: Mutex<Vec<Change>>,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub(crate) store: SqliteStore,
    pub(crate) faults: Arc<Faults>,
}

fn fails(fault: &AtomicBool) -> Result<()> {
    if !fault.load(Ordering::SeqCst) {
        return Ok(());
    }
    let path = "the disk".into();
    Err(StoreError::Open { path, source: "is gone".into() })
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let is = |meant: fn(&ContentChange) -> bool| {
            changes.iter().any(|one| matches!(one, Change::Content(change) if meant(change)))
        };
        if is(|change| matches!(change, ContentChange::Bind { .. })) {
            fails(&self.faults.refuses).inspect_err(|_| {
                self.faults.unbound.fetch_add(1, Ordering::SeqCst);
            })?;
        }
        fails(&self.faults.refuses)?;
        if is(|change| matches!(change, ContentChange::Erase { .. })) {
            let meanwhile = std::mem::take(&mut *self.faults.before_erasure.lock().unwrap());
            self.store.commit(meanwhile).await?;
        }
        let uses = changes.iter().filter(|change| matches!(change, Change::SeeSignIn { .. }));
        let uses = uses.count();
        self.store.commit(changes).await?;
        self.faults.uses_seen.fetch_add(uses, Ordering::SeqCst);
        fails(&self.faults.forgets_to_answer)
    }

    async fn access_request(&self, id: AccessRequestId) -> Result<Option<AccessRequest>> {
        self.store.access_request(id).await
    }

    async fn access_requests(
        &self,
        which: AccessRequests,
        limit: u32,
    ) -> Result<Vec<AccessRequest>> {
        self.store.access_requests(which, limit).await
    }

    async fn grant(&self, id: GrantId) -> Result<Option<Grant>> {
        self.store.grant(id).await
    }

    async fn grants(&self, which: Grants, limit: u32) -> Result<Vec<Grant>> {
        self.store.grants(which, limit).await
    }

    async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>> {
        self.store.incident(id).await
    }

    async fn incidents(&self, which: Incidents, limit: u32) -> Result<Vec<Incident>> {
        self.store.incidents(which, limit).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        self.store.schedules().await
    }

    async fn grants_used(&self) -> Result<Vec<(GrantId, Timestamp)>> {
        self.store.grants_used().await
    }

    async fn notice(&self, id: NoticeId) -> Result<Option<StoredNotice>> {
        self.store.notice(id).await
    }

    async fn notices(&self) -> Result<Vec<StoredNotice>> {
        self.store.notices().await
    }

    async fn sign_ins(&self) -> Result<Vec<StoredSignIn>> {
        self.store.sign_ins().await
    }

    async fn principals(&self) -> Result<Vec<Principal>> {
        self.store.principals().await
    }

    async fn seen(&self) -> Result<Vec<SeenPrincipal>> {
        self.store.seen().await
    }

    async fn seen_before(
        &self,
        before: Option<&SeenPlace>,
        limit: u32,
    ) -> Result<Vec<SeenPrincipal>> {
        self.store.seen_before(before, limit).await
    }

    async fn seen_of(&self, ids: &[PrincipalId]) -> Result<Vec<SeenPrincipal>> {
        self.store.seen_of(ids).await
    }

    async fn directory_users(&self) -> Result<Vec<StoredUser>> {
        self.store.directory_users().await
    }

    async fn directory_groups(&self) -> Result<Vec<StoredGroup>> {
        self.store.directory_groups().await
    }

    async fn person_by_email(&self, email: &str) -> Result<Option<PersonId>> {
        self.store.person_by_email(email).await
    }

    async fn person_of(&self, principal: &PrincipalId) -> Result<Option<PersonId>> {
        self.store.person_of(principal).await
    }

    async fn device(&self, hash: &TokenHash) -> Result<Option<StoredDevice>> {
        self.store.device(hash).await
    }

    async fn devices_under_way(&self) -> Result<u32> {
        self.store.devices_under_way().await
    }

    async fn code(&self, hash: &TokenHash) -> Result<Option<StoredCode>> {
        self.store.code(hash).await
    }

    async fn one_time_token(&self, hash: &TokenHash) -> Result<Option<StoredOneTimeToken>> {
        self.store.one_time_token(hash).await
    }

    async fn grant_tokens(&self) -> Result<Vec<StoredGrantToken>> {
        self.store.grant_tokens().await
    }

    async fn provider_tokens(&self) -> Result<Vec<StoredProviderToken>> {
        self.store.provider_tokens().await
    }

    async fn refusal(
        &self,
        principal: &PrincipalId,
        id: &RefusalId,
    ) -> Result<Option<StoredRefusal>> {
        self.store.refusal(principal, id).await
    }

    async fn oldest_to_forget(&self) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
        self.store.oldest_to_forget().await
    }

    async fn answer(&self, principal: &PrincipalId, key: &str) -> Result<Option<StoredAnswer>> {
        self.store.answer(principal, key).await
    }

    async fn passkeys(&self, principal: &PrincipalId) -> Result<Vec<Passkey>> {
        self.store.passkeys(principal).await
    }

    async fn challenge(&self, hash: &TokenHash) -> Result<Option<StoredChallenge>> {
        self.store.challenge(hash).await
    }

    async fn bundles(&self, limit: u32) -> Result<Vec<StoredBundle>> {
        self.store.bundles(limit).await
    }

    async fn bundle_heads(&self, limit: u32) -> Result<Vec<StoredBundle>> {
        self.store.bundle_heads(limit).await
    }

    async fn bundle_at(&self, generation: u64) -> Result<Option<StoredBundle>> {
        self.store.bundle_at(generation).await
    }

    async fn bundle_other_than(&self, digest: &BundleDigest) -> Result<Option<StoredBundle>> {
        self.store.bundle_other_than(digest).await
    }

    async fn sealed_credential(&self, id: SealedId) -> Result<Option<SealedCredential>> {
        self.store.sealed_credential(id).await
    }

    async fn sealed_credentials(&self) -> Result<Vec<SealedCredential>> {
        self.store.sealed_credentials().await
    }

    async fn sealed_credential_of(&self, grant: GrantId) -> Result<Option<SealedId>> {
        self.store.sealed_credential_of(grant).await
    }

    async fn sealed_mark(&self) -> Result<Option<SealedMark>> {
        self.store.sealed_mark().await
    }

    async fn undelivered(&self, limit: u32) -> Result<Vec<StoredDelivery>> {
        self.store.undelivered(limit).await
    }

    async fn undelivered_between(
        &self,
        receiver: Option<&str>,
        between: (DeliveryId, DeliveryId),
        limit: u32,
    ) -> Result<Vec<StoredDelivery>> {
        self.store.undelivered_between(receiver, between, limit).await
    }

    async fn message_counts(&self, now: Timestamp) -> Result<MessageCounts> {
        self.store.message_counts(now).await
    }

    async fn one_undelivered(&self, id: DeliveryId) -> Result<Option<StoredDelivery>> {
        self.store.one_undelivered(id).await
    }

    async fn is_seen(&self, hash: &TokenHash) -> Result<bool> {
        self.store.is_seen(hash).await
    }

    async fn export_cursor(&self, reader: &str) -> Result<Option<ExportCursor>> {
        self.store.export_cursor(reader).await
    }

    async fn habits(&self) -> Result<Vec<StoredHabit>> {
        self.store.habits().await
    }

    async fn legal_holds(&self) -> Result<Vec<LegalHold>> {
        self.store.legal_holds().await
    }

    async fn legal_hold(&self, id: LegalHoldId) -> Result<Option<LegalHold>> {
        self.store.legal_hold(id).await
    }

    async fn removal_under_way(&self) -> Result<Option<EventId>> {
        self.store.removal_under_way().await
    }

    async fn place_of_event(&self, id: EventId) -> Result<Option<u64>> {
        self.store.place_of_event(id).await
    }

    async fn firings(&self) -> Result<Vec<StoredFiring>> {
        self.store.firings().await
    }

    async fn chat_messages(&self) -> Result<Vec<StoredMessage>> {
        self.store.chat_messages().await
    }

    async fn chat_messages_about(&self, id: AccessRequestId) -> Result<Vec<StoredMessage>> {
        self.store.chat_messages_about(id).await
    }

    async fn chat_button(&self, hash: &TokenHash) -> Result<Option<StoredButton>> {
        self.store.chat_button(hash).await
    }

    async fn content(&self, commitment: &str) -> Result<Option<StoredContent>> {
        self.store.content(commitment).await
    }

    async fn erasure(&self, commitment: &str) -> Result<Option<StoredErasure>> {
        self.store.erasure(commitment).await
    }

    async fn contents_under_keys(&self) -> Result<Vec<ContentsUnderKey>> {
        self.store.contents_under_keys().await
    }

    async fn scrub(&self) -> Result<()> {
        self.store.scrub().await
    }

    async fn unlogged(&self, limit: u32) -> Result<Vec<StoredEvent>> {
        self.store.unlogged(limit).await
    }

    async fn logged_after(&self, position: u64, limit: u32) -> Result<Vec<(u64, Event)>> {
        self.store.logged_after(position, limit).await
    }

    async fn place_of_grant(&self, grant: GrantId) -> Result<Option<u64>> {
        self.store.place_of_grant(grant).await
    }

    async fn last_logged(&self) -> Result<Option<u64>> {
        self.store.last_logged().await
    }

    async fn logged(&self, marks: &[LogMark]) -> Result<()> {
        fails(&self.faults.does_not_mark)?;
        self.store.logged(marks).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

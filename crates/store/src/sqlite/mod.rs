//! The store in one SQLite file.
//!
//! One connection writes, under `BEGIN IMMEDIATE`, with `synchronous=FULL`: a commit that returned
//! survives a power cut. A few others read. One process owns the file; a second is refused.

mod browsers;
mod chat;
mod contents;
mod directory;
mod exports;
mod facts;
mod grant_tokens;
mod lifecycle;
pub(crate) mod open;
mod passkeys;
mod read;
mod retention;
mod rows;
mod sealed;
mod undelivered;
mod write;

use std::{
    fs::File,
    path::Path,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_model::{
    AccessRequest, AccessRequestId, BundleDigest, DeliveryId, Event, EventId, Grant, GrantId,
    Incident, IncidentId, LegalHold, LegalHoldId, NoticeId, Passkey, PersonId, Principal,
    PrincipalId, RefusalId, Schedule, SealedCredential, SealedId, TokenHash,
};
use sqlx::SqlitePool;

use crate::{
    AccessRequests, Change, ContentsUnderKey, ExportCursor, Grants, Incidents, LogMark,
    MessageCounts, SealedMark, SeenPlace, SeenPrincipal, Store, StoreError, StoredAnswer,
    StoredBundle, StoredButton, StoredChallenge, StoredCode, StoredContent, StoredDelivery,
    StoredDevice, StoredErasure, StoredEvent, StoredFiring, StoredGrantToken, StoredGroup,
    StoredHabit, StoredMessage, StoredNotice, StoredOneTimeToken, StoredProviderToken,
    StoredRefusal, StoredSignIn, StoredUser,
};

type Result<T> = std::result::Result<T, StoreError>;

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held while this process owns the file, until it closes it; the operating system lets go of it
    /// even after kill -9.
    owned: Mutex<Option<File>>,
}

impl SqliteStore {
    /// Opens the file at `path`, makes it if there is none, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self> {
        open::open(path).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for change in &changes {
            write::apply(&mut tx, change).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn access_request(&self, id: AccessRequestId) -> Result<Option<AccessRequest>> {
        read::access_request(&self.readers, id).await
    }

    async fn access_requests(
        &self,
        which: AccessRequests,
        limit: u32,
    ) -> Result<Vec<AccessRequest>> {
        read::access_requests(&self.readers, &which, limit).await
    }

    async fn grant(&self, id: GrantId) -> Result<Option<Grant>> {
        read::grant(&self.readers, id).await
    }

    async fn grants(&self, which: Grants, limit: u32) -> Result<Vec<Grant>> {
        read::grants(&self.readers, &which, limit).await
    }

    async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>> {
        facts::incident(&self.readers, id).await
    }

    async fn incidents(&self, which: Incidents, limit: u32) -> Result<Vec<Incident>> {
        facts::incidents(&self.readers, which, limit).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        facts::schedules(&self.readers).await
    }

    async fn grants_used(&self) -> Result<Vec<(GrantId, Timestamp)>> {
        lifecycle::grants_used(&self.readers).await
    }

    async fn notice(&self, id: NoticeId) -> Result<Option<StoredNotice>> {
        lifecycle::notice(&self.readers, id).await
    }

    async fn notices(&self) -> Result<Vec<StoredNotice>> {
        lifecycle::notices(&self.readers).await
    }

    async fn sign_ins(&self) -> Result<Vec<StoredSignIn>> {
        read::sign_ins(&self.readers).await
    }

    async fn principals(&self) -> Result<Vec<Principal>> {
        read::principals(&self.readers).await
    }

    async fn seen(&self) -> Result<Vec<SeenPrincipal>> {
        directory::seen(&self.readers).await
    }

    async fn seen_before(
        &self,
        before: Option<&SeenPlace>,
        limit: u32,
    ) -> Result<Vec<SeenPrincipal>> {
        directory::seen_before(&self.readers, before, limit).await
    }

    async fn seen_of(&self, ids: &[PrincipalId]) -> Result<Vec<SeenPrincipal>> {
        directory::seen_of(&self.readers, ids).await
    }

    async fn directory_users(&self) -> Result<Vec<StoredUser>> {
        directory::users(&self.readers).await
    }

    async fn directory_groups(&self) -> Result<Vec<StoredGroup>> {
        directory::groups(&self.readers).await
    }

    async fn person_by_email(&self, email: &str) -> Result<Option<PersonId>> {
        read::person_by_email(&self.readers, email).await
    }

    async fn person_of(&self, principal: &PrincipalId) -> Result<Option<PersonId>> {
        read::person_of(&self.readers, principal).await
    }

    async fn device(&self, hash: &TokenHash) -> Result<Option<StoredDevice>> {
        read::device(&self.readers, hash).await
    }

    async fn devices_under_way(&self) -> Result<u32> {
        read::devices_under_way(&self.readers).await
    }

    async fn code(&self, hash: &TokenHash) -> Result<Option<StoredCode>> {
        read::code(&self.readers, hash).await
    }

    async fn one_time_token(&self, hash: &TokenHash) -> Result<Option<StoredOneTimeToken>> {
        grant_tokens::one_time(&self.readers, hash).await
    }

    async fn grant_tokens(&self) -> Result<Vec<StoredGrantToken>> {
        grant_tokens::all(&self.readers).await
    }

    async fn provider_tokens(&self) -> Result<Vec<StoredProviderToken>> {
        read::provider_tokens(&self.readers).await
    }

    async fn refusal(
        &self,
        principal: &PrincipalId,
        id: &RefusalId,
    ) -> Result<Option<StoredRefusal>> {
        read::refusal(&self.readers, principal, id).await
    }

    async fn oldest_to_forget(&self) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
        read::oldest_to_forget(&self.readers).await
    }

    async fn answer(&self, principal: &PrincipalId, key: &str) -> Result<Option<StoredAnswer>> {
        read::answer(&self.readers, principal, key).await
    }

    async fn passkeys(&self, principal: &PrincipalId) -> Result<Vec<Passkey>> {
        passkeys::of(&self.readers, principal).await
    }

    async fn challenge(&self, hash: &TokenHash) -> Result<Option<StoredChallenge>> {
        passkeys::asked(&self.readers, hash).await
    }

    async fn bundles(&self, limit: u32) -> Result<Vec<StoredBundle>> {
        read::bundles(&self.readers, limit).await
    }

    async fn bundle_heads(&self, limit: u32) -> Result<Vec<StoredBundle>> {
        read::bundle_heads(&self.readers, limit).await
    }

    async fn bundle_at(&self, generation: u64) -> Result<Option<StoredBundle>> {
        read::bundle_at(&self.readers, generation).await
    }

    async fn bundle_other_than(&self, digest: &BundleDigest) -> Result<Option<StoredBundle>> {
        read::bundle_other_than(&self.readers, digest).await
    }

    async fn sealed_credential(&self, id: SealedId) -> Result<Option<SealedCredential>> {
        sealed::credential(&self.readers, id).await
    }

    async fn sealed_credentials(&self) -> Result<Vec<SealedCredential>> {
        sealed::credentials(&self.readers).await
    }

    async fn sealed_credential_of(&self, grant: GrantId) -> Result<Option<SealedId>> {
        sealed::credential_of(&self.readers, grant).await
    }

    async fn sealed_mark(&self) -> Result<Option<SealedMark>> {
        sealed::mark(&self.readers).await
    }

    async fn undelivered(&self, limit: u32) -> Result<Vec<StoredDelivery>> {
        undelivered::all(&self.readers, limit).await
    }

    async fn undelivered_between(
        &self,
        receiver: Option<&str>,
        between: (DeliveryId, DeliveryId),
        limit: u32,
    ) -> Result<Vec<StoredDelivery>> {
        undelivered::between(&self.readers, receiver, between, limit).await
    }

    async fn message_counts(&self, now: Timestamp) -> Result<MessageCounts> {
        undelivered::counts(&self.readers, now).await
    }

    async fn one_undelivered(&self, id: DeliveryId) -> Result<Option<StoredDelivery>> {
        undelivered::one(&self.readers, id).await
    }

    async fn is_seen(&self, hash: &TokenHash) -> Result<bool> {
        browsers::is_seen(&self.readers, hash).await
    }

    async fn export_cursor(&self, reader: &str) -> Result<Option<ExportCursor>> {
        exports::cursor(&self.readers, reader).await
    }

    async fn habits(&self) -> Result<Vec<StoredHabit>> {
        exports::habits(&self.readers).await
    }

    async fn firings(&self) -> Result<Vec<StoredFiring>> {
        exports::firings(&self.readers).await
    }

    async fn chat_messages(&self) -> Result<Vec<StoredMessage>> {
        chat::messages(&self.readers).await
    }

    async fn chat_messages_about(&self, id: AccessRequestId) -> Result<Vec<StoredMessage>> {
        chat::messages_about(&self.readers, id).await
    }

    async fn chat_button(&self, hash: &TokenHash) -> Result<Option<StoredButton>> {
        chat::button(&self.readers, hash).await
    }

    async fn content(&self, commitment: &str) -> Result<Option<StoredContent>> {
        contents::one(&self.readers, commitment).await
    }

    async fn erasure(&self, commitment: &str) -> Result<Option<StoredErasure>> {
        contents::erasure(&self.readers, commitment).await
    }

    async fn contents_under_keys(&self) -> Result<Vec<ContentsUnderKey>> {
        contents::under_keys(&self.readers).await
    }

    async fn scrub(&self) -> Result<()> {
        contents::scrub(&self.writer).await
    }

    async fn legal_holds(&self) -> Result<Vec<LegalHold>> {
        retention::legal_holds(&self.readers).await
    }

    async fn legal_hold(&self, id: LegalHoldId) -> Result<Option<LegalHold>> {
        retention::legal_hold(&self.readers, id).await
    }

    async fn removal_under_way(&self) -> Result<Option<EventId>> {
        retention::removal_under_way(&self.readers).await
    }

    async fn place_of_event(&self, id: EventId) -> Result<Option<u64>> {
        retention::place_of_event(&self.readers, id).await
    }

    async fn unlogged(&self, limit: u32) -> Result<Vec<StoredEvent>> {
        read::unlogged(&self.readers, limit).await
    }

    async fn logged_after(&self, position: u64, limit: u32) -> Result<Vec<(u64, Event)>> {
        read::logged_after(&self.readers, position, limit).await
    }

    async fn place_of_grant(&self, grant: GrantId) -> Result<Option<u64>> {
        read::place_of_grant(&self.readers, grant).await
    }

    async fn last_logged(&self) -> Result<Option<u64>> {
        read::last_logged(&self.readers).await
    }

    async fn logged(&self, marks: &[LogMark]) -> Result<()> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for mark in marks {
            write::logged(&mut tx, *mark).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        // Only now may another process have it.
        drop(self.owned.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

//! Reading the record, and what is made of it.

use std::ops::Range;

use jiff::Timestamp;
use portcullis_model::{
    ContentNote, ContentParts, HoldScope, LegalHold, LegalHoldId, RequestContent, RequestId,
};

use super::{Control, Result};
use crate::{
    OpContext,
    ports::LogUnavailable,
    usecase::{content, legal_holds, record, report},
    views::{ContentView, EventFilter, EventPart, report::AccessReport},
};

impl Control {
    /// Reads the record; needs `viewAudit`, and is on record itself.
    pub async fn events(&self, op: &OpContext, filter: EventFilter) -> Result<EventPart> {
        record::events(&self.core, op, filter).await
    }

    /// Exports what the record has now; needs `viewAudit`, and is on record with what was asked.
    pub async fn export(
        &self,
        op: &OpContext,
        filter: EventFilter,
        format: &str,
    ) -> Result<record::Export> {
        record::export(&self.core, op, filter, format).await
    }

    /// Who had access to what; needs `viewAudit`, and is on record.
    pub async fn access_report(
        &self,
        op: &OpContext,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<AccessReport> {
        report::access(&self.core, op, since, until).await
    }

    /// Puts on record that the caller has gone through the report with this digest; needs `viewAudit`.
    pub async fn sign_off_access(
        &self,
        op: &OpContext,
        time: (Timestamp, Timestamp),
        digest: &str,
        note: &str,
    ) -> Result<()> {
        report::sign_off(&self.core, op, time, digest, note).await
    }

    /// What `@record` kept of the record at `seq`; needs `viewAudit`, and is on record.
    pub async fn content(&self, op: &OpContext, seq: u64) -> Result<ContentView> {
        content::read(&self.core, op, seq).await
    }

    /// Erases what was kept of the record at `seq`, and puts on record who did and why; needs `administer`.
    pub async fn erase_content(
        &self,
        op: &OpContext,
        seq: u64,
        reason: &str,
    ) -> Result<ContentView> {
        content::erase(&self.core, op, seq, reason).await
    }

    /// Keeps `content` of a request that is about to be forwarded; what the record says of it, once it is on
    /// stable storage.
    pub async fn keep_content(
        &self,
        request: RequestId,
        parts: ContentParts,
        content: RequestContent,
    ) -> std::result::Result<ContentNote, LogUnavailable> {
        content::keep(&self.core, request, parts, &content).await
    }

    /// All legal holds, newest first; needs `viewAudit` or `administer`.
    pub async fn legal_holds(&self, op: &OpContext) -> Result<Vec<LegalHold>> {
        legal_holds::list(&self.core, op).await
    }

    /// Keeps a part of the record until somebody releases it; needs `administer`.
    pub async fn place_legal_hold(
        &self,
        op: &OpContext,
        scope: HoldScope,
        reason: &str,
    ) -> Result<LegalHold> {
        legal_holds::place(&self.core, op, scope, reason).await
    }

    /// Lets go of what a legal hold keeps; needs `administer`.
    pub async fn release_legal_hold(
        &self,
        op: &OpContext,
        id: LegalHoldId,
        reason: &str,
    ) -> Result<LegalHold> {
        legal_holds::release(&self.core, op, id, reason).await
    }

    /// The legal hold that keeps one of these entries of the record, if one does: whoever is about to remove or
    /// erase any of it asks before.
    pub async fn holding(&self, entries: Range<u64>) -> Result<Option<LegalHold>> {
        legal_holds::holding(&self.core, entries).await
    }

    /// A file of the transparency log by its C2SP path; needs `viewAudit`.
    pub async fn log_file(&self, op: &OpContext, path: &str) -> Result<Vec<u8>> {
        record::log_file(&self.core, op, path).await
    }
}

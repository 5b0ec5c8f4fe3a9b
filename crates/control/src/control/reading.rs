//! Reading the record, and what is made of it.

use jiff::Timestamp;
use portcullis_model::AccessRequest;

use super::{Control, Result};
use crate::{
    OpContext,
    usecase::{access_requests, overview, record, report},
    views::{
        EventFilter, EventPart,
        overview::{Overview, Span},
        report::AccessReport,
    },
};

impl Control {
    /// Reads the record; needs `viewAudit`, and is on record itself.
    pub async fn events(&self, op: &OpContext, filter: EventFilter) -> Result<EventPart> {
        record::events(&self.core, op, filter).await
    }

    /// Follows the record as it grows; needs `viewAudit`, and is on record once, when it begins.
    pub async fn follow(&self, op: &OpContext, filter: EventFilter) -> Result<record::Following> {
        record::follow(&self.core, op, filter).await
    }

    /// The access requests that requests at the gate wait for now.
    pub async fn held(&self, op: &OpContext) -> Result<Vec<AccessRequest>> {
        access_requests::held(&self.core, op).await
    }

    /// What the newest of the record comes to; needs `viewAudit`, and is on record.
    pub async fn overview(&self, op: &OpContext, span: Span) -> Result<Overview> {
        overview::of(&self.core, op, span).await
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

    /// A file of the transparency log by its C2SP path; needs `viewAudit`.
    pub async fn log_file(&self, op: &OpContext, path: &str) -> Result<Vec<u8>> {
        record::log_file(&self.core, op, path).await
    }
}

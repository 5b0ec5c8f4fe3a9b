//! Lists that a person or a program pages through.

use portcullis_model::{AccessRequestId, Grant, GrantId, IncidentId};

use super::{Control, Result};
use crate::{
    OpContext,
    usecase::{access_requests::list, grants},
    views::{AccessRequestFilter, AccessRequestView},
};

/// The first of a list, for whoever does not ask for parts.
const FIRST: usize = 500;

impl Control {
    /// Access requests, newest first: the first 500.
    pub async fn access_requests(
        &self,
        op: &OpContext,
        filter: AccessRequestFilter,
    ) -> Result<Vec<AccessRequestView>> {
        Ok(list::part(&self.core, op, filter, None, FIRST).await?.0)
    }

    /// At most `limit` of them after `before`, and the id after which there may be more.
    pub async fn access_requests_after(
        &self,
        op: &OpContext,
        filter: AccessRequestFilter,
        before: Option<AccessRequestId>,
        limit: usize,
    ) -> Result<(Vec<AccessRequestView>, Option<AccessRequestId>)> {
        list::part(&self.core, op, filter, before, limit).await
    }

    /// How many access requests wait for the caller's answer; no more than `most` are counted.
    pub async fn count_to_review(&self, op: &OpContext, most: usize) -> Result<usize> {
        list::count_to_review(&self.core, op, most).await
    }

    /// Grants that the caller may see, newest first: their own, and of services where they may `revoke`; all for
    /// whoever may `viewAudit`. The first 500.
    pub async fn grants(&self, op: &OpContext) -> Result<Vec<Grant>> {
        Ok(grants::part(&self.core, op, None, FIRST).await?.0)
    }

    /// At most `limit` of them after `before`, and the id after which there may be more.
    pub async fn grants_after(
        &self,
        op: &OpContext,
        before: Option<GrantId>,
        limit: usize,
    ) -> Result<(Vec<Grant>, Option<GrantId>)> {
        grants::part(&self.core, op, before, limit).await
    }

    /// The caller's own grants that open something now, the first to end first.
    #[expect(
        clippy::unused_async,
        reason = "every use case is awaited, whether or not it waits today"
    )]
    pub async fn own_grants(&self, op: &OpContext) -> Result<Vec<Grant>> {
        grants::own(&self.core, op)
    }

    /// Grants for one incident that open something now and that the caller may see.
    pub async fn grants_for_incident(
        &self,
        op: &OpContext,
        incident: &IncidentId,
    ) -> Result<Vec<Grant>> {
        grants::for_incident(&self.core, op, incident).await
    }
}

//! What pages ask about the one thing that somebody looks at.

use portcullis_model::{AccessRequest, AccessRequestId, Grant, GrantId};

use super::{Control, Result};
use crate::{
    OpContext,
    usecase::{access_requests, grants, hand_over},
    views::grant::{GrantView, HeldGrant},
};

impl Control {
    /// One grant, with what the caller can do about it.
    pub async fn grant_closer(&self, op: &OpContext, id: GrantId) -> Result<GrantView> {
        grants::closer(&self.core, op, id).await
    }

    /// Grants that the caller knows of, with what they can do about each and where they can look closer.
    pub async fn held_grants(&self, op: &OpContext, grants: Vec<Grant>) -> Result<Vec<HeldGrant>> {
        grants::held(&self.core, op, grants).await
    }

    /// What the requester of an access request asked for before, as far as the caller may see it.
    pub async fn earlier(&self, op: &OpContext, id: AccessRequestId) -> Result<Vec<AccessRequest>> {
        access_requests::earlier(&self.core, op, id).await
    }

    /// Whether `address` is a page that a gate serves, so that a browser may be led back to it.
    pub fn leads_back(&self, address: &str) -> bool {
        hand_over::leads_back(&self.core, address)
    }
}

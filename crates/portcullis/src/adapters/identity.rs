//! Identity, as control sees it.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_control::ports::WorkloadVerifier;
use portcullis_identity::{AuthError, Authenticated, Workloads};

/// Checks workloads' tokens.
#[derive(Debug)]
pub(crate) struct JwtVerifier(pub(crate) Arc<Workloads>);

#[async_trait]
impl WorkloadVerifier for JwtVerifier {
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Authenticated, AuthError> {
        self.0.authenticate(token, now).await
    }
}

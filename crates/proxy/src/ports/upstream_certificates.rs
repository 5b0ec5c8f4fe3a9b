//! What connections to upstreams present and believe, where a service says so.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use portcullis_policy::edge::UpstreamTls;

use crate::upstream::ClientTls;

/// Keeps what connections to upstreams use up to date.
#[async_trait]
pub trait UpstreamCertificates: Debug + Send + Sync {
    /// What the next connection uses, or why there is nothing: then there is no connection, and never
    /// one in clear text.
    async fn in_force(&self, settings: &UpstreamTls) -> Result<Arc<ClientTls>, String>;
}

//! What is kept of requests beside the record.

use std::fmt::Debug;

use async_trait::async_trait;
use portcullis_model::{ContentNote, ContentParts, RequestContent, RequestId};

use super::RecordBroken;

/// Keeps what policies have kept of requests.
#[async_trait]
pub trait Contents: Debug + Send + Sync {
    /// Keeps `content`, encrypted; what the record says of it, once it is on stable storage.
    async fn keep(
        &self,
        request: RequestId,
        parts: ContentParts,
        content: RequestContent,
    ) -> Result<ContentNote, RecordBroken>;
}

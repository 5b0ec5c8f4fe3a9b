//! What policies have kept of requests, kept by control.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_model::{ContentNote, ContentParts, RequestContent, RequestId};
use portcullis_proxy::ports::{Contents, RecordBroken};

use super::ControlPorts;

#[async_trait]
impl Contents for ControlPorts {
    async fn keep(
        &self,
        request: RequestId,
        parts: ContentParts,
        content: RequestContent,
    ) -> Result<ContentNote, RecordBroken> {
        let control: Arc<_> = self.control();
        let kept = self
            .runtime()
            .spawn(async move { control.keep_content(request, parts, content).await });
        kept.await.ok().and_then(Result::ok).ok_or(RecordBroken)
    }
}

//! Nobody to ask: whoever would wait is refused at once.

use async_trait::async_trait;
use portcullis_proxy::ports::{Approval, Approvals, HeldRequest, NotOpened};

#[derive(Debug)]
pub(crate) struct Nobody;

#[async_trait]
impl Approvals for Nobody {
    async fn open(&self, _: HeldRequest) -> Result<Box<dyn Approval>, NotOpened> {
        Err(NotOpened::Refused)
    }
}

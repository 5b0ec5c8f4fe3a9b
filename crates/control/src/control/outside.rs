//! Other systems: what they did not take, and what they decide.

use std::net::IpAddr;

use portcullis_identity::SignedMessage;
use portcullis_model::DeliveryId;

use super::{Control, Result};
use crate::{
    OpContext,
    usecase::{
        decisions::{self, Taken},
        undelivered::{
            self, Undelivered,
            again::{self, AllAgain, Onward, SentAgain},
        },
    },
};

impl Control {
    /// What receivers did not take in the end, newest first; takes `viewAudit`.
    pub async fn undelivered(&self, op: &OpContext) -> Result<Vec<Undelivered>> {
        undelivered::list(&self.core, op).await
    }

    /// One of them.
    pub async fn one_undelivered(&self, op: &OpContext, id: DeliveryId) -> Result<Undelivered> {
        undelivered::one(&self.core, op, id).await
    }

    /// Sends one again, now and once; takes `administer`.
    pub async fn redeliver(&self, op: &OpContext, id: DeliveryId) -> Result<SentAgain> {
        again::one(&self.core, op, id).await
    }

    /// Sends all again, or those of one `receiver`, oldest first: as many as can be in a while, from where the
    /// call before came to. Takes `administer`.
    pub async fn redeliver_all(
        &self,
        op: &OpContext,
        receiver: Option<&str>,
        from: Option<Onward>,
    ) -> Result<AllAgain> {
        again::all(&self.core, op, receiver, from).await
    }

    /// Takes one from the list; takes `administer`.
    pub async fn drop_undelivered(&self, op: &OpContext, id: DeliveryId) -> Result<()> {
        undelivered::drop(&self.core, op, id).await
    }

    /// A decision that the system called `name` sent from `source`.
    pub async fn decision(
        &self,
        name: &str,
        message: SignedMessage<'_>,
        source: IpAddr,
    ) -> Result<Taken> {
        decisions::take(&self.core, name, message, source).await
    }
}

//! What passing on needs from outside.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::ports::NotDelivered;

/// An event on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its position in the log.
    pub position: u64,
    /// Its id: one that comes twice has the same.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// When it happened.
    pub time: Timestamp,
    /// Who, if somebody.
    pub principal: Option<String>,
    /// Whether somebody was kept from something, or worse.
    pub notable: bool,
    /// What is sent, as JSON.
    pub json: String,
}

/// Brings events somewhere.
#[async_trait]
pub trait Sink: Debug + Send + Sync {
    /// How many events it takes at a time.
    fn most(&self) -> usize;

    /// Whether what waits is gathered, as far as [`Self::most`] goes, though much that it is not told lies between: it
    /// is then brought once, and not bit by bit.
    fn gathers(&self) -> bool {
        false
    }

    /// Brings them all, in their order, or none that counts; half a minute at most. What could not be
    /// brought comes again.
    async fn deliver(&self, batch: &[Outgoing]) -> Result<(), NotDelivered>;
}

//! What receivers did not take in the end.

use jiff::Timestamp;
use portcullis_model::{AccessRequestId, DeliveryId, NoticeId};
use serde::{Deserialize, Serialize};

use crate::StoredMessage;

/// One message that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDelivery {
    /// Its id on the list.
    pub id: DeliveryId,
    /// Who did not take it, without anything secret: `lifecycle tickets`, `teams:payments`.
    pub receiver: String,
    /// What it is.
    pub unsent: Unsent,
    /// How often it was sent.
    pub attempts: u32,
    /// Why it was not taken, the last time.
    pub why: String,
    /// When it was set aside.
    pub set_aside_at: Timestamp,
    /// When it was last sent.
    pub tried_at: Timestamp,
}

/// What was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Unsent {
    /// An event for a webhook, as it was to be sent: the record may forget it sooner.
    Event {
        /// The message's id.
        id: String,
        /// The event's type.
        event: String,
        /// Its position in the record.
        position: u64,
        /// When it happened.
        time: Timestamp,
        /// The body.
        json: String,
    },
    /// A message about an access request; it is written anew when it is sent.
    Notice {
        /// The message's id.
        id: NoticeId,
        /// What of.
        access_request: AccessRequestId,
        /// Whom, as policy writes it.
        target: String,
    },
    /// A message in a chat, which follows its access request again once it is sent.
    Message(StoredMessage),
}

impl Unsent {
    /// The message's id: one that comes twice has the same.
    pub fn message(&self) -> String {
        match self {
            Self::Event { id, .. } => id.clone(),
            Self::Notice { id, .. } => id.to_string(),
            Self::Message(message) => message.id.to_string(),
        }
    }
}

/// A change of what is set aside.
#[derive(Debug, Clone)]
pub enum UndeliveredChange {
    /// One is set aside. Guards: it is not there already, and its receiver has fewer than `at_most`.
    SetAside {
        /// It.
        delivery: StoredDelivery,
        /// So many of one receiver are kept.
        at_most: u32,
    },
    /// One was sent again in vain. Guard: nobody else has tried since.
    Tried {
        /// As it is now.
        delivery: StoredDelivery,
        /// The attempts before.
        seen_attempts: u32,
    },
    /// One is gone: it arrived, or was dropped. Guard: it is there.
    End(DeliveryId),
}

/// How many messages there are, by whom they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Messages that are due.
    pub due: Vec<DueMessages>,
    /// Messages that were set aside, by receiver.
    pub set_aside: Vec<(String, u64)>,
}

/// Messages of one kind that are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueMessages {
    /// Whom, as it is stored with them.
    pub target: String,
    /// Whether they were tried.
    pub tried: bool,
    /// How many.
    pub count: u64,
}

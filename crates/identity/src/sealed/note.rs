//! What a gate writes down of sealed credentials, for control to read.

use std::net::IpAddr;

use jiff::Timestamp;
use portcullis_model::GrantId;
use serde::{Deserialize, Serialize};

/// One entry of the sealed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum SealedNote {
    /// Somebody opened one. What they presented proves who agreed, who opened it, when and why.
    Opened {
        /// What was presented.
        token: String,
        /// When the gate saw it first.
        at: Timestamp,
        /// The caller's address.
        source: IpAddr,
    },
    /// A request went through that could not be put on record.
    Request {
        /// The grant that the opening comes to.
        grant: GrantId,
        /// When.
        at: Timestamp,
        /// The attempt as JSON text, as the record would have it.
        attempt: String,
    },
}

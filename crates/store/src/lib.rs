//! The only SQL: access requests, grants, sign-ins, events and their way to the log.
//!
//! Control reads through [`Store`] and changes through [`Store::commit`]: a list of guarded
//! [`Change`]s that happens as one transaction or not at all. A guard that finds another state than
//! the caller saw is [`StoreError::Conflict`]. Nothing here knows why something changes.

pub mod change;
pub mod chat;
pub mod contents;
pub mod directory;
pub mod error;
pub mod exports;
pub mod index;
pub mod records;
pub mod retention;
pub mod sqlite;
mod store;
pub mod undelivered;

pub use change::{Change, NoticeChange, SealedChange, TokenChange};
pub use chat::{ButtonAct, ChatChange, Posted, StoredButton, StoredMessage};
pub use contents::{ContentChange, ContentsUnderKey, StoredContent, StoredErasure};
pub use directory::{SeenPlace, SeenPrincipal, StoredEmail, StoredGroup, StoredName, StoredUser};
pub use error::StoreError;
pub use exports::{ExportChange, ExportCursor, StoredFiring, StoredHabit};
pub use records::{
    AccessRequests, ChallengePurpose, Grants, Incidents, LogMark, Person, SealedMark, StoredAnswer,
    StoredBundle, StoredChallenge, StoredCode, StoredDevice, StoredEvent, StoredGrantToken,
    StoredNotice, StoredOneTimeToken, StoredProviderToken, StoredRefusal, StoredSignIn,
};
pub use retention::RetentionChange;
pub use sqlite::SqliteStore;
pub use store::Store;
pub use undelivered::{DueMessages, MessageCounts, StoredDelivery, UndeliveredChange, Unsent};

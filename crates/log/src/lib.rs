//! The transparency log: what the gate and control write, and how anybody proves that nothing was
//! changed since.
//!
//! ```text
//! core 0 ── CoreJournal ── journal/core-0/*.frames ─┐
//! core 1 ── CoreJournal ── journal/core-1/*.frames ─┼─ sequencer ── log/tile/…, log/checkpoint
//! control ─ LogHandle::append ──────────────────────┘       │
//!                                                       committed
//! ```
//!
//! Promises: an intent that resolved is written before anything is forwarded; every intent becomes
//! exactly one leaf, whatever moment the process dies at; an appended event is durable and in the log
//! once; what was signed is never written again. When any of this cannot be kept, [`Health`] says so
//! and everything here refuses.
//!
//! What is old may be removed by whole segments, after the record said so: the tree stays, and [`verify`]
//! tells that from a deletion.
//!
//! Does not search, and does not detect a split view on its own: somebody else keeps
//! checkpoints, as [`anchored`] reads them or an auditor does, and compares.

mod anchored;
mod as_signed;
mod chain;
mod checkpoint;
mod error;
mod give_way;
mod health;
mod journal;
mod keeper;
mod keys;
mod layout;
mod proof;
mod quota;
mod reader;
mod removal;
mod segment;
mod sequencer;
mod shipment;
mod spot;
mod tiles;
mod verify;

pub use anchored::{Anchored, AnchorsBroken, anchored};
pub use chain::{Chain, ChainBroken, ChainEntry, Link, read_chain};
pub use checkpoint::Signer;
pub use error::{LogError, RecordBroken};
pub use health::{Health, HealthState};
pub use journal::{CoreJournal, Recorded, SyncHandle};
pub use keys::{Keys, RangedKey};
pub use proof::{NotContinued, Proven, RecordProof, TreePath, check_consistency};
pub use reader::{Entry, Reader};
pub use removal::Removal;
pub use sequencer::{Log, LogHandle, LogOptions, Rotated};
pub use shipment::{Shipment, Shipped};
pub use spot::{Seen, spot_check};
pub use verify::{Files, Finding, Verified, VerifiedRemoval, verify, verify_files};

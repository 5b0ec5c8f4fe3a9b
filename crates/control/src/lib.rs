//! Policy administration: signing in, asking, reviewing, granting, revoking.
//!
//! Everything that changes state goes through one use case here, takes an [`OpContext`] and writes
//! state and event in one transaction. The event then moves to the log once; what opens something is
//! published to gates only after that, what closes something at once.

pub mod alerts;
mod brought;
pub mod browser;
mod connections;
pub mod connector;
mod content_keys;
mod control;
mod core;
mod directory;
pub mod error;
mod expiry;
pub mod export;
pub mod feed;
mod heartbeats;
mod holds;
mod indexing;
pub mod keeping;
pub mod op_context;
mod outbox;
mod paces;
mod people;
pub mod ports;
mod publisher;
mod rate;
mod rates;
mod rights;
mod seal;
pub mod sealing;
mod settle;
mod start;
mod usecase;
pub mod views;
mod ways;

pub use connections::{OpenConnection, Over};
pub use content_keys::{ContentKeys, InvalidContentKeys};
pub use control::Control;
pub use core::{ControlParts, Provisioning, ScimSubject, Settings, Source, Vouching};
pub use error::ControlError;
pub use op_context::OpContext;
pub use publisher::Snapshots;
pub use usecase::{
    cuts::{Cut, Cuts},
    decisions::Taken,
    directory::{GroupAttributes, UserAttributes},
    evidence::{DecidingPolicy, Evidence, EvidenceProof, EvidenceSubject},
    hold::Waiting,
    record::{Export, Following},
    undelivered::{
        Undelivered,
        again::{AllAgain, NotTakenAgain, Onward, SentAgain},
    },
};

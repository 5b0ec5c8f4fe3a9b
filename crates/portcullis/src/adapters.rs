//! Fits control, the log and identity to the ports that the proxy and control declare.
//!
//! The proxy and control never see each other: here, and only here, one's types become the other's.
//! Decides nothing and keeps nothing.

mod approvals;
mod browsers;
mod calls;
mod connectors;
mod contents;
mod events;
mod gate;
mod identity;
mod journals;
mod keeping;
mod lifecycle;
mod mail;
mod notices;
mod sealed;
mod sinks;
pub(crate) mod slack;
mod surroundings;
mod teams;

pub(crate) use calls::alerts;
pub(crate) use connectors::connectors;
pub(crate) use events::LogEvents;
pub(crate) use gate::{ControlFeed, ControlPorts};
pub(crate) use identity::{ProvidedPeople, TokenVerifier};
pub(crate) use journals::LogJournals;
pub(crate) use keeping::KeptRecord;
pub(crate) use notices::Receivers;
pub(crate) use sealed::{SealedDesk, SealedReader};
pub(crate) use sinks::{client, exports};
pub(crate) use surroundings::Around;

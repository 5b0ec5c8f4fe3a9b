//! Control as a whole: real policies, a real store, everything else told what to do.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test may fail"
)]

mod asking;
mod brought;
mod browsing;
mod bundles;
mod connecting;
mod crashing;
mod departing;
mod emergencies;
mod erasing;
mod extending;
mod faulty;
mod granting;
mod holding;
mod incidents;
mod memory_log;
mod narrowing;
mod noticing;
mod packing;
mod passkeys;
mod provider;
mod racing;
mod retaining;
mod reviewing;
mod set_back;
mod signing_in;
mod simulator;
mod telling;
mod together;
mod tokens;
mod world;

//! The policy enforcement point: the data path.
//!
//! A request's life, in the order of the files:
//!
//! ```text
//! listener > detect > identify > route > inspect > decide > (hold > decide again) > record intent
//!         > filter request > forward > filter response > record outcome     any refusal > refuse > record
//! ```
//!
//! The spine is in `serve.rs`: three short functions name these steps. `forward` takes a
//! [`portcullis_policy::Pass`], which only the decision point can make, so nothing is forwarded
//! without a decision. `?` is the only way out of admission, and every error ends in `refuse`, which
//! records it.
//!
//! One single-threaded runtime per core, each with its own listeners, pools and caches ([`Gate`]).
//! What the data path needs from the rest of the house is in [`ports`].

pub mod ports;
pub mod tunnel;

mod body;
mod bounds;
mod browser;
mod busy_poll;
mod canonical;
mod caught;
mod connection;
mod content;
mod core;
mod cors;
mod decide;
mod detect;
mod digest;
mod exchange;
mod filter;
mod forward;
#[cfg(fuzzing)]
pub mod fuzz;
#[cfg(all(test, not(fuzzing)))]
mod fuzz;
mod gate;
mod hold;
mod identify;
mod inspect;
mod late;
mod limit;
mod listener;
mod metrics;
mod names;
mod record;
mod refuse;
mod reveal;
mod route;
mod sealed;
mod serve;
mod share;
mod slow;
mod spans;
mod upstream;

pub use bounds::Bounds;
pub use filter::{
    assertion::{AssertionSigner, InvalidKey},
    mask::{Trouble as MaskTrouble, mask_document},
    rules::{kept_from_requests, kept_from_responses},
};
pub use gate::{
    Browsers, Direct, Gate, GateConfig, GateError, GateHandle, GateParts, ListenerConfig,
};
pub use hold::HoldLimits;
pub use listener::LiveTls;
pub use metrics::Metrics;
pub use upstream::{ClientTls, Health, ServerAuthorities, Standing};

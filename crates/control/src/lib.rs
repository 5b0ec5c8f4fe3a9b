//! Policy administration: signing in, asking, reviewing, granting, revoking.
//!
//! Everything that changes state goes through one use case here, takes an [`OpContext`] and writes
//! state, event and outbox message in one transaction.

mod control;
pub mod error;
pub mod op_context;
pub mod views;

pub use control::Control;
pub use error::ControlError;
pub use op_context::OpContext;

//! Who asks.
//!
//! Turns what a caller presents into an [`Authenticated`], or says why not. People present opaque
//! sign-ins that control issued; workloads present JWTs, checked against the key sets of their
//! issuers. Decides nothing about access.

pub mod authenticated;
pub mod error;
pub mod sign_ins;

pub use authenticated::{AuthMethod, Authenticated};
pub use error::AuthError;
pub use sign_ins::SignIns;

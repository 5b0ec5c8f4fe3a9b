//! Clocks, an OpenID issuer, echo upstreams and temporary stores for tests.
//!
//! Everything here runs for real on loopback: servers have a port and a thread of their own, so
//! that a test may use any runtime or none, and stop when they are dropped. For tests only:
//! whatever goes wrong in here panics, which fails the test that needed it.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a broken helper fails its test"
)]

pub mod ambient;
pub mod issuer;
pub mod net;
pub mod ocsf;
pub mod passkey;
pub mod process;
mod serve;
pub mod upstream;

pub use ambient::{ManualClock, SeededEntropy};
pub use issuer::{Fault, Issuer, SigningKey, TokenDraft};
pub use passkey::SoftPasskey;
pub use process::Process;
pub use tempfile::TempDir;

//! The operating system's clock and randomness: the only place that asks for them.

use jiff::Timestamp;
use portcullis_model::{Clock, Entropy};

/// The wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the implementation of `Clock`")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The kernel's random number generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // INVARIANT: a guessable token is worse than no process.
            eprintln!("portcullis: the system has no randomness: {error}");
            std::process::abort();
        }
    }
}

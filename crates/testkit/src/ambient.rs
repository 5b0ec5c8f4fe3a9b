//! A clock that moves only when told to, and randomness that repeats.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{Clock, Entropy};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// A clock that shows the machine's time at this moment, and stops there.
    pub fn stopped_now() -> Self {
        Self::at(machine_time())
    }

    /// Moves it, forwards or backwards.
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now += by;
    }

    /// Moves it to `now`.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the machine's clock shows, in whole seconds, for tests that talk to real programs.
#[expect(clippy::disallowed_methods, reason = "tests against real programs need real time")]
pub fn machine_time() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a second of now")
}

/// Randomness that repeats for the same seed (`SplitMix64`). Predictable: for tests only.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(mixed.to_le_bytes().get(..chunk.len()).expect("at most eight"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_when_told_to() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        clock.advance(SignedDuration::from_secs(7));
        assert_eq!(clock.now().as_second(), 7);
        assert_eq!(clock.now().as_second(), 7);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
        let draw = |seed| SeededEntropy::new(seed).random_u128();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut odd = [0; 13];
        SeededEntropy::new(3).fill(&mut odd);
        assert!(odd[8..].iter().any(|byte| *byte != 0));
    }
}

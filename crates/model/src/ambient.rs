//! The clock and randomness, as arguments. Only the binary and the testkit implement them.

use std::fmt::Debug;

use jiff::Timestamp;

/// Tells the time. Nothing outside the binary and the testkit asks the operating system.
pub trait Clock: Debug + Send + Sync {
    /// The wall clock's time.
    fn now(&self) -> Timestamp;
}

/// Draws random bytes that nobody can predict.
pub trait Entropy: Debug + Send + Sync {
    /// Fills `bytes`. An implementation that cannot must end the process rather than return.
    fn fill(&self, bytes: &mut [u8]);

    /// Sixteen random bytes as one number, the shape that ids are made from.
    fn random_u128(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }
}

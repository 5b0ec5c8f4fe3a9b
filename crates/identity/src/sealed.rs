//! Sealed credentials: who asks when nobody can be asked who it is.
//!
//! Control signs the terms of each with its sealing key, long before. Whoever has the credential's own
//! private key, which a passphrase locks, opens it: they sign why, from when and for how long. Checking
//! both takes control's public key, the time, and nothing else. The passphrase never leaves the holder's
//! machine, and what does is worth nothing when the opening is over.

mod file;
mod keys;
mod lock;
mod note;
mod opening;

pub use file::SealedFile;
pub use keys::{NoKey, SealingKey, SealingPublicKey};
pub use lock::{CannotUnlock, Locked};
pub use note::SealedNote;
pub use opening::{Opened, TooLong, authenticate, open, opened};

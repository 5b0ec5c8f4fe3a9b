//! Journals: where an attempt is written before anything is forwarded.
//!
//! One per core, appended to by that core alone; the sequencer reads them back from the files, so
//! what it sees while the process lives is what recovery would see. A journal's positions count
//! bytes from its very first frame on, over all its segments, and never go back.

pub(crate) mod frame;
pub(crate) mod segments;
mod sync;
mod text;
mod writer;

pub use sync::SyncHandle;
pub(crate) use sync::SyncThread;
pub use writer::{CoreJournal, Recorded};

#[cfg(test)]
mod tests;

//! What other systems are told and how it looks there, without a wire: adapters bring it.
//!
//! Everything that somebody else wrote goes through [`text`] first, and through what escapes for the medium
//! after that. No message carries a right: a link leads to a page where whoever opens it signs in.

pub mod email;
pub mod slack;
pub mod summary;
pub mod teams;
pub mod text;

pub use summary::Summary;

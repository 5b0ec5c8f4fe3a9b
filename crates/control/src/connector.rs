//! Connectors: other systems that people work in. Each is one folder, without a word of HTTP: that is
//! an adapter's.

pub mod slack;

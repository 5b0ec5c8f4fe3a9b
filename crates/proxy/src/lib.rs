//! The policy enforcement point: the data path.
//!
//! A request's life, in the order of the files:
//! listener > detect > identify > route > inspect > decide > record intent > filter request >
//! forward > filter response > record outcome; any refusal > refuse > record.

pub mod ports;

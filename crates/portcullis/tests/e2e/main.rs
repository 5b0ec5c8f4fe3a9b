//! End-to-end tests: the real binary, real sockets, outsiders as clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests fail by panicking"
)]

mod bundles;
mod crash;
mod headers;
mod house;
mod lifecycle;
mod paths;
mod payments;
mod people;
mod readme;
mod streams;
mod upstream;
mod walls;
mod wire;

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
mod doors;
mod headers;
mod house;
mod issuers;
mod lifecycle;
mod outsiders;
mod paths;
mod payments;
mod people;
mod provider;
mod record;
mod secrets;
mod shop;
mod smuggling;
mod streams;
mod tokens;
mod upstream;
mod walls;
mod wire;

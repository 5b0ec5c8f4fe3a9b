//! Portcullis: a microservices access proxy with just-in-time access.

use std::process::ExitCode;

use clap::Parser;

mod adapters;
mod ambient;
mod check;
mod cli;
mod command;
mod config;
mod config_command;
mod content_keys;
mod demo;
mod diagnostics;
mod serve;
mod ship;
mod telemetry;

/// Allocating is a good part of what a request costs; this one is a fifth quicker than the C library's
/// in user time (`bench/RESULTS.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One provider of cryptography for all; a second caller cannot be before `main`.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = command::Arguments::parse();
    match command::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::from(command::WRONG_USE)
        }
    }
}

//! Portcullis: a microservices access proxy with just-in-time access.

use std::process::ExitCode;

use clap::Parser;

mod adapters;
mod ambient;
mod check;
mod command;
mod config;
mod config_command;
mod demo;
mod diagnostics;
mod serve;
mod telemetry;

fn main() -> ExitCode {
    let arguments = command::Arguments::parse();
    match command::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::from(command::WRONG_USE)
        }
    }
}

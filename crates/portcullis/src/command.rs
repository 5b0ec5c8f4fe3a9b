//! The command line: what can be said, and who does it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{check, config_command, demo, serve};

/// Refused, declined, or not in order.
pub(crate) const REFUSED: u8 = 1;
/// Wrong use: arguments, configuration, environment.
pub(crate) const WRONG_USE: u8 = 2;

/// Proves who asks, decides every request, and opens the gate for a short time when policy and
/// people agree.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Opens the gate
    Serve(serve::ServeArguments),
    /// Checks configuration, OpenAPI documents, policies and policy tests, and reports every mistake
    Check(ConfigPath),
    /// Looks at the configuration
    #[command(subcommand)]
    Config(config_command::ConfigCommand),
    /// Starts a company to try things in: gate, control, services, identity provider
    Demo(demo::DemoArguments),
}

/// Where the configuration is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigPath {
    /// The configuration file
    #[arg(short, long, env = "PORTCULLIS_CONFIG", default_value = "portcullis.yaml")]
    pub(crate) config: PathBuf,
}

/// Does what was said.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(at) => Ok(check::run(&at.config)),
        Command::Config(command) => config_command::run(&command),
        Command::Demo(arguments) => demo::run(&arguments),
    }
}

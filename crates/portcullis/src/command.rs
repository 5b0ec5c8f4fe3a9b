//! The command line: what can be said, and who does it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::{ambient::SystemClock, check, cli, config_command, demo, serve};

/// Refused, declined, or not in order.
pub(crate) const REFUSED: u8 = 1;
/// Wrong use: arguments, configuration, environment.
pub(crate) const WRONG_USE: u8 = 2;

/// Proves who asks, decides every request, and opens the gate for a short time when policy and
/// people agree.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: cli::ClientOptions,
    #[command(subcommand)]
    command: Command,
}

// There is one in a process.
#[expect(clippy::large_enum_variant, reason = "clap flattens values, not boxes")]
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Client(cli::ClientCommand),
    /// Asks policies
    #[command(subcommand)]
    Policy(PolicyCommand),
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

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Checks the policies of a configuration, as `check` does
    Check(ConfigPath),
    /// Runs the tests of the policies of a configuration
    Test(ConfigPath),
    /// Says what would happen, and why
    Explain(cli::Explain),
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
    let client =
        |command| Ok(cli::run(command, arguments.options, &SystemClock, Arguments::command()));
    match arguments.command {
        Command::Client(command) => client(command),
        Command::Policy(PolicyCommand::Explain(explain)) => {
            client(cli::ClientCommand::Explain(explain))
        }
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(at) | Command::Policy(PolicyCommand::Check(at)) => {
            Ok(check::run(&at.config))
        }
        Command::Policy(PolicyCommand::Test(at)) => Ok(check::test(&at.config)),
        Command::Config(command) => config_command::run(&command),
        Command::Demo(arguments) => demo::run(&arguments),
    }
}

//! Portcullis: a microservices access proxy with just-in-time access.

mod cli;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use jiff::Timestamp;
use portcullis_model::Clock;

/// Proves who asks, decides every request, and opens the gate for a short time when policy and
/// people agree.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    options: cli::ClientOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Client(cli::ClientCommand),
    /// Asks the policies in force
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Says what would happen, and why
    Explain(cli::Explain),
}

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the implementation of `Clock`")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = match arguments.command {
        Command::Client(command) => command,
        Command::Policy(PolicyCommand::Explain(explain)) => cli::ClientCommand::Explain(explain),
    };
    cli::run(command, arguments.options, &SystemClock, Arguments::command())
}

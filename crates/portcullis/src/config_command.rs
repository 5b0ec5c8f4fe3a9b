//! `portcullis config`: the schema of the file, and what a file comes to.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::{
    command::{ConfigPath, REFUSED},
    config, diagnostics,
};

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints the JSON Schema of the configuration file
    Schema,
    /// Prints the configuration as it is understood, defaults filled in and secrets hidden
    Show(ConfigPath),
}

/// Prints it.
pub(crate) fn run(command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Schema => {
            println!("{}", serde_json::to_string_pretty(&config::schema())?);
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Show(at) => match config::load(&at.config) {
            Ok(loaded) => {
                println!("{}", serde_json::to_string_pretty(&loaded.config)?);
                Ok(ExitCode::SUCCESS)
            }
            Err(errors) => {
                eprint!("{}", diagnostics::render(&errors, &config::base_of(&at.config)));
                Ok(ExitCode::from(REFUSED))
            }
        },
    }
}

//! Logs of the process: one JSON object a line, or short lines for people at a terminal.
//!
//! What is logged is chosen where it happens; nothing here sees requests, and secrets print as nothing.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `PORTCULLIS_LOG` chooses: `warn`, `portcullis=debug`.
pub(crate) fn start() -> Result<()> {
    start_at("info")
}

/// The same for the demo, whose screen belongs to the tour.
pub(crate) fn start_quietly() -> Result<()> {
    start_at("warn")
}

fn start_at(level: &str) -> Result<()> {
    let filter = match std::env::var("PORTCULLIS_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .with_context(|| format!("PORTCULLIS_LOG={text} is no filter; try info or debug"))?,
        Err(_) => EnvFilter::new(level),
    };
    // Where standard error cannot be written, its disk being full, the subscriber would say so on
    // standard error by a macro that panics then, and take the request along that it speaks of.
    let builder = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

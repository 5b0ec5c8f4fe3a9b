//! Logs of the process: one JSON object a line, or short lines for people at a terminal. Below it, traces.
//!
//! What is logged is chosen where it happens; nothing here sees requests, and secrets print as nothing.

mod otlp;
mod panics;
pub(crate) mod traces;

use std::{io::IsTerminal, sync::Arc};

use anyhow::{Context, Result};
use portcullis_model::Traces;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use self::traces::Exporter;
use crate::config::Loaded;

/// Starts logging to standard error. `PORTCULLIS_LOG` chooses: `warn`, `portcullis=debug`.
pub(crate) fn start() -> Result<()> {
    start_at("info")
}

/// The same for the demo, whose screen belongs to the tour.
pub(crate) fn start_quietly() -> Result<()> {
    start_at("warn")
}

/// Starts what sends spans to a collector, if one is configured.
pub(crate) fn start_traces(
    loaded: &Loaded,
    registry: &mut Registry,
) -> Result<Option<(Arc<dyn Traces>, Exporter)>> {
    let settings = loaded.config.telemetry.as_ref();
    settings.map(|settings| Exporter::start(settings, &loaded.base, registry)).transpose()
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
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    panics::log();
    Ok(())
}

//! `portcullis audit rotate-content-key`: another key seals what is kept of requests, from the next start on.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    ambient::SystemEntropy,
    cli::{failure::Failure, screen::Screen},
    content_keys,
};

#[derive(Debug, Args)]
pub(crate) struct RotateContentKey {
    /// The file of keys: `audit.content_keys`, or `contents.keys` in the folder that `audit.directory` names
    #[arg(default_value = "audit/contents.keys", value_name = "FILE")]
    keys: PathBuf,
}

impl RotateContentKey {
    pub(super) fn run(self, screen: &Screen) -> Result<(), Failure> {
        let keys = content_keys::rotate(&self.keys, &SystemEntropy)
            .map_err(|error| Failure::WrongUse(format!("{error:#}")))?;
        let names = keys.names();
        if screen.is_json() {
            screen.body(&json!({"keys": names}));
            return Ok(());
        }
        let newest = names.last().copied().unwrap_or_default();
        screen.line(&format!("from its next start on, the server keeps content under `{newest}`"));
        screen.line("keep the others: they open what was kept before");
        Ok(())
    }
}

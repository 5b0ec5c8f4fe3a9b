//! `portcullis audit rotate-key`: the log gets another key. The server must be stopped: it has the log.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use portcullis_log::{Keys, Log, LogError, LogOptions};
use serde_json::json;

use crate::{
    ambient::{SystemClock, SystemEntropy},
    cli::{failure::Failure, screen::Screen},
};

#[derive(Debug, Args)]
pub(crate) struct RotateKey {
    /// The folder that `audit.directory` names
    #[arg(default_value = "audit", value_name = "FOLDER")]
    record: PathBuf,
}

impl RotateKey {
    pub(super) fn run(self, screen: &Screen) -> Result<(), Failure> {
        let public = self.record.join("log.pub");
        let text = fs::read_to_string(&public).map_err(|error| {
            Failure::WrongUse(format!(
                "{} cannot be read: {error}; name the folder that `audit.directory` of the configuration \
                 names",
                public.display()
            ))
        })?;
        let keys = Keys::parse(&text).map_err(|what| Failure::WrongUse(what.to_string()))?;
        let rotated = Log::rotate_key(&LogOptions {
            directory: self.record.clone(),
            name: keys.name().to_owned(),
            entropy: Arc::new(SystemEntropy),
            clock: Arc::new(SystemClock),
            checkpoint_every: Duration::from_secs(1),
            most: None,
        });
        let rotated = rotated.map_err(|error| match error {
            LogError::InUse(_) => Failure::WrongUse(format!("{error}, then rotate its key")),
            error => Failure::local("the key could not be changed", &error),
        })?;
        if screen.is_json() {
            let keys: Vec<_> = rotated.keys.all().iter().map(ToString::to_string).collect();
            screen.body(&json!({"seq": rotated.seq, "keys": keys}));
            return Ok(());
        }
        screen.line(&format!("the log has a new key; record {} says so", rotated.seq));
        for key in rotated.keys.all() {
            screen.line(&format!("  {key}"));
        }
        screen.line(&format!(
            "give auditors the new {}: without it they prove nothing newer",
            public.display()
        ));
        Ok(())
    }
}

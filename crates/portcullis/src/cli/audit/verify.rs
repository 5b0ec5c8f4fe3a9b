//! `portcullis audit verify`: needs the record's directory and the log's public key, and no server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
use portcullis_log::verify;
use serde_json::json;

use crate::cli::{failure::Failure, screen::Screen, when};

const KEY_FILE: &str = "log.pub";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The record's directory: `checkpoint` and `tile/`
    #[arg(default_value = "audit")]
    directory: PathBuf,
    /// The log's public key, or a file with it; `log.pub` of the directory if absent, which proves
    /// nothing against whoever could change that too
    #[arg(long)]
    key: Option<String>,
    /// A checkpoint that was kept elsewhere: shows whether the record was cut or set back since
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(&self, screen: &Screen, now: Timestamp) -> Result<(), Failure> {
        let key = self.key()?;
        let held = self.checkpoint.as_deref().map(read).transpose()?;
        let verified = verify(&self.directory, key.trim(), held.as_deref())
            .map_err(|finding| Failure::Refused(finding.to_string()))?;
        let root: String = verified.root.iter().map(|byte| format!("{byte:02x}")).collect();
        if screen.is_json() {
            screen.body(&json!({"size": verified.size, "root": root, "time": verified.time}));
            return Ok(());
        }
        let newest = verified.time.map(|time| format!(", the newest of {}", when::at(time, now)));
        screen.line(&format!("whole: {} records{}", verified.size, newest.unwrap_or_default()));
        screen.line(&format!("root   {root}"));
        if held.is_none() {
            screen.note("with --checkpoint FILE, a cut or an older state would show as well");
        }
        Ok(())
    }

    /// A verifier key has plus signs and a path of a file rarely does; a file that exists wins.
    fn key(&self) -> Result<String, Failure> {
        match &self.key {
            Some(text) if !Path::new(text).exists() => Ok(text.clone()),
            Some(path) => read(Path::new(path)),
            None => read(&self.directory.join(KEY_FILE)),
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::local(&path.display().to_string(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify_in(directory: &Path, key: Option<&str>) -> Failure {
        let verify = Verify {
            directory: directory.to_owned(),
            key: key.map(str::to_owned),
            checkpoint: None,
        };
        verify.run(&Screen::new(false), Timestamp::UNIX_EPOCH).unwrap_err()
    }

    #[test]
    fn a_record_that_is_not_there_is_not_proved() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(verify_in(directory.path(), None), Failure::WrongUse(_)));
        assert!(matches!(
            verify_in(directory.path(), Some("log+00000000+AQ==")),
            Failure::Refused(_)
        ));
    }
}

//! `portcullis audit verify`: needs the record's directory and the log's public key, and no server; or
//! the server and the key, and no directory.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
use portcullis_log::{Verified, verify};
use serde_json::json;

use super::served;
use crate::cli::{failure::Failure, screen::Screen, session::Session, when};

const CHECKPOINT: &str = "checkpoint";
const KEY_FILE: &str = "log.pub";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The record: the folder that `audit.directory` names, a copy of the `log` folder in it, or the
    /// address of the control server, like `https://portcullis.example.com`
    #[arg(default_value = "audit", value_name = "FOLDER|URL")]
    record: PathBuf,
    /// The log's public key, or a file with it; `log.pub` beside the log if absent, which proves
    /// nothing against whoever could change that too. A server's record needs it
    #[arg(long)]
    key: Option<String>,
    /// A checkpoint that was kept elsewhere: shows whether the record was cut or set back since
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

impl Verify {
    pub(super) async fn run<'a>(
        self,
        session: impl FnOnce() -> Result<Session<'a>, Failure>,
        screen: &Screen,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let held = self.checkpoint.as_deref().map(read).transpose()?;
        let has_held = held.is_some();
        let verified = if let Some(server) = self.record.to_str().and_then(served::address) {
            let server = server?;
            let key = self.given_key()?.ok_or_else(|| {
                    Failure::WrongUse(format!(
                        "give the log's public key with --key, from where you keep it: what {server} itself \
                     hands out proves nothing against {server}"
                    ))
                })?;
            served::verify(session()?, &server, key, held).await?
        } else {
            let log = self.log()?;
            verify(&log, self.key(&log)?.trim(), held.as_deref())
        };
        let verified = verified.map_err(|finding| Failure::Refused(finding.to_string()))?;
        show(&verified, has_held, screen, now);
        Ok(())
    }

    /// The log's own folder: the one given, or `log` in it.
    fn log(&self) -> Result<PathBuf, Failure> {
        let is_log = |path: &Path| path.join(CHECKPOINT).exists() || path.join("tile").exists();
        let inner = self.record.join("log");
        [&self.record, &inner].into_iter().find(|path| is_log(path)).cloned().ok_or_else(|| {
            let directory = self.record.display();
            Failure::WrongUse(format!(
                "{directory} holds no record; name the folder that `audit.directory` of the \
                 configuration names"
            ))
        })
    }

    fn key(&self, log: &Path) -> Result<String, Failure> {
        if let Some(key) = self.given_key()? {
            return Ok(key);
        }
        let beside = log.join("..").join(KEY_FILE);
        let found = [log.join(KEY_FILE), beside].into_iter().find(|path| path.exists());
        read(&found.ok_or_else(|| {
            let log = log.display();
            Failure::WrongUse(format!(
                "there is no {KEY_FILE} beside {log}; give the log's public key with --key"
            ))
        })?)
    }

    /// A verifier key has plus signs and a path of a file rarely does; a file that exists wins.
    fn given_key(&self) -> Result<Option<String>, Failure> {
        let text = self.key.as_ref();
        text.map(|text| {
            let path = Path::new(text);
            if path.exists() { read(path) } else { Ok(text.clone()) }
        })
        .transpose()
    }
}

/// What was proved; `since` a checkpoint that was held, or not.
fn show(verified: &Verified, since: bool, screen: &Screen, now: Timestamp) {
    let root = verified.root.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    if screen.is_json() {
        screen.body(&json!({"size": verified.size, "root": root, "time": verified.time}));
        return;
    }
    let newest = verified.time.map(|time| format!(" of {}", when::at(time, now)));
    let none_gone = if since { ", and none is gone since yours" } else { "" };
    screen.line(&format!(
        "whole: {} records, none changed, missing or moved up to the signed checkpoint{}{none_gone}",
        verified.size,
        newest.unwrap_or_default(),
    ));
    screen.line(&format!("root:  {root}"));
    if !since {
        screen.note(
            "keep a copy of the checkpoint elsewhere: with --checkpoint FILE, a cut shows too",
        );
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::local(&path.display().to_string(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify_in(directory: &Path, key: Option<&str>) -> Failure {
        let verify =
            Verify { record: directory.to_owned(), key: key.map(str::to_owned), checkpoint: None };
        let no_session =
            || -> Result<Session<'static>, Failure> { panic!("a folder needs no server") };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let screen = Screen::new(false);
        runtime.block_on(verify.run(no_session, &screen, Timestamp::UNIX_EPOCH)).unwrap_err()
    }

    #[test]
    fn a_record_that_is_not_there_is_not_proved() {
        let directory = tempfile::tempdir().unwrap();
        for key in [None, Some("log+00000000+AQ==")] {
            let failure = verify_in(directory.path(), key);
            assert!(
                matches!(failure, Failure::WrongUse(_))
                    && failure.to_string().contains("no record")
            );
        }
    }

    #[test]
    fn a_record_without_its_checkpoint_is_not_whole() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("log/tile")).unwrap();
        let failure = verify_in(directory.path(), None);
        assert!(failure.to_string().contains("--key"), "{failure}");
        fs::write(directory.path().join(KEY_FILE), "log+00000000+AQ==").unwrap();
        assert!(matches!(verify_in(directory.path(), None), Failure::Refused(_)));
        assert!(matches!(verify_in(&directory.path().join("log"), None), Failure::Refused(_)));
    }
}

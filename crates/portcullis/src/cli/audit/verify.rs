//! `portcullis audit verify`: needs the record's directory and the log's public key, and no server; or
//! the server and the key, and no directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
use portcullis_api::evidence::pack::hex;
use portcullis_log::{Keys, RecordProof, Verified, verify};
use serde_json::{Value, json};

use super::{given, pack, served};
use crate::cli::{failure::Failure, screen::Screen, session::Session, when};

const CHECKPOINT: &str = "checkpoint";
const KEY_FILE: &str = "log.pub";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The record: the folder that `audit.directory` names, a copy of the `log` folder in it, or the
    /// address of the control server, like `https://portcullis.example.com`; or an evidence pack
    #[arg(default_value = "audit", value_name = "FOLDER|URL|PACK")]
    record: PathBuf,
    /// The log's public key, or a file with it; `log.pub` beside the log if absent, which proves
    /// nothing against whoever could change that too. What comes from elsewhere needs it
    #[arg(long)]
    key: Option<String>,
    /// A checkpoint that was kept elsewhere: shows whether the record was cut or set back since
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Where `audit.anchors` puts checkpoints: shows the same, against each of them
    #[arg(long, value_name = "FILE|URL")]
    anchors: Option<String>,
    /// Proves one record instead, from a file that a server gave for it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "checkpoint", "anchors"])]
    proof: Option<PathBuf>,
}

impl Verify {
    pub(super) async fn run<'a>(
        self,
        session: impl FnOnce() -> Result<Session<'a>, Failure>,
        screen: &Screen,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if let Some(file) = &self.proof {
            return self.one(file, screen);
        }
        if self.record.is_file() {
            return self.pack(screen);
        }
        let mut held: Vec<_> =
            self.checkpoint.as_deref().map(given::read).transpose()?.into_iter().collect();
        if let Some(anchors) = &self.anchors {
            held.extend(given::anchors(anchors).await?);
        }
        let kept = held.len();
        let verified = if let Some(server) = self.record.to_str().and_then(served::address) {
            let server = server?;
            let key = self.needed_key(&format!(
                "what {server} itself hands out proves nothing against {server}"
            ))?;
            served::verify(session()?, &server, key, held).await?
        } else {
            let log = self.log()?;
            verify(&log, self.key(&log)?.trim(), held.iter().map(String::as_str))
        };
        let verified = verified.map_err(|finding| Failure::Refused(finding.to_string()))?;
        show(&verified, kept, screen, now);
        Ok(())
    }

    /// One record, by its proof.
    fn one(&self, file: &Path, screen: &Screen) -> Result<(), Failure> {
        let key =
            self.needed_key("what stands in the proof proves nothing against whoever made it")?;
        let keys = Keys::parse(&key).map_err(Failure::WrongUse)?;
        let proven = RecordProof::parse(&given::read(file)?).and_then(|proof| {
            let proven = proof.verify(&proof.leaf, &keys)?;
            Ok((proven, String::from_utf8_lossy(&proof.leaf).into_owned()))
        });
        let place = file.display();
        let (proven, leaf) =
            proven.map_err(|why| Failure::Refused(format!("{place} proves nothing: {why}")))?;
        let record: Value = serde_json::from_str(&leaf).unwrap_or_default();
        if screen.is_json() {
            let root = hex(&proven.root);
            screen.body(
                &json!({"seq": proven.seq, "size": proven.size, "root": root, "record": record}),
            );
            return Ok(());
        }
        screen.line(&format!(
            "on record: record {} of the {} that the signed checkpoint of `{}` speaks of, unchanged",
            proven.seq,
            proven.size,
            keys.name()
        ));
        say_if_replaced(screen, &keys, proven.size);
        screen.body(&record);
        Ok(())
    }

    /// An evidence pack.
    fn pack(&self, screen: &Screen) -> Result<(), Failure> {
        let place = self.record.display().to_string();
        if self.checkpoint.is_some() || self.anchors.is_some() {
            return Err(Failure::WrongUse(format!(
                "{place} is an evidence pack: compare the log with what you kept, not the pack"
            )));
        }
        let key = self.needed_key("the one in the pack proves nothing against whoever made it")?;
        let keys = Keys::parse(&key).map_err(Failure::WrongUse)?;
        let bytes = fs::read(&self.record).map_err(|error| Failure::local(&place, &error))?;
        let shown = pack::verify(&bytes, &keys)
            .map_err(|why| Failure::Refused(format!("{place} proves nothing: {why}")))?;
        let (body, given) = (&shown.body, &shown.given);
        if screen.is_json() {
            screen.body(&json!({"kind": body.kind, "id": body.id, "records": shown.records,
                "bundles": shown.bundles, "given": given.seq, "size": given.size,
                "root": hex(&given.root), "evidence": body}));
            return Ok(());
        }
        screen.line(&format!(
            "proved: {} records of {} {}, each in the log of `{}` that the signed checkpoint of {} records \
             speaks of",
            shown.records,
            body.kind.replace('_', " "),
            body.id,
            keys.name(),
            given.size
        ));
        screen.line(&format!(
            "evidence.json says what they say; {} that they name; record {} says that \
             exactly this was given to {}",
            bundles(shown.bundles),
            given.seq,
            body.made_by
        ));
        for digest in &body.missing_bundles {
            screen.line(&format!(
                "missing: the sources of the bundle {digest}, so that what its policies said is not proved"
            ));
        }
        screen.line(&format!(
            "looked through: the first {} records; what came later, and requests that still ran, are not in it",
            body.looked_through
        ));
        for (first, last) in &body.removed {
            screen.line(&format!(
                "missing: records {first} to {last}, which retention had removed before"
            ));
        }
        screen.line(&format!("root:   {}", hex(&given.root)));
        say_if_replaced(screen, &keys, given.size);
        screen.note("that nothing else is on record of it, the log itself proves: `portcullis audit verify`");
        Ok(())
    }

    fn needed_key(&self, why: &str) -> Result<String, Failure> {
        self.given_key()?.ok_or_else(|| {
            Failure::WrongUse(format!(
                "give the log's public key with --key, from where you keep it: {why}"
            ))
        })
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
        given::read(&found.ok_or_else(|| {
            let log = log.display();
            Failure::WrongUse(format!(
                "there is no {KEY_FILE} beside {log}; give the log's public key with --key"
            ))
        })?)
    }

    fn given_key(&self) -> Result<Option<String>, Failure> {
        self.key.as_deref().map(given::key).transpose()
    }
}

fn bundles(count: usize) -> String {
    match count {
        1 => "1 bundle has the digest".to_owned(),
        count => format!("{count} bundles have the digests"),
    }
}

/// What was proved; `kept` checkpoints were held against it.
fn show(verified: &Verified, kept: usize, screen: &Screen, now: Timestamp) {
    let root = hex(&verified.root);
    if screen.is_json() {
        screen.body(
            &json!({"size": verified.size, "root": root, "time": verified.time, "kept": kept,
                "removed": removed(verified)}),
        );
        return;
    }
    let newest = verified.time.map(|time| format!(" of {}", when::at(time, now)));
    let none_gone = match kept {
        0 => String::new(),
        1 => ", and none is gone since yours".to_owned(),
        kept => format!(", and none is gone since any of the {kept} that were kept"),
    };
    screen.line(&format!(
        "whole: {} records, none changed, missing or moved up to the signed checkpoint{}{none_gone}",
        verified.size,
        newest.unwrap_or_default(),
    ));
    if let Some(removed) = &verified.removed {
        let by = &removed.by;
        let ranges = removed.entries.iter().map(|(first, last)| format!("{first} to {last}"));
        screen.line(&format!(
            "removed: the entries {} were removed by {} of {} at {}, as record {} says; the tree still proves them",
            ranges.collect::<Vec<_>>().join(", "),
            by.note.cause,
            by.note.policy,
            when::utc(by.time),
            by.seq
        ));
    }
    screen.line(&format!("root:  {root}"));
    if kept == 0 {
        screen.note(
            "keep a copy of the checkpoint elsewhere: with --checkpoint FILE, a cut shows too; `audit.anchors` \
             keeps them for you",
        );
    }
}

/// What is missing by right, for programs.
fn removed(verified: &Verified) -> Option<Value> {
    let removed = verified.removed.as_ref()?;
    let by = &removed.by;
    Some(json!({"entries": removed.entries, "record": by.seq, "time": by.time,
        "cause": by.note.cause, "policy": by.note.policy, "older_than": by.note.older_than}))
}

/// A stolen key stays good for the sizes that it had.
fn say_if_replaced(screen: &Screen, keys: &Keys, size: u64) {
    if keys.is_of_replaced(size) {
        screen.line(
            "signed by a key that was replaced since: if it was stolen, compare with a checkpoint that you kept, \
             or with the log",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify_in(directory: &Path, key: Option<&str>) -> Failure {
        let (record, key) = (directory.to_owned(), key.map(str::to_owned));
        let verify = Verify { record, key, checkpoint: None, anchors: None, proof: None };
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

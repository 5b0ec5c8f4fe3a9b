//! Handing a log over to another key, so that a crash at any point leaves it with one of the two.
//!
//! The next key is written beside the old one; the handover becomes a record, and the last thing that the
//! old key signs; then `log.pub` says so, and the next key takes the old one's place. Whatever of this is
//! missing after a crash is done at the next opening, or undone if the record is not there.

use std::{fs, io, path::Path, sync::Arc};

use serde_json::json;

use super::{Log, LogOptions, committed::Committed, lock, recovery};
use crate::{
    Health, Keys, LogError, Reader, Signer, checkpoint, keys,
    layout::{Layout, replace_durably, sync_directory},
    tiles::{Shelf, TileName, WIDTH, split_bundle},
};

/// A log that has another key now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The position of the record that says so.
    pub seq: u64,
    /// The keys, the new one last: what `log.pub` holds.
    pub keys: Keys,
}

impl Log {
    /// Hands the log over to a new key. No process may have it open.
    pub fn rotate_key(options: &LogOptions) -> Result<Rotated, LogError> {
        let layout = Layout::create(&options.directory)?;
        let _lock = lock(&layout)?;
        let signer = signer(&layout, options)?;
        let next = signer.next(&layout.next_key(), options.entropy.as_ref())?;
        let health = Arc::new(Health::new(options.checkpoint_every));
        let mut sequencer = recovery::open(&layout, signer, options, health)?;
        let seq = sequencer.tree().size();
        let handover = sequencer.signer().hand_over(&next, seq + 1)?;
        let record = json!({
            "time": options.clock.now(),
            "type": "log_key_changed",
            "class": 6002,
            "detail": format!("checkpoints are signed with `{}` from here on", next.verifier_key()),
            "handover": handover,
        });
        let record = record.to_string();
        let members = record.strip_prefix('{').unwrap_or(&record).as_bytes();
        sequencer.tree().push(|out| out.extend_from_slice(members))?;
        sequencer.commit()?;
        let keys = sequencer.signer().followed_by(next.verifier_key(), seq + 1);
        take_over(&layout, &keys)?;
        Ok(Rotated { seq, keys })
    }
}

/// The key that signs from now on.
pub(super) fn signer(layout: &Layout, options: &LogOptions) -> Result<Signer, LogError> {
    finish(layout, &options.name)?;
    let (key, public) = (layout.key(), layout.public_key());
    Signer::load_or_create(&key, &public, &options.name, options.entropy.as_ref())
}

fn take_over(layout: &Layout, keys: &Keys) -> Result<(), LogError> {
    let (public, scratch) = (layout.public_key(), layout.root().join("log.pub.new"));
    replace_durably(&public, &scratch, keys.to_string().as_bytes())?;
    let (next, key) = (layout.next_key(), layout.key());
    fs::rename(next, &key).map_err(|source| LogError::io("replace", key, source))?;
    sync_directory(layout.root())
}

/// Brings a handover to its end that a crash stopped.
fn finish(layout: &Layout, name: &str) -> Result<(), LogError> {
    let path = layout.next_key();
    let next = match Signer::read(&path, name) {
        Ok(next) => next,
        Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        // Half of a key was never used.
        Err(LogError::Key(_)) => return delete(&path),
        Err(error) => return Err(error),
    };
    let public = layout.public_key();
    let text = fs::read_to_string(&public);
    let text = text.map_err(|source| LogError::io("read", &public, source))?;
    let keys = Keys::parse(&text).map_err(LogError::Key)?;
    if keys.newest() == next.verifier_key() {
        return take_over(layout, &keys);
    }
    let committed = Committed::load(layout)?;
    let size = checkpoint::read(&committed.checkpoint).map_or(0, |head| head.size);
    let last = last_record(&layout.log(), size)?;
    if last.is_some_and(|record| keys::hands_over_to(&record, next.verifier_key())) {
        take_over(layout, &keys.followed_by(next.verifier_key(), size))
    } else {
        delete(&path)
    }
}

fn delete(path: &Path) -> Result<(), LogError> {
    fs::remove_file(path).map_err(|source| LogError::io("delete", path, source))
}

/// The last of the first `size` records.
fn last_record(log: &Path, size: u64) -> Result<Option<Vec<u8>>, LogError> {
    let Some(last) = size.checked_sub(1) else { return Ok(None) };
    let Some(name) = TileName::within(Shelf::Entries, last / WIDTH, size) else { return Ok(None) };
    let name = name.to_string();
    let missing = || LogError::damaged(log.join(&name), "it is missing");
    let bytes = Reader::open(log)?.file(&name)?.ok_or_else(missing)?;
    let entries = split_bundle(&bytes);
    let entries =
        entries.ok_or_else(|| LogError::damaged(log.join(&name), "its lengths do not add up"))?;
    Ok(entries.last().map(|entry| entry.to_vec()))
}

//! A file that checkpoints are appended to, one line each. Whatever else is appended to it is compared
//! too: a second log under the same name, from a copy of this one, is found there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use portcullis_log::{Anchored, Keys, Reader, anchored};

use super::Trouble;

/// So many lines are compared at most, the newest: when the process starts, the file may be long.
const COMPARED: usize = 1000;

/// One file.
#[derive(Debug, Clone)]
pub(super) struct AnchorFile {
    path: PathBuf,
    /// What stands before has been compared.
    read: u64,
    /// The newest of it.
    newest: Option<Anchored>,
}

impl AnchorFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: 0, newest: None }
    }

    /// Compares, and appends the newest checkpoint if it is newer; the size that the file has then.
    pub(super) async fn bring(&mut self, reader: &Reader, keys: &Keys) -> Result<u64, Trouble> {
        let (mut file, reader, keys) = (self.clone(), reader.clone(), keys.clone());
        let brought = tokio::task::spawn_blocking(move || {
            let size = file.bring_now(&reader, &keys)?;
            Ok::<_, Trouble>((file, size))
        });
        let brought = brought.await.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let (file, size) = brought?;
        *self = file;
        Ok(size)
    }

    fn bring_now(&mut self, reader: &Reader, keys: &Keys) -> Result<u64, Trouble> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        let unfinished = self.compare(&mut file, reader, keys)?;
        if let Some(newest) = &self.newest {
            reader.still_holds(&newest.checkpoint, keys)?;
        }
        // What is not signed, or not of the tiles that are there, is not anchored.
        let checkpoint = reader.signed_checkpoint(keys)?;
        let has = self.newest.as_ref().map_or(0, |newest| newest.size);
        let Some(next) = checkpoint.as_deref().and_then(Anchored::new) else { return Ok(has) };
        if next.size <= has {
            return Ok(has);
        }
        // A line that a crash left half written ends here.
        let line = if unfinished { format!("\n{}", next.line()) } else { next.line() };
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
        let size = next.size;
        self.newest = Some(next);
        Ok(size)
    }

    /// Reads on from where it was read to. Says whether it ends in the middle of a line.
    fn compare(&mut self, file: &mut File, reader: &Reader, keys: &Keys) -> Result<bool, Trouble> {
        let length = file.metadata()?.len();
        if length < self.read {
            let what = format!("{} is shorter than it was", self.path.display());
            return Err(Trouble::Unreachable(what));
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let lines = text.get(..whole).unwrap_or_default();
        let held = anchored(lines).map_err(|error| {
            io::Error::other(format!("{} is no file of checkpoints: {error}", self.path.display()))
        })?;
        // Somebody else's may stand between ours.
        for held in held.iter().rev().take(COMPARED) {
            reader.still_holds(&held.checkpoint, keys)?;
        }
        if let Some(newest) = held.into_iter().max_by_key(|held| held.size)
            && self.newest.as_ref().is_none_or(|known| known.size < newest.size)
        {
            self.newest = Some(newest);
        }
        self.read += whole as u64;
        Ok(whole < text.len())
    }
}

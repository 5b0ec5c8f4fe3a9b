//! Reads the log from its directory, as anybody may who has a copy of it. Trusts what is there: to
//! know that it is right, [`crate::verify`] it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{
    LogError,
    checkpoint::{self, Head},
    segment,
    tiles::{Shelf, TileName, WIDTH, most_of, split_bundle},
};

/// One entry of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position, which its text starts with, too.
    pub seq: u64,
    /// A JSON object.
    pub json: String,
}

/// Reads what the newest checkpoint covers; entries appear within a second.
#[derive(Debug, Clone)]
pub struct Reader {
    directory: PathBuf,
}

impl Reader {
    /// Reads the log in `directory`, which need not have a checkpoint yet.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LogError> {
        let directory = directory.into();
        let found = fs::metadata(&directory);
        let found = found.map_err(|source| LogError::io("open", &directory, source))?;
        if found.is_dir() {
            Ok(Self { directory })
        } else {
            Err(LogError::damaged(directory, "it is no directory"))
        }
    }

    /// The newest checkpoint, signed; `None` before the first one.
    pub fn checkpoint(&self) -> Result<Option<String>, LogError> {
        let bytes = self.read("checkpoint")?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// When the newest checkpoint was written, since 1970; `None` before the first one.
    pub fn signed_at(&self) -> Option<Duration> {
        let written = fs::metadata(self.path("checkpoint")).and_then(|file| file.modified());
        written.ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()
    }

    /// How many entries there are.
    pub fn size(&self) -> Result<u64, LogError> {
        Ok(self.head()?.map_or(0, |(head, _)| head.size))
    }

    /// What the newest checkpoint says, whoever signed it, and its text.
    pub(crate) fn head(&self) -> Result<Option<(Head, String)>, LogError> {
        let Some(text) = self.checkpoint()? else { return Ok(None) };
        let head = checkpoint::read(&text)
            .ok_or_else(|| LogError::damaged(self.path("checkpoint"), "it is no checkpoint"))?;
        Ok(Some((head, text)))
    }

    /// The entry at `seq`; `None` beyond the end, and where it was removed.
    pub fn entry(&self, seq: u64) -> Result<Option<Entry>, LogError> {
        self.entries(seq, 1).map(|entries| entries.into_iter().find(|entry| entry.seq == seq))
    }

    /// At most `limit` entries from `from` on, in order. Those that were removed are passed over.
    pub fn entries(&self, from: u64, limit: usize) -> Result<Vec<Entry>, LogError> {
        let size = self.size()?;
        let mut entries = Vec::new();
        let mut next = from;
        while next < size && entries.len() < limit {
            let name = TileName::within(Shelf::Entries, next / WIDTH, size);
            let Some(name) = name else { break };
            let first = name.index * WIDTH;
            let Some(bundle) = self.tile_or_full(name)? else {
                let removed = self.removed()?;
                let range = removed.as_ref().and_then(|removed| removed.range_of(next));
                next = range.ok_or_else(|| self.damaged(name, "it is missing"))?.to;
                continue;
            };
            let texts = split_bundle(&bundle)
                .ok_or_else(|| self.damaged(name, "its lengths do not add up"))?;
            for text in texts.iter().skip(usize::try_from(next - first).unwrap_or(usize::MAX)) {
                if next == size || entries.len() == limit {
                    break;
                }
                let json = String::from_utf8(text.to_vec())
                    .map_err(|_| self.damaged(name, "an entry is no text"))?;
                entries.push(Entry { seq: next, json });
                next += 1;
            }
            if next < size && entries.len() < limit && next < first + name.width {
                return Err(self.damaged(name, "entries are missing"));
            }
        }
        Ok(entries)
    }

    /// The newest `count` entries, in order.
    pub fn newest(&self, count: usize) -> Result<Vec<Entry>, LogError> {
        self.entries(self.size()?.saturating_sub(count as u64), count)
    }

    /// A file of the log by its C2SP name, `checkpoint` or `tile/…`, for those who fetch it from
    /// elsewhere; bundles out of sealed segments too. `None` for everything else: no other spelling, nothing outside the log.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>, LogError> {
        match TileName::parse(path) {
            Some(name) => self.tile(name),
            None if path == "checkpoint" => self.read(path),
            None => Ok(None),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn bundle(&self, name: TileName) -> Result<Vec<u8>, LogError> {
        self.tile_or_full(name)?.ok_or_else(|| self.damaged(name, "it is missing"))
    }

    /// A tile, or the full one: a checkpoint later, that has taken the place of the unfinished one.
    pub(crate) fn tile_or_full(&self, name: TileName) -> Result<Option<Vec<u8>>, LogError> {
        match self.tile(name)? {
            None => self.tile(TileName::full(name.shelf, name.index)),
            found => Ok(found),
        }
    }

    /// A tile of the log, out of the sealed segment if it is in none of its own.
    fn tile(&self, name: TileName) -> Result<Option<Vec<u8>>, LogError> {
        let path = name.to_string();
        match self.read(&path)? {
            None if name.shelf == Shelf::Entries && name.width == WIDTH => {
                segment::read_bundle(&self.directory, name.index, most_of(name))
                    .map_err(|source| LogError::io("read", self.path(path), source))
            }
            found => Ok(found),
        }
    }

    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, LogError> {
        let path = self.path(path);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LogError::io("read", path, error)),
        }
    }

    fn damaged(&self, name: TileName, what: &str) -> LogError {
        LogError::damaged(self.path(name.to_string()), what)
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }
}

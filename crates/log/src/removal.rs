//! Entries that were removed on purpose: whole sealed segments, after the record itself said which.
//!
//! `log/removed` holds the record that says so, for those who read on past the gap: what it speaks of need
//! not be there. Nobody who proves anything goes by that file: [`crate::verify`] finds the record where it
//! stands in the log, and the hash tiles stay; so does whoever removes more (`Reader::removed_as_signed`).
//!
//! A removal is on record first, then in `log/removed`, and done last. A crash in between leaves more than
//! was to stay, and doing it again does the rest.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use portcullis_model::{RemovalNote, RemovedRange};
use serde::Deserialize;
use tlog_tiles::Hash;

use crate::{
    Entry, LogError, Reader,
    layout::{gone, replace_durably, sync_directory},
    segment::{self, ENTRIES},
    tiles::{Edge, Shelf, TileName, WIDTH, decode_hashes},
};

/// The file in the log.
pub(crate) const NAME: &str = "removed";
/// What such a record begins with, behind its position, id and time.
const KIND: &[u8] = b"\"type\":\"record_removed\"";
/// Its type stands within so many bytes.
const HEAD: usize = 256;

/// A removal, as the record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The position of the record.
    pub seq: u64,
    /// When it was made.
    pub time: Timestamp,
    /// What it says.
    pub note: RemovalNote,
}

impl Removal {
    /// Reads `entry`, if it is the record of a removal that can have been made: of whole segments, in their
    /// order, all of them before it.
    pub fn read(entry: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Record {
            seq: u64,
            time: Timestamp,
            #[serde(rename = "type")]
            kind: String,
            removal: RemovalNote,
        }
        let head = entry.get(..HEAD.min(entry.len()))?;
        head.windows(KIND.len()).find(|part| *part == KIND)?;
        let Record { seq, time, kind, removal } = serde_json::from_slice(entry).ok()?;
        let are_sound = |ranges: &[RemovedRange]| {
            let mut end = 0;
            ranges.iter().all(|range| {
                let follows = range.from >= std::mem::replace(&mut end, range.to);
                let is_whole =
                    range.from.is_multiple_of(ENTRIES) && range.to.is_multiple_of(ENTRIES);
                follows && is_whole && range.from < range.to && range.to <= seq
            })
        };
        let sound = are_sound(&removal.removed) && are_sound(&removal.now);
        (sound && kind == "record_removed").then_some(Self { seq, time, note: removal })
    }

    /// The range that the entry at `seq` was removed with.
    pub fn range_of(&self, seq: u64) -> Option<&RemovedRange> {
        self.note.removed.iter().find(|range| range.has(seq))
    }
}

/// What was removed from `log`, as far as that has begun.
pub(crate) fn removed(log: &Path) -> Result<Option<Removal>, LogError> {
    let path = log.join(NAME);
    match fs::read(&path) {
        Ok(entry) => {
            let read = Removal::read(&entry);
            read.map(Some).ok_or_else(|| LogError::damaged(path, "it is no record of a removal"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::io("read", path, error)),
    }
}

/// The hash over the subtrees of `hashes`, one for each segment.
pub(crate) fn digest(hashes: Vec<Hash>) -> String {
    Edge::restore(hashes.len() as u64, vec![hashes]).root().to_string()
}

/// The hash of the subtree that is a segment, from the tile that has those of its bundles.
pub(crate) fn subtree(tile: &[u8]) -> Option<Hash> {
    let hashes = decode_hashes(tile).filter(|hashes| hashes.len() as u64 == WIDTH)?;
    Some(Edge::restore(WIDTH, vec![hashes]).root())
}

/// The tile with the hashes of the bundles of a segment.
pub(crate) fn tile_of(segment: u64) -> TileName {
    TileName::full(Shelf::Level(1), segment)
}

impl Reader {
    /// The entries in a sealed segment, which are removed together.
    pub const SEGMENT: u64 = ENTRIES;

    /// The file that says what was removed: a copy of the log has it as well.
    pub const REMOVED: &str = NAME;

    /// What was removed on purpose, if anything was.
    pub fn removed(&self) -> Result<Option<Removal>, LogError> {
        removed(self.directory())
    }

    /// The numbers of the sealed segments that are there, from the oldest on.
    pub fn segments(&self) -> Result<Vec<u64>, LogError> {
        segment::all(self.directory())
    }

    /// The files that the segments between these two entries lie in, those of before they were sealed too.
    pub fn files_of(range: &RemovedRange) -> impl Iterator<Item = String> + use<> {
        let bundles = range.from / WIDTH..range.to / WIDTH;
        let bundles = bundles.map(|index| TileName::full(Shelf::Entries, index).to_string());
        (range.from / ENTRIES..range.to / ENTRIES).map(segment::name).chain(bundles)
    }

    /// Removes what the signed record at `seq` says is removed. Again after a crash does the rest, and so does one
    /// that a newer one speaks for already: whoever remembers it was set back. Says how many segments went.
    pub fn remove(&self, seq: u64) -> Result<usize, LogError> {
        let path = self.directory().join(NAME);
        let no_record = || LogError::damaged(&path, format!("record {seq} says nothing of that"));
        let Entry { json, .. } = self.entry(seq)?.ok_or_else(no_record)?;
        let next = Removal::read(json.as_bytes()).ok_or_else(no_record)?;
        let known = self.removed()?;
        let speaks_for = |by: &Removal, of: &Removal| {
            of.note.removed.iter().all(|range| {
                by.note.removed.iter().any(|all| all.from <= range.from && range.to <= all.to)
            })
        };
        // INVARIANT: the newest record speaks for all that is gone; an older one would leave a gap that
        // nothing explains.
        let sound = known.as_ref().is_none_or(|known| {
            let (newer, older) = if known.seq > seq { (known, &next) } else { (&next, known) };
            speaks_for(newer, older)
        });
        if !sound {
            let what = format!("record {seq} does not speak of all that is removed already");
            return Err(LogError::damaged(path, what));
        }
        if known.is_none_or(|known| known.seq < seq) {
            replace_durably(&path, &path.with_added_extension("new"), json.as_bytes())?;
        }
        let mut count = 0;
        for number in self.segments()? {
            if next.range_of(number * ENTRIES).is_some() {
                let path = self.directory().join(segment::name(number));
                gone(fs::remove_file(&path), &path)?;
                path.parent().map_or(Ok(()), sync_directory)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

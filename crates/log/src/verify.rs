//! Proves that the record is whole, from nothing but its files and the log's public key.
//!
//! Every hash is computed again from the entries, every tile compared with what was computed, the
//! root with the signed one. What a single directory cannot show is that it was cut or set back as a
//! whole, with an older checkpoint that was signed once: for that the auditor gives a checkpoint kept
//! elsewhere.
//!
//! Entries that retention removed are not there to be hashed: their hashes in the tree are taken instead,
//! which the signed root proves. That they are missing is right only if the newest removal on record says so.

mod files;
mod gaps;

use std::{io, path::Path};

use jiff::Timestamp;
use serde::Deserialize;
use tlog_tiles::Hash;

pub use self::files::Files;
use self::{files::Directory, gaps::Gaps};
use crate::{
    Keys, Removal,
    checkpoint::{self, Head},
    tiles::{
        Edge, Shelf, TileName, WIDTH, decode_hashes, encode_hashes, entries_of, leaf_hash, most_of,
        nodes_at, split_bundle, write_position,
    },
};

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Entries, none missing but those that are said to be removed.
    pub size: u64,
    /// The root hash over all of them.
    pub root: [u8; 32],
    /// When the newest of them was made; `None` in an empty log.
    pub time: Option<Timestamp>,
    /// What was removed by retention, if something was.
    pub removed: Option<VerifiedRemoval>,
}

/// Entries that are missing by right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRemoval {
    /// The first and the last of those that follow one another, as far as they are gone.
    pub entries: Vec<(u64, u64)>,
    /// The record that says so, which is proved like the others.
    pub by: Removal,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A file that cannot be read at all.
    #[error("`{path}` cannot be read: {why}")]
    Unreadable {
        /// Its name in the log.
        path: String,
        /// What the operating system or the server says.
        why: String,
    },
    /// The checkpoint is missing, was changed, or was signed by somebody else.
    #[error("the checkpoint is not this log's: {0}")]
    Checkpoint(String),
    /// The checkpoint that the auditor holds is not of this log.
    #[error("the checkpoint that you hold is not this log's: {0}")]
    HeldCheckpoint(String),
    /// Entries that were signed once are gone.
    #[error(
        "the log was cut or set back: it has {found} records, the checkpoint that you hold speaks of {held}"
    )]
    Truncated {
        /// Entries that the auditor's checkpoint speaks of.
        held: u64,
        /// Entries that there are.
        found: u64,
    },
    /// The history up to the auditor's checkpoint is another one.
    #[error(
        "the first {size} records are not those of the checkpoint that you hold: the log was rewritten"
    )]
    Rewritten {
        /// Entries that the auditor's checkpoint speaks of.
        size: u64,
    },
    /// An entry was changed, moved, doubled or left out.
    #[error("record {seq} {what}")]
    Record {
        /// The first such entry.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A file of the tree was changed or is missing.
    #[error("`{path}` {what}")]
    Tile {
        /// Its name in the log.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Verifies the log in `directory` with `verifier_key` (the text of `log.pub`), also against
/// checkpoints that the auditor holds, older or newer than the directory's own.
pub fn verify<'a>(
    directory: &Path,
    verifier_key: &str,
    held: impl IntoIterator<Item = &'a str>,
) -> Result<Verified, Finding> {
    verify_files(&Directory(directory), verifier_key, held)
}

/// The same for files from anywhere.
pub fn verify_files<'a>(
    files: &dyn Files,
    verifier_key: &str,
    held: impl IntoIterator<Item = &'a str>,
) -> Result<Verified, Finding> {
    let keys = Keys::parse(verifier_key).map_err(Finding::Checkpoint)?;
    let text = files::checkpoint(files)
        .map_err(|error| unreadable("checkpoint", &error))?
        .ok_or_else(|| Finding::Checkpoint("there is none".to_owned()))?;
    let text = String::from_utf8(text).map_err(|e| Finding::Checkpoint(e.to_string()))?;
    let signed = checkpoint::open(&text, &keys).map_err(Finding::Checkpoint)?;
    let held = held.into_iter().map(|text| checkpoint::open(text, &keys));
    let mut held: Vec<Head> = held.collect::<Result<_, _>>().map_err(Finding::HeldCheckpoint)?;
    // The smallest at the end, where the walk takes them from.
    held.sort_by_key(|held| std::cmp::Reverse(held.size));
    if let Some(newest) = held.first().filter(|held| held.size > signed.size) {
        return Err(Finding::Truncated { held: newest.size, found: signed.size });
    }
    let mut walk = Walk::new(files, &keys, signed, held);
    for index in 0..signed.size.div_ceil(WIDTH) {
        walk.bundle(index)?;
    }
    walk.finish()
}

/// One pass over the log. Two trees grow side by side: one from the entries, one from the stored leaf
/// hashes. Where they differ, the signed root tells which of the two was changed.
struct Walk<'a> {
    files: &'a dyn Files,
    keys: &'a Keys,
    /// What the log's own checkpoint says.
    signed: Head,
    /// What the auditor holds and the walk has not come to yet, the smallest last.
    held: Vec<Head>,
    entries: Edge,
    stored: Edge,
    /// The size of the first that the auditor holds and that does not fit.
    rewritten: Option<u64>,
    /// The first entry whose hash is not the stored one.
    differs: Option<u64>,
    /// The first tile above the leaves that is not what the stored leaf hashes give.
    wrong_tile: Option<Finding>,
    time: Option<Timestamp>,
    gaps: Gaps,
}

impl<'a> Walk<'a> {
    fn new(files: &'a dyn Files, keys: &'a Keys, signed: Head, held: Vec<Head>) -> Self {
        let mut walk = Self {
            files,
            keys,
            signed,
            held,
            entries: Edge::default(),
            stored: Edge::default(),
            rewritten: None,
            differs: None,
            wrong_tile: None,
            time: None,
            gaps: Gaps::default(),
        };
        walk.compare_held();
        walk
    }

    fn bundle(&mut self, index: u64) -> Result<(), Finding> {
        let name = self.name(Shelf::Entries, index);
        let Some(bytes) = self.tile_if_there(name)? else { return self.gap(name) };
        let first = index * WIDTH;
        let leaves = self.leaves(index)?;
        let (entries, rest) = entries_of(&bytes);
        if !rest.is_empty() || entries.len() != leaves.len() {
            return Err(first_change(first, &entries, &leaves));
        }
        for (seq, (entry, stored)) in (first..).zip(entries.iter().zip(leaves)) {
            let leaf = leaf_hash(entry);
            if leaf != stored {
                self.differs.get_or_insert(seq);
            }
            if self.differs.is_none() {
                check_entry(seq, entry)?;
                self.keys
                    .check_handover(seq, entry)
                    .map_err(|what| Finding::Record { seq, what })?;
                self.gaps.read(entry);
            }
            let _infallible = self.entries.push(leaf, |_, _| Ok::<(), ()>(()));
            self.push_stored(stored);
            self.compare_held();
        }
        if first + name.width == self.signed.size {
            self.time = entries.last().and_then(|entry| time_of(entry));
        }
        Ok(())
    }

    /// A bundle that is not there: whether it may be missing, the end tells.
    fn gap(&mut self, name: TileName) -> Result<(), Finding> {
        if name.width < WIDTH {
            return Err(broken(name, "is missing"));
        }
        self.gaps.add(name.index);
        for stored in self.leaves(name.index)? {
            let _infallible = self.entries.push(stored, |_, _| Ok::<(), ()>(()));
            self.push_stored(stored);
            self.compare_held();
        }
        Ok(())
    }

    fn leaves(&self, index: u64) -> Result<Vec<Hash>, Finding> {
        let name = self.name(Shelf::Level(0), index);
        let bytes = self.tile(name)?;
        decode_hashes(&bytes)
            .filter(|hashes| hashes.len() as u64 == name.width)
            .ok_or_else(|| broken(name, &format!("does not hold {} hashes", name.width)))
    }

    fn push_stored(&mut self, leaf: Hash) {
        let mut full = Vec::new();
        let _infallible = self.stored.push(leaf, |name, hashes| {
            full.push((name, encode_hashes(hashes)));
            Ok::<(), ()>(())
        });
        for (name, computed) in full {
            self.compare(name, &computed);
        }
    }

    /// Compares a stored tile above the leaves with what the leaves give.
    fn compare(&mut self, name: TileName, computed: &[u8]) {
        if name.shelf == Shelf::Level(0) || self.wrong_tile.is_some() {
            return;
        }
        self.wrong_tile = match self.tile(name) {
            Ok(stored) if stored == computed => None,
            Ok(_) => Some(broken(name, "does not follow from the hashes below it")),
            Err(finding) => Some(finding),
        };
    }

    fn compare_held(&mut self) {
        let size = self.entries.size();
        while let Some(held) = self.held.pop_if(|held| held.size == size) {
            if self.entries.root() != held.root {
                self.rewritten.get_or_insert(size);
            }
        }
    }

    fn finish(mut self) -> Result<Verified, Finding> {
        for level in 1..self.stored.height() {
            let index = nodes_at(self.signed.size, level) / WIDTH;
            if let Some(name) = TileName::within(Shelf::Level(level), index, self.signed.size) {
                let computed = encode_hashes(self.stored.level(level));
                self.compare(name, &computed);
            }
        }
        let root = self.entries.root();
        self.blame(root)?;
        self.check_leftovers()?;
        if let Some(size) = self.rewritten {
            return Err(Finding::Rewritten { size });
        }
        let removed = self.gaps.explained(&self)?;
        Ok(Verified { size: self.signed.size, root: root.0, time: self.time, removed })
    }

    /// Names what is wrong, if anything is.
    fn blame(&mut self, root: Hash) -> Result<(), Finding> {
        match (self.differs, self.wrong_tile.take()) {
            // The entries are what was signed: it is the stored hashes that were changed.
            (Some(seq), _) if root == self.signed.root => {
                let name = self.name(Shelf::Level(0), seq / WIDTH);
                Err(broken(name, &format!("does not hold the hash of record {seq}")))
            }
            (Some(seq), _) => Err(changed(seq)),
            (None, Some(finding)) => Err(finding),
            (None, None) if root == self.signed.root => Ok(()),
            (None, None) => Err(Finding::Record {
                seq: 0,
                what: format!("to {} are not those that were signed", self.signed.size.max(1) - 1),
            }),
        }
    }

    /// Unfinished tiles of earlier checkpoints stay until the full one is there. They too must say
    /// what was signed.
    fn check_leftovers(&self) -> Result<(), Finding> {
        let mut shelves = vec![Shelf::Entries];
        shelves.extend((0..self.entries.height()).map(Shelf::Level));
        for shelf in shelves {
            let nodes = match shelf {
                Shelf::Entries => self.signed.size,
                Shelf::Level(level) => nodes_at(self.signed.size, level),
            };
            for index in 0..nodes.div_ceil(WIDTH) {
                self.check_leftovers_of(self.name(shelf, index))?;
            }
        }
        Ok(())
    }

    fn check_leftovers_of(&self, name: TileName) -> Result<(), Finding> {
        let directory = name.partial_directory();
        let listed = self.files.list(&directory).map_err(|error| unreadable(&directory, &error))?;
        if listed.is_empty() {
            return Ok(());
        }
        let whole = self.tile(name)?;
        for file in listed {
            let partial = format!("{directory}/{file}");
            let Some(partial) = TileName::parse(&partial) else { continue };
            // A wider one is of a commit that nobody signed yet.
            if partial.width < name.width {
                let bytes = self.tile(partial)?;
                if prefix_of(&whole, partial) != Some(bytes.as_slice()) {
                    return Err(broken(partial, "is not the start of what became of it"));
                }
            }
        }
        Ok(())
    }

    fn name(&self, of: Shelf, index: u64) -> TileName {
        TileName::within(of, index, self.signed.size).unwrap_or(TileName::full(of, index))
    }

    /// A tile of the signed tree. While the log grows, the full tile may have taken the place of the
    /// unfinished one: then its start is what counts.
    fn tile(&self, name: TileName) -> Result<Vec<u8>, Finding> {
        self.tile_if_there(name)?.ok_or_else(|| broken(name, "is missing"))
    }

    fn tile_if_there(&self, name: TileName) -> Result<Option<Vec<u8>>, Finding> {
        if let Some(bytes) = self.read(name)? {
            return Ok(Some(bytes));
        }
        if name.width == WIDTH {
            return Ok(None);
        }
        let bytes = self.read(TileName::full(name.shelf, name.index))?;
        Ok(bytes.and_then(|bytes| prefix_of(&bytes, name).map(<[u8]>::to_vec)))
    }

    fn read(&self, name: TileName) -> Result<Option<Vec<u8>>, Finding> {
        let path = name.to_string();
        self.files.read(&path, most_of(name)).map_err(|error| unreadable(&path, &error))
    }
}

/// The bytes of the first `name.width` hashes or entries of a wider tile.
pub(crate) fn prefix_of(wide: &[u8], name: TileName) -> Option<&[u8]> {
    let width = usize::try_from(name.width).ok()?;
    let length = match name.shelf {
        Shelf::Level(_) => width * crate::tiles::HASH_BYTES,
        Shelf::Entries => {
            let entries = split_bundle(wide)?;
            entries.get(..width)?.iter().map(|entry| entry.len() + 2).sum()
        }
    };
    wide.get(..length)
}

/// Every entry is a JSON object that starts with its own position.
pub(crate) fn check_entry(seq: u64, entry: &[u8]) -> Result<(), Finding> {
    let mut start = Vec::with_capacity(32);
    write_position(&mut start, seq);
    start.push(b',');
    if !entry.starts_with(&start) {
        let what = "does not say that it is this record: one was moved, doubled or left out";
        return Err(Finding::Record { seq, what: what.to_owned() });
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(entry)
        .map(drop)
        .map_err(|error| Finding::Record { seq, what: format!("is no JSON: {error}") })
}

fn time_of(entry: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Dated {
        time: Timestamp,
    }
    serde_json::from_slice::<Dated>(entry).ok().map(|dated| dated.time)
}

/// In a bundle with too few or too many records: the first that is not the one that was signed.
fn first_change(first: u64, entries: &[&[u8]], leaves: &[Hash]) -> Finding {
    let same = entries.iter().zip(leaves).take_while(|(entry, leaf)| leaf_hash(entry) == **leaf);
    let seq = first + same.count() as u64;
    let (found, signed) = (entries.len(), leaves.len());
    let what = format!(
        "was changed, left out or put in: its bundle holds {found} whole records where {signed} \
         were signed"
    );
    Finding::Record { seq, what }
}

fn changed(seq: u64) -> Finding {
    Finding::Record { seq, what: "was changed: its hash is not the one that was signed".to_owned() }
}

fn broken(name: TileName, what: &str) -> Finding {
    Finding::Tile { path: name.to_string(), what: what.to_owned() }
}

fn unreadable(path: &str, error: &io::Error) -> Finding {
    Finding::Unreadable { path: path.to_owned(), why: error.to_string() }
}

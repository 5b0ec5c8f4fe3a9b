//! What brings a copy of the log elsewhere up to date: which files, in which order, and which of those
//! that it has are of no use any more. Moves nothing itself.
//!
//! A file of the log never changes once a checkpoint covers it, so that copying one twice, or again
//! after a crash, does no harm. The checkpoint comes last: whatever a copy's checkpoint speaks of is
//! there.

use serde::{Deserialize, Serialize};

use crate::{
    LogError, Reader,
    checkpoint::{self, Head},
    removal,
    segment::{self, BUNDLES, ENTRIES},
    tiles::{Edge, Shelf, TileName, WIDTH, decode_hashes, nodes_at},
    verify::prefix_of,
};

/// So many entries are copied before the place is noted down: less is done again after a crash.
const STEP: u64 = 8 * ENTRIES;

/// How far a copy is. The default is an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipped {
    /// Entries that the copy has, with their hashes.
    pub size: u64,
    /// Spans of 65,536 entries that it has as sealed segments.
    pub segments: u64,
    /// Unfinished tiles that it has.
    pub partial: Vec<String>,
}

/// What to copy next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// Files to copy, before the checkpoint.
    pub files: Vec<String>,
    /// The checkpoint to put there when they are; none on the way to it.
    pub checkpoint: Option<String>,
    /// Files that may be removed from the copy then.
    pub obsolete: Vec<String>,
    /// How far the copy is then.
    pub then: Shipped,
}

impl Reader {
    /// What a copy that is as far as `shipped` lacks; `None` if it lacks nothing.
    pub fn shipment(&self, shipped: &Shipped) -> Result<Option<Shipment>, LogError> {
        let Some((Head { size, .. }, text)) = self.head()? else { return Ok(None) };
        if size < shipped.size {
            let what = format!("it speaks of {size} entries, and {} are copied", shipped.size);
            return Err(LogError::damaged("checkpoint", what));
        }
        let segments = self.sealed(shipped.segments, size)?;
        if size == shipped.size && segments == shipped.segments {
            return Ok(None);
        }
        let end = if size - shipped.size > STEP {
            (shipped.size + STEP) / ENTRIES * ENTRIES
        } else {
            size
        };
        let segments = segments.min(end / ENTRIES).max(shipped.segments);
        let mut shipment = Shipment {
            files: Vec::new(),
            checkpoint: (end == size).then_some(text),
            obsolete: Vec::new(),
            then: Shipped { size: end, segments, partial: Vec::new() },
        };
        let removed = self.removed()?;
        if let Some(removed) = &removed {
            // Whoever reads the copy has to know what it cannot have.
            shipment.files.extend((shipped.size < removed.seq).then(|| removal::NAME.to_owned()));
        }
        let is_gone = |seq| removed.as_ref().is_some_and(|removed| removed.range_of(seq).is_some());
        let there = (shipped.segments..segments).filter(|number| !is_gone(number * ENTRIES));
        shipment.files.extend(there.map(segment::name));
        shipment.add(Shelf::Entries, shipped.size.max(segments * ENTRIES), end);
        for level in (0..8).take_while(|level| nodes_at(end, *level) > 0) {
            shipment.add(Shelf::Level(level), nodes_at(shipped.size, level), nodes_at(end, level));
        }
        let replaced = shipped.segments * BUNDLES..(segments * BUNDLES).min(shipped.size / WIDTH);
        let bundles = replaced.map(|index| TileName::full(Shelf::Entries, index).to_string());
        // Whoever verifies the copy meanwhile goes by an earlier checkpoint: its unfinished tiles stay
        // until the finished ones are there.
        let earlier = shipped.partial.iter().filter(|name| !shipment.then.partial.contains(name));
        let (replaced, stays): (Vec<String>, Vec<String>) =
            earlier.cloned().partition(|name| is_full(name, end));
        shipment.obsolete = bundles.chain(replaced).collect();
        shipment.then.partial.extend(stays);
        Ok(Some(shipment))
    }

    /// Whether the log that `checkpoint` is of became this one: then, how many entries it had; if not,
    /// why not.
    pub fn continues(&self, checkpoint: &str) -> Result<Result<u64, String>, LogError> {
        let Some(there) = checkpoint::read(checkpoint) else {
            return Ok(Err("its checkpoint is none".to_owned()));
        };
        let size = self.size()?;
        if there.size > size {
            let what = format!("it has {} entries, and this one {size}", there.size);
            return Ok(Err(what));
        }
        let mut levels = Vec::new();
        for level in (0..8).take_while(|level| nodes_at(there.size, *level) > 0) {
            let nodes = nodes_at(there.size, level);
            let width = usize::try_from(nodes % WIDTH).unwrap_or_default();
            let mut hashes = Vec::new();
            if width > 0
                && let Some(name) = TileName::within(Shelf::Level(level), nodes / WIDTH, size)
            {
                hashes = decode_hashes(&self.bundle(name)?).unwrap_or_default();
            }
            hashes.truncate(width);
            levels.push(hashes);
        }
        let root = Edge::restore(there.size, levels).root();
        let same = there.size == 0 || root == there.root;
        Ok(same
            .then_some(there.size)
            .ok_or_else(|| format!("its first {} entries are others", there.size)))
    }

    /// A file of a [`Shipment`]; `None` if it is not there. An unfinished tile that was finished since
    /// is the beginning of what became of it.
    pub fn shipped_file(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        match name.strip_prefix("segment/") {
            Some(_) => self.read(name),
            None if name == removal::NAME => self.read(name),
            None => match TileName::parse(name) {
                Some(tile) if tile.width < WIDTH => self.unfinished(tile),
                _ => self.file(name),
            },
        }
    }

    fn unfinished(&self, name: TileName) -> Result<Option<Vec<u8>>, LogError> {
        if let Some(bytes) = self.file(&name.to_string())? {
            return Ok(Some(bytes));
        }
        let full = TileName::full(name.shelf, name.index).to_string();
        let Some(bytes) = self.file(&full)? else { return Ok(None) };
        prefix_of(&bytes, name)
            .map(|start| Some(start.to_vec()))
            .ok_or_else(|| LogError::damaged(full, "it is shorter than what it began as"))
    }

    /// How many segments there are in a log of `size`, of which `known` are known.
    fn sealed(&self, known: u64, size: u64) -> Result<u64, LogError> {
        let newest = segment::newest(self.directory())?.map_or(0, |newest| newest + 1);
        Ok(newest.min(size / ENTRIES).max(known))
    }
}

/// Whether a log of `size` has the whole tile of which `partial` is a part.
fn is_full(partial: &str, size: u64) -> bool {
    TileName::parse(partial).is_none_or(|TileName { shelf, index, .. }| {
        let nodes = match shelf {
            Shelf::Entries => size,
            Shelf::Level(level) => nodes_at(size, level),
        };
        index < nodes / WIDTH
    })
}

impl Shipment {
    /// The tiles of `of` from its node `from` to `end`.
    fn add(&mut self, of: Shelf, from: u64, end: u64) {
        for index in from / WIDTH..end / WIDTH {
            self.files.push(TileName::full(of, index).to_string());
        }
        let rest = end % WIDTH;
        // On the way to a checkpoint, unfinished tiles are of no use to anybody.
        if rest > 0 && self.checkpoint.is_some() {
            let name = TileName { shelf: of, index: end / WIDTH, width: rest }.to_string();
            if from < end {
                self.files.push(name.clone());
            }
            self.then.partial.push(name);
        }
    }
}

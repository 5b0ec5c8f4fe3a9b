//! The shape of the log on disk: C2SP tlog-tiles names, entry bundles, and the right edge of the
//! Merkle tree. No IO.
//!
//! `tlog_tiles` supplies the RFC 6962 hashes; its names are the Go style (`tile/8/data/…`), so the
//! C2SP ones (`tile/entries/…`) are made here.

use std::{fmt, io::Write};

use tlog_tiles::{Hash, node_hash, record_hash};

/// Hashes in a full tile, entries in a full bundle.
pub(crate) const WIDTH: u64 = 256;
/// Bytes of a hash.
pub(crate) const HASH_BYTES: usize = 32;
/// The most bytes of one entry: its length is 16 bits in a bundle.
pub(crate) const MOST_ENTRY_BYTES: usize = u16::MAX as usize;

/// Which kind of tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Shelf {
    /// The entries themselves.
    Entries,
    /// Hashes, by level.
    Level(u8),
}

/// The name of one tile: `tile/0/x001/234.p/17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TileName {
    pub(crate) shelf: Shelf,
    pub(crate) index: u64,
    /// 1 to 256; 256 is full.
    pub(crate) width: u64,
}

impl TileName {
    pub(crate) fn full(shelf: Shelf, index: u64) -> Self {
        Self { shelf, index, width: WIDTH }
    }

    /// The tile of `shelf` that a tree of `size` has at `index`; `None` if it has none there.
    pub(crate) fn within(shelf: Shelf, index: u64, size: u64) -> Option<Self> {
        let nodes = match shelf {
            Shelf::Entries => size,
            Shelf::Level(level) => nodes_at(size, level),
        };
        let width = nodes.saturating_sub(index.saturating_mul(WIDTH)).min(WIDTH);
        (width > 0).then_some(Self { shelf, index, width })
    }

    /// The directory of the partial tiles at this place.
    pub(crate) fn partial_directory(self) -> String {
        format!("{}.p", Self { width: WIDTH, ..self })
    }

    /// Reads exactly what [`fmt::Display`] writes, and nothing else: no `..`, no other spelling.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut rest = path.strip_prefix("tile/")?;
        let shelf;
        (shelf, rest) = rest.split_once('/')?;
        let shelf = match shelf {
            "entries" => Shelf::Entries,
            level => Shelf::Level(level.parse().ok().filter(|level| *level < 64)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|w| *w < WIDTH)?),
            None => (rest, WIDTH),
        };
        let index = path_number(number)?;
        let name = Self { shelf, index, width };
        // One spelling each: whatever the parsing above tolerated ends here.
        (width > 0 && name.to_string() == path).then_some(name)
    }
}

impl fmt::Display for TileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shelf {
            Shelf::Entries => f.write_str("tile/entries/")?,
            Shelf::Level(level) => write!(f, "tile/{level}/")?,
        }
        f.write_str(&number_path(self.index))?;
        if self.width < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// A number as C2SP names have it: `x001/234`.
pub(crate) fn number_path(number: u64) -> String {
    let mut path = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// The number that a path stands for. Tolerates other spellings: who cares compares.
pub(crate) fn path_number(path: &str) -> Option<u64> {
    let mut number: u64 = 0;
    for part in path.split('/') {
        let digits = part.strip_prefix('x').unwrap_or(part);
        let value: u64 = digits.parse().ok().filter(|value| *value < 1000)?;
        number = number.checked_mul(1000)?.checked_add(value)?;
    }
    Some(number)
}

/// The most bytes of a tile.
pub(crate) fn most_of(name: TileName) -> usize {
    let width = usize::try_from(name.width.min(WIDTH)).unwrap_or_default();
    match name.shelf {
        Shelf::Level(_) => width * HASH_BYTES,
        Shelf::Entries => width * (MOST_ENTRY_BYTES + 2),
    }
}

/// The complete subtrees of 256^level leaves in a tree of `size`.
pub(crate) fn nodes_at(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level) * 8).unwrap_or(0)
}

/// The RFC 6962 tree hash over `nodes`, left to right; that of the empty tree for none.
fn tree_hash(nodes: &[Hash]) -> Hash {
    match nodes {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let split = nodes.len().next_power_of_two() / 2;
            let (left, right) = nodes.split_at(split);
            node_hash(tree_hash(left), tree_hash(right))
        }
    }
}

/// SHA-256 of nothing.
fn empty_root() -> Hash {
    const EMPTY: [u8; 32] = [
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ];
    Hash(EMPTY)
}

/// The leaf hash of an entry.
pub(crate) fn leaf_hash(entry: &[u8]) -> Hash {
    record_hash(entry)
}

/// The right edge of a growing Merkle tree: at every level the hashes of the tile that is not full.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree of `size` whose tiles at the edge hold `levels`.
    pub(crate) fn restore(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { size, levels }
    }

    /// Leaves so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the tile at the edge of `level`.
    pub(crate) fn level(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// Levels that have hashes of their own.
    pub(crate) fn height(&self) -> u8 {
        u8::try_from(self.levels.len()).unwrap_or(u8::MAX)
    }

    /// Adds a leaf, and hands every tile that became full to `full`, lower levels first.
    pub(crate) fn push<E>(
        &mut self,
        leaf: Hash,
        mut full: impl FnMut(TileName, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.size += 1;
        let mut carried = leaf;
        let mut level: u8 = 0;
        loop {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Vec::with_capacity(256));
            }
            let Some(hashes) = self.levels.get_mut(usize::from(level)) else { return Ok(()) };
            hashes.push(carried);
            if hashes.len() < 256 {
                return Ok(());
            }
            let index = nodes_at(self.size, level) / WIDTH - 1;
            full(TileName::full(Shelf::Level(level), index), hashes)?;
            carried = tree_hash(hashes);
            hashes.clear();
            level += 1;
        }
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Hash {
        // INVARIANT: what is carried up stands for the incomplete subtree right of all complete ones
        // of its level, so RFC 6962's split at the largest power of two never cuts through it.
        let mut carried: Option<Hash> = None;
        for hashes in &self.levels {
            if !hashes.is_empty() {
                let mut nodes = hashes.clone();
                nodes.extend(carried);
                carried = Some(tree_hash(&nodes));
            }
        }
        carried.unwrap_or_else(empty_root)
    }
}

/// The bytes of a hash tile.
pub(crate) fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile; `None` if it is no whole number of them.
pub(crate) fn decode_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    rest.is_empty().then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// Adds one entry to a bundle; `write` appends its bytes. Returns where they are, or their number if
/// they are too many (the bundle is then as before).
pub(crate) fn append_entry(
    bundle: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<std::ops::Range<usize>, usize> {
    let start = bundle.len();
    bundle.extend_from_slice(&[0, 0]);
    write(bundle);
    let length = bundle.len() - start - 2;
    if let (Ok(short), Some(prefix)) = (u16::try_from(length), bundle.get_mut(start..start + 2)) {
        prefix.copy_from_slice(&short.to_be_bytes());
        Ok(start + 2..bundle.len())
    } else {
        bundle.truncate(start);
        Err(length)
    }
}

/// The entries of a bundle; `None` if the lengths do not add up.
pub(crate) fn split_bundle(bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let (entries, rest) = entries_of(bundle);
    rest.is_empty().then_some(entries)
}

/// The entries at the start of a bundle, and what follows them that is none.
pub(crate) fn entries_of(mut bundle: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut entries = Vec::with_capacity(256);
    while let Some((prefix, rest)) = bundle.split_first_chunk::<2>()
        && let Some((entry, rest)) = rest.split_at_checked(u16::from_be_bytes(*prefix).into())
    {
        entries.push(entry);
        bundle = rest;
    }
    (entries, bundle)
}

/// What every entry starts with: its own position.
pub(crate) fn write_position(out: &mut Vec<u8>, position: u64) {
    out.extend_from_slice(b"{\"seq\":");
    let _infallible = write!(out, "{position}");
}

#[cfg(test)]
#[path = "tiles_tests.rs"]
mod tests;

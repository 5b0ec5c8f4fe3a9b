//! Proofs of single records, and that one size of the log is the beginning of another: small enough to
//! hand to anybody, and checked without the log.
//!
//! The algebra is `tlog_tiles`' own. What is made of the tiles is checked against the signed root before
//! it is given away, so that a damaged tile gives no proof, and never a wrong one.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use tlog_tiles::{
    Error as TreeError, Hash, Tile, TileHashReader, TileReader, check_record, check_tree,
    prove_record, prove_tree, tree_hash,
};

use crate::{
    Keys, LogError, Reader,
    checkpoint::{self, Head},
    tiles::{HASH_BYTES, Shelf, TileName, WIDTH, decode_hashes, leaf_hash},
    verify::check_entry,
};

/// What the text of a proof begins with (C2SP tlog-proof).
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 leaves has no longer path.
const MOST_HASHES: usize = 64;
/// Tiles have so many levels of the tree.
const HEIGHT: u8 = 8;

/// That one record is in the log: its path to the root of a signed checkpoint. Prints as a C2SP
/// tlog-proof, whose `extra` is the record itself.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordProof {
    /// The record's position.
    pub seq: u64,
    /// The record, as it was hashed; empty if it is kept elsewhere.
    pub leaf: Vec<u8>,
    /// The path, from the leaf up.
    hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// Hashes that prove something between two sizes of the log, or of a record at one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreePath {
    /// The size of the tree that it leads to.
    pub size: u64,
    /// The root of that tree, in base64.
    pub root: String,
    /// The hashes, in base64, as RFC 6962 orders them.
    pub hashes: Vec<String>,
    /// The signed checkpoint of that size; only the newest one is kept.
    pub checkpoint: Option<String>,
}

/// What a proof proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The record's position.
    pub seq: u64,
    /// So many records the signed checkpoint speaks of.
    pub size: u64,
    /// Its root.
    pub root: [u8; 32],
}

impl RecordProof {
    /// Reads a C2SP tlog-proof.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or("it has no checkpoint")?;
        let mut lines = head.lines().peekable();
        if lines.next() != Some(HEADER) {
            return Err(format!("it does not begin with `{HEADER}`"));
        }
        let leaf = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            Some(extra) => {
                let leaf = STANDARD.decode(extra).map_err(|_| "its record is no base64")?;
                lines.next();
                leaf
            }
            None => Vec::new(),
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let seq = index.and_then(|text| {
            let seq: u64 = text.parse().ok()?;
            (seq.to_string() == text).then_some(seq)
        });
        let hashes = lines.map(Hash::parse_hash).collect::<Result<Vec<_>, _>>();
        let hashes = hashes.map_err(|_| "one of its hashes is not one")?;
        if hashes.len() > MOST_HASHES {
            return Err("it has more hashes than any log has levels".to_owned());
        }
        let checkpoint = checkpoint.to_owned();
        let proof = Self { seq: seq.ok_or("it has no index")?, leaf, hashes, checkpoint };
        // One spelling each.
        if proof.to_string() == text { Ok(proof) } else { Err("it is not written plainly".into()) }
    }

    /// Checks that a checkpoint which one of `keys` signed has `leaf` at this place.
    pub fn verify(&self, leaf: &[u8], keys: &Keys) -> Result<Proven, String> {
        let head = checkpoint::open(&self.checkpoint, keys)?;
        check_entry(self.seq, leaf).map_err(|finding| finding.to_string())?;
        check_record(&self.hashes, head.size, head.root, self.seq, leaf_hash(leaf)).map_err(
            |_| {
                format!(
                    "record {} is not what was signed at this place, or the path is not its",
                    self.seq
                )
            },
        )?;
        Ok(Proven { seq: self.seq, size: head.size, root: head.root.0 })
    }
}

impl fmt::Display for RecordProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.leaf.is_empty() {
            writeln!(f, "extra {}", STANDARD.encode(&self.leaf))?;
        }
        writeln!(f, "index {}", self.seq)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Checks that the log of `to` begins with the log of `from`, by `hashes` in base64.
pub fn check_consistency(
    from: &str,
    to: &str,
    hashes: &[String],
    keys: &Keys,
) -> Result<(), String> {
    let (from, to) = (checkpoint::open(from, keys)?, checkpoint::open(to, keys)?);
    let hashes = hashes.iter().take(2 * MOST_HASHES).map(|text| Hash::parse_hash(text));
    let hashes: Vec<Hash> = hashes.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    check_tree(&hashes, to.size, to.root, from.size, from.root).map_err(|_| {
        format!("the log of {} records does not begin with that of {}", to.size, from.size)
    })
}

impl Reader {
    /// Proves the record at `seq` at the newest checkpoint; `None` beyond it.
    pub fn prove(&self, seq: u64) -> Result<Option<RecordProof>, LogError> {
        let Some((head, checkpoint)) = self.head()? else { return Ok(None) };
        let Some(entry) = self.entry(seq)?.filter(|_| seq < head.size) else { return Ok(None) };
        let hashes = self.to_root(head, head, seq, leaf_hash(entry.json.as_bytes()))?;
        Ok(Some(RecordProof { seq, leaf: entry.json.into_bytes(), hashes, checkpoint }))
    }

    /// The proofs of all these records, without the records, at one checkpoint; `None` if one is beyond.
    pub fn prove_all(&self, positions: &[u64]) -> Result<Option<Vec<RecordProof>>, LogError> {
        let Some((head, checkpoint)) = self.head()? else { return Ok(None) };
        if positions.iter().any(|seq| *seq >= head.size) {
            return Ok(None);
        }
        let proofs = positions.iter().map(|&seq| {
            let entry = self.entry(seq)?.ok_or_else(|| missing(seq))?;
            let hashes = self.to_root(head, head, seq, leaf_hash(entry.json.as_bytes()))?;
            Ok(RecordProof { seq, leaf: Vec::new(), hashes, checkpoint: checkpoint.clone() })
        });
        proofs.collect::<Result<_, _>>().map(Some)
    }

    /// The path from the record at `seq` to the root of the first `size`; of the newest checkpoint's
    /// without. `None` beyond.
    pub fn inclusion(&self, seq: u64, size: Option<u64>) -> Result<Option<TreePath>, LogError> {
        let within = |size| seq < size;
        self.tree_path(size, within, |head, at| {
            let leaf = match self.entry(seq)? {
                Some(entry) => leaf_hash(entry.json.as_bytes()),
                // Whoever kept the record can prove it still.
                None => self.removed_leaf(head, seq)?,
            };
            self.to_root(head, at, seq, leaf)
        })
    }

    /// That the first `from` records are the beginning of the first `to`; `to` as above.
    pub fn consistency(&self, from: u64, to: Option<u64>) -> Result<Option<TreePath>, LogError> {
        let within = |size| (1..=size).contains(&from);
        self.tree_path(to, within, |head, at| {
            let old = self.root_at(head, from)?;
            self.ask(head, |tree| {
                let hashes = prove_tree(at.size, from, tree)?;
                check_tree(&hashes, at.size, at.root, from, old)?;
                Ok(hashes)
            })
        })
    }

    /// The newest checkpoint, which one of `keys` signed, if its root is that of the log's tiles; `None`
    /// before the first one.
    pub fn signed_checkpoint(&self, keys: &Keys) -> Result<Option<String>, NotContinued> {
        Ok(self.signed_head(keys)?.map(|(_, text)| text))
    }

    pub(crate) fn signed_head(&self, keys: &Keys) -> Result<Option<(Head, String)>, NotContinued> {
        let Some(text) = self.checkpoint()? else { return Ok(None) };
        let head = checkpoint::open(&text, keys).map_err(NotContinued::Unsigned)?;
        // From the tiles, and not only as the checkpoint says.
        if head.size > 0 && self.ask(head, |tree| tree_hash(head.size, tree))? != head.root {
            return Err(NotContinued::Rewritten { size: head.size });
        }
        Ok(Some((head, text)))
    }

    /// Whether the log still begins as `kept` says, a checkpoint that was kept elsewhere. Reads a few
    /// tiles, and so finds that the log was set back or rewritten; [`crate::verify`] finds the rest.
    pub fn still_holds(&self, kept: &str, keys: &Keys) -> Result<(), NotContinued> {
        let kept = checkpoint::open(kept, keys).map_err(NotContinued::Foreign)?;
        let (size, head) = match self.signed_head(keys)? {
            Some((head, _)) => (head.size, Some(head)),
            None => (0, None),
        };
        if kept.size == 0 {
            return Ok(());
        }
        match head.filter(|head| head.size >= kept.size) {
            None => Err(NotContinued::SetBack { held: kept.size, found: size }),
            Some(head) if self.root_at(head, kept.size)? == kept.root => Ok(()),
            Some(_) => Err(NotContinued::Rewritten { size: kept.size }),
        }
    }

    fn tree_path(
        &self,
        size: Option<u64>,
        within: impl Fn(u64) -> bool,
        prove: impl Fn(Head, Head) -> Result<Vec<Hash>, LogError>,
    ) -> Result<Option<TreePath>, LogError> {
        let Some((head, checkpoint)) = self.head()? else { return Ok(None) };
        let size = size.unwrap_or(head.size);
        if size > head.size || !within(size) {
            return Ok(None);
        }
        let root = self.root_at(head, size)?;
        let hashes = prove(head, Head { size, root })?;
        let checkpoint = (size == head.size).then_some(checkpoint);
        let hashes = hashes.iter().map(ToString::to_string).collect();
        Ok(Some(TreePath { size, root: root.to_string(), hashes, checkpoint }))
    }

    // INVARIANT: what leaves here has been checked against the signed root, as whoever gets it will. The
    // library checks tiles while it reads them, but not each of them where several of the roots that make
    // up the tree lie in one tile.

    /// The root of the first `size` records, at least one.
    fn root_at(&self, head: Head, size: u64) -> Result<Hash, LogError> {
        if size == head.size {
            return Ok(head.root);
        }
        self.ask(head, |tree| {
            let root = tree_hash(size, tree)?;
            check_tree(&prove_tree(head.size, size, tree)?, head.size, head.root, size, root)?;
            Ok(root)
        })
    }

    /// The path of a record to the root of `at`, a beginning of `head`.
    pub(crate) fn to_root(
        &self,
        head: Head,
        at: Head,
        seq: u64,
        leaf: Hash,
    ) -> Result<Vec<Hash>, LogError> {
        self.ask(head, |tree| {
            let hashes = prove_record(at.size, seq, tree)?;
            check_record(&hashes, at.size, at.root, seq, leaf)?;
            Ok(hashes)
        })
    }

    /// The hash of a record that was removed, as the tree has it.
    fn removed_leaf(&self, head: Head, seq: u64) -> Result<Hash, LogError> {
        let is_removed = self.removed()?.is_some_and(|removed| removed.range_of(seq).is_some());
        let name = TileName::within(Shelf::Level(0), seq / WIDTH, head.size);
        let name = name.filter(|_| is_removed).ok_or_else(|| missing(seq))?;
        let place = usize::try_from(seq % WIDTH).unwrap_or(usize::MAX);
        let hashes = decode_hashes(&self.bundle(name)?).unwrap_or_default();
        hashes.get(place).copied().ok_or_else(|| missing(seq))
    }

    fn ask<T>(
        &self,
        head: Head,
        ask: impl FnOnce(&TileHashReader<'_>) -> Result<T, TreeError>,
    ) -> Result<T, LogError> {
        let tiles = Tiles(self);
        let tree = TileHashReader::new(head.size, head.root, &tiles);
        ask(&tree).map_err(|error| LogError::damaged("tile", error.to_string()))
    }
}

fn missing(seq: u64) -> LogError {
    LogError::damaged("tile/entries", format!("record {seq} is missing"))
}

/// Why the log is not what it was.
#[derive(Debug, thiserror::Error)]
pub enum NotContinued {
    /// The checkpoint is not of this log.
    #[error("the checkpoint is not this log's: {0}")]
    Foreign(String),
    /// The log's own checkpoint is signed by none of its keys.
    #[error("the log's newest checkpoint is not signed as it has to be: {0}")]
    Unsigned(String),
    /// Records that were signed once are gone.
    #[error("the log was cut or set back: it has {found} records, and had {held}")]
    SetBack {
        /// So many it had.
        held: u64,
        /// So many it has.
        found: u64,
    },
    /// It has other records than it had.
    #[error("the first {size} records are not those that it had: the log was rewritten")]
    Rewritten {
        /// So many it had.
        size: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Unreadable(#[from] LogError),
}

/// The hash tiles of a log.
struct Tiles<'a>(&'a Reader);

impl Tiles<'_> {
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, TreeError> {
        let width = u64::from(tile.width());
        let name = TileName { shelf: Shelf::Level(tile.level()), index: tile.level_index(), width };
        let read = self.0.tile_or_full(name).map_err(|e| TreeError::InvalidInput(e.to_string()))?;
        let missing = || TreeError::InvalidInput(format!("`{name}` is missing"));
        let mut bytes = read.ok_or_else(missing)?;
        bytes.truncate(tile.width() as usize * HASH_BYTES);
        Ok(bytes)
    }
}

impl TileReader for Tiles<'_> {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, TreeError> {
        tiles.iter().map(|tile| self.tile(tile)).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

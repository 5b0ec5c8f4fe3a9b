//! A look at some of the record, for a process that watches over its own: cheap enough to do now and then.
//!
//! Proves for chosen bundles that their entries are what the signed root stands for. It does not replace
//! [`crate::verify`], which proves it of all of them, and for which nobody has to trust this process.

use std::path::Path;

use tlog_tiles::Hash;

use crate::{
    Finding, Keys, Reader, Removal, checkpoint,
    tiles::{Edge, Shelf, TileName, WIDTH, decode_hashes, leaf_hash, nodes_at, split_bundle},
};

/// What a look found to be sound, to hold the next one against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Entries that the checkpoint spoke of.
    pub size: u64,
}

/// Looks at `bundles` of the log in `directory`, each picked as a number that is reduced to those that there
/// are; the newest one is always among them. A log smaller than at the look `before` was cut.
pub fn spot_check(
    directory: &Path,
    verifier_key: &str,
    before: &Seen,
    bundles: &[u64],
) -> Result<Seen, Finding> {
    let reader = Reader::open(directory).map_err(|error| Finding::Unreadable {
        path: directory.display().to_string(),
        why: error.to_string(),
    })?;
    let text = reader.file("checkpoint").map_err(|error| unreadable("checkpoint", &error))?;
    let Some(text) = text else {
        return match before.size {
            0 => Ok(Seen::default()),
            held => Err(Finding::Truncated { held, found: 0 }),
        };
    };
    let text = String::from_utf8_lossy(&text);
    let keys = Keys::parse(verifier_key).map_err(Finding::Checkpoint)?;
    let signed = checkpoint::open(&text, &keys).map_err(Finding::Checkpoint)?;
    if signed.size < before.size {
        return Err(Finding::Truncated { held: before.size, found: signed.size });
    }
    let there = signed.size.div_ceil(WIDTH);
    if there == 0 {
        return Ok(Seen::default());
    }
    let removed = reader.removed().map_err(|error| unreadable("removed", &error))?;
    let says_so = removed.as_ref().map(|removed| removed.seq / WIDTH);
    let tree = Tree { reader: &reader, size: signed.size, removed };
    tree.check_root(&signed.root)?;
    tree.check_removed()?;
    let picked = bundles.iter().map(|number| number % there);
    for index in picked.chain([there - 1]).chain(says_so) {
        tree.check_bundle(index)?;
    }
    Ok(Seen { size: signed.size })
}

struct Tree<'a> {
    reader: &'a Reader,
    size: u64,
    removed: Option<Removal>,
}

impl Tree<'_> {
    /// The tiles at the right edge give the signed root.
    fn check_root(&self, signed: &Hash) -> Result<(), Finding> {
        let mut levels = Vec::new();
        let mut level = 0;
        while nodes_at(self.size, level) > 0 {
            let nodes = nodes_at(self.size, level);
            let full = nodes / WIDTH;
            // A level whose last tile is full has nothing of its own at the edge: it is carried up.
            levels.push(if nodes.is_multiple_of(WIDTH) {
                Vec::new()
            } else {
                self.hashes(level, full)?
            });
            level += 1;
        }
        if Edge::restore(self.size, levels).root() == *signed {
            Ok(())
        } else {
            let what = "is not what the hashes at the end of the log give".to_owned();
            Err(Finding::Tile { path: "checkpoint".to_owned(), what })
        }
    }

    /// What explains that entries are missing is what the log has there.
    fn check_removed(&self) -> Result<(), Finding> {
        let Some(removed) = &self.removed else { return Ok(()) };
        let entry = self.reader.entry(removed.seq);
        let entry = entry.map_err(|error| unreadable("removed", &error))?;
        if entry.and_then(|entry| Removal::read(entry.json.as_bytes())).as_ref() == Some(removed) {
            return Ok(());
        }
        let what = format!("is not what record {} says", removed.seq);
        Err(Finding::Tile { path: "removed".to_owned(), what })
    }

    /// The entries of a bundle are those that its hashes say, and so on up to the edge.
    fn check_bundle(&self, index: u64) -> Result<(), Finding> {
        let leaves = self.hashes(0, index)?;
        if !self.is_removed(index) {
            self.check_entries(index, &leaves)?;
        }
        let (mut level, mut index, mut hashes) = (0, index, leaves);
        // A tile that is full has its hash in the level above.
        while hashes.len() as u64 == WIDTH {
            let name = TileName::full(Shelf::Level(level), index);
            level += 1;
            let above = self.hashes(level, index / WIDTH)?;
            let at = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
            let full = Edge::restore(WIDTH, vec![hashes]).root();
            if above.get(at) != Some(&full) {
                return Err(broken(name, "is not what the level above says"));
            }
            (index, hashes) = (index / WIDTH, above);
        }
        Ok(())
    }

    fn is_removed(&self, bundle: u64) -> bool {
        self.removed.as_ref().is_some_and(|removed| removed.range_of(bundle * WIDTH).is_some())
    }

    fn check_entries(&self, index: u64, leaves: &[Hash]) -> Result<(), Finding> {
        let name = self.name(Shelf::Entries, index)?;
        let bytes = self.read(name)?;
        let entries = split_bundle(&bytes).ok_or_else(|| broken(name, "is damaged"))?;
        // Read a moment later, the bundle may have grown.
        if entries.len() < leaves.len() {
            return Err(broken(name, "has fewer entries than hashes"));
        }
        for (seq, (entry, leaf)) in (index * WIDTH..).zip(entries.iter().zip(leaves)) {
            if leaf_hash(entry) != *leaf {
                let what = "is not what was signed".to_owned();
                return Err(Finding::Record { seq, what });
            }
        }
        Ok(())
    }

    fn hashes(&self, level: u8, index: u64) -> Result<Vec<Hash>, Finding> {
        let name = self.name(Shelf::Level(level), index)?;
        let bytes = self.read(name)?;
        let hashes = decode_hashes(&bytes).filter(|all| all.len() as u64 >= name.width);
        let mut hashes = hashes.ok_or_else(|| broken(name, "has too few hashes"))?;
        hashes.truncate(usize::try_from(name.width).unwrap_or(usize::MAX));
        Ok(hashes)
    }

    fn name(&self, of: Shelf, index: u64) -> Result<TileName, Finding> {
        let none = || broken(TileName::full(of, index), "is missing");
        TileName::within(of, index, self.size).ok_or_else(none)
    }

    fn read(&self, name: TileName) -> Result<Vec<u8>, Finding> {
        let found = self.reader.tile_or_full(name);
        let found = found.map_err(|error| unreadable(&name.to_string(), &error))?;
        found.ok_or_else(|| broken(name, "is missing"))
    }
}

fn unreadable(path: &str, error: &crate::LogError) -> Finding {
    Finding::Unreadable { path: path.to_owned(), why: error.to_string() }
}

fn broken(name: TileName, what: &str) -> Finding {
    Finding::Tile { path: name.to_string(), what: what.to_owned() }
}

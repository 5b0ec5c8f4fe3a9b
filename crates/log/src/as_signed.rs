//! What is there, proved by the log's own signed checkpoint before anybody acts on it: what removes parts of
//! the record must not believe the files of whoever can write them and has no key.

use tlog_tiles::{Hash, node_hash};

use crate::{
    Entry, Keys, LogError, Reader, Removal,
    checkpoint::Head,
    removal,
    segment::ENTRIES,
    tiles::{Edge, Shelf, TileName, WIDTH, decode_hashes, leaf_hash, split_bundle},
};

/// Levels of the tree below the hash of a bundle.
const BUNDLE: usize = WIDTH.ilog2() as usize;
/// Levels of the tree below the hash of a segment.
const SEGMENT: usize = ENTRIES.ilog2() as usize;

impl Reader {
    /// The record of a removal at `seq`, if it is what was signed at this place.
    pub fn removal_as_signed(&self, seq: u64, keys: &Keys) -> Result<Removal, LogError> {
        let wrong = |what: String| LogError::damaged(self.directory().join(removal::NAME), what);
        let proof = self.prove(seq)?;
        let proof = proof.ok_or_else(|| wrong(format!("there is no record {seq} behind it")))?;
        proof.verify(&proof.leaf, keys).map_err(&wrong)?;
        Removal::read(&proof.leaf)
            .ok_or_else(|| wrong(format!("record {seq} says nothing of a removal")))
    }

    /// What was removed on purpose, if that is what the log's key signed, and if nothing else is missing.
    /// What it says may be said again.
    pub fn removed_as_signed(&self, keys: &Keys) -> Result<Option<Removal>, LogError> {
        let known = self.removed()?;
        if let Some(known) = &known
            && self.removal_as_signed(known.seq, keys)? != *known
        {
            let what = format!("it is not what record {} says", known.seq);
            return Err(LogError::damaged(self.directory().join(removal::NAME), what));
        }
        let mut next = 0;
        for number in self.segments()? {
            let explains = |number: &u64| {
                known.as_ref().is_some_and(|known| known.range_of(number * ENTRIES).is_some())
            };
            if let Some(missing) = (next..number).find(|number| !explains(number)) {
                let path = self.directory().join(crate::segment::name(missing));
                let what = "it is missing, and no record says that it was removed";
                return Err(LogError::damaged(path, what));
            }
            next = number + 1;
        }
        Ok(known)
    }

    /// The entries of the finished bundles from the entry `from` on, `count` of them at most, if they are
    /// what was signed. None is passed over.
    pub fn entries_as_signed(
        &self,
        from: u64,
        count: u64,
        keys: &Keys,
    ) -> Result<Vec<Entry>, LogError> {
        let head = self.head_as_signed(keys)?;
        let mut entries = Vec::new();
        for index in from / WIDTH..from.saturating_add(count).min(head.size) / WIDTH {
            let name = TileName::full(Shelf::Entries, index);
            let wrong = || {
                let path = self.directory().join(name.to_string());
                LogError::damaged(path, "its entries are not what was signed")
            };
            let bundle = self.bundle(name)?;
            let texts = split_bundle(&bundle).ok_or_else(wrong)?;
            let leaves: Vec<Hash> = texts.iter().map(|text| leaf_hash(text)).collect();
            let first = *leaves.first().ok_or_else(wrong)?;
            let above = self.above(head, index * WIDTH, first, BUNDLE).map_err(|_| wrong())?;
            if leaves.len() as u64 != WIDTH || Edge::restore(WIDTH, vec![leaves]).root() != above {
                return Err(wrong());
            }
            for (text, seq) in texts.iter().zip(index * WIDTH..) {
                let json = String::from_utf8(text.to_vec()).map_err(|_| wrong())?;
                entries.push(Entry { seq, json });
            }
        }
        Ok(entries)
    }

    /// What was signed for the whole segments from the entry `from` on, before `to`: they need not be there.
    pub fn digest_as_signed(&self, from: u64, to: u64, keys: &Keys) -> Result<String, LogError> {
        let head = self.head_as_signed(keys)?;
        let hashes = (from / ENTRIES..to / ENTRIES).map(|number| {
            let first = number * ENTRIES;
            let name = TileName::full(Shelf::Level(0), first / WIDTH);
            let leaves = decode_hashes(&self.bundle(name)?);
            let leaf = leaves.and_then(|leaves| leaves.first().copied()).ok_or_else(|| {
                LogError::damaged(self.directory().join(name.to_string()), "it holds no hashes")
            })?;
            self.above(head, first, leaf, SEGMENT)
        });
        hashes.collect::<Result<_, _>>().map(removal::digest)
    }

    fn head_as_signed(&self, keys: &Keys) -> Result<Head, LogError> {
        let wrong = |what: String| LogError::damaged(self.directory().join("checkpoint"), what);
        let head = self.signed_head(keys).map_err(|error| wrong(error.to_string()))?;
        head.map(|(head, _)| head).ok_or_else(|| wrong("there is none yet".to_owned()))
    }

    /// The hash so many levels above `first`, the leaf that the finished subtree there begins with.
    fn above(&self, head: Head, seq: u64, first: Hash, levels: usize) -> Result<Hash, LogError> {
        // INVARIANT: the path is checked against the root, and the first leaf of a subtree is on the left at
        // each of its levels: with the path, the leaf gives the hash that was signed.
        let path = self.to_root(head, head, seq, first)?;
        Ok(path.iter().take(levels).fold(first, |left, right| node_hash(left, *right)))
    }
}

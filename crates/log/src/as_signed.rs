//! What is there, proved by the log's own signed checkpoint before anybody acts on it: what removes parts of
//! the record must not believe the files of whoever can write them and has no key.

use std::collections::BTreeSet;

use tlog_tiles::{Hash, node_hash};

use crate::{
    Entry, Keys, LogError, Reader, Removal,
    checkpoint::Head,
    layout::replace_durably,
    removal,
    segment::ENTRIES,
    tiles::{Edge, Shelf, TileName, WIDTH, decode_hashes, leaf_hash, split_bundle},
};

/// Entries that are in memory at one time while a removal is looked for.
const PAGE: u64 = 4096;
/// Levels of the tree below the hash of a bundle.
const BUNDLE: usize = WIDTH.ilog2() as usize;
/// Levels of the tree below the hash of a segment.
const SEGMENT: usize = ENTRIES.ilog2() as usize;

impl Reader {
    /// The entry at `seq`, if it is what was signed at this place.
    pub fn entry_as_signed(&self, seq: u64, keys: &Keys) -> Result<Entry, LogError> {
        let wrong = |what: String| {
            LogError::damaged(
                self.directory(),
                format!("record {seq} is not as it was signed: {what}"),
            )
        };
        let proof = self.prove(seq)?.ok_or_else(|| wrong("it is not there".to_owned()))?;
        proof.verify(&proof.leaf, keys).map_err(&wrong)?;
        let json = String::from_utf8(proof.leaf).map_err(|_| wrong("it is no text".to_owned()))?;
        Ok(Entry { seq, json })
    }

    /// The record of a removal at `seq`, if it is what was signed at this place.
    pub fn removal_as_signed(&self, seq: u64, keys: &Keys) -> Result<Removal, LogError> {
        let Entry { json, .. } = self.entry_as_signed(seq, keys)?;
        Removal::read(json.as_bytes()).ok_or_else(|| {
            let what = format!("record {seq} says nothing of a removal");
            LogError::damaged(self.directory().join(removal::NAME), what)
        })
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
        if let Some(missing) = self.unexplained(known.as_ref())? {
            let path = self.directory().join(crate::segment::name(missing));
            let what = "it is missing, and no record says that it was removed";
            return Err(LogError::damaged(path, what));
        }
        Ok(known)
    }

    /// A segment that is missing and that `known` does not speak of.
    fn unexplained(&self, known: Option<&Removal>) -> Result<Option<u64>, LogError> {
        let explains =
            |number: &u64| known.is_some_and(|known| known.range_of(number * ENTRIES).is_some());
        Ok(self.missing()?.into_iter().find(|number| !explains(number)))
    }

    /// Segments that are not there, nor are the bundles that one would be made of. One that is sealed between the
    /// two looks is there: its bundles go last.
    fn missing(&self) -> Result<Vec<u64>, LogError> {
        let is_loose = |number: u64| {
            let bundle = TileName::full(Shelf::Entries, number * ENTRIES / WIDTH);
            self.directory().join(bundle.to_string()).exists()
        };
        let not_loose: Vec<u64> = (0..self.size()? / ENTRIES).filter(|n| !is_loose(*n)).collect();
        let there: BTreeSet<u64> = self.segments()?.into_iter().collect();
        Ok(not_loose.into_iter().filter(|number| !there.contains(number)).collect())
    }

    /// The same; where `log/removed` does not explain what is missing, as one that was put back from a copy of
    /// before, the newest removal that was signed takes its place, if it does.
    pub fn removed_mended(&self, keys: &Keys) -> Result<Option<Removal>, LogError> {
        let why = match self.removed_as_signed(keys) {
            Ok(known) => return Ok(known),
            Err(why) => why,
        };
        let Some(newest) = self.newest_removal(keys)? else { return Err(why) };
        if self.unexplained(Some(&newest))?.is_some() {
            return Err(why);
        }
        let path = self.directory().join(removal::NAME);
        let Entry { json, .. } = self.entry_as_signed(newest.seq, keys)?;
        replace_durably(&path, &path.with_added_extension("new"), json.as_bytes())?;
        tracing::warn!(%why, seq = newest.seq, "what was removed is read from the record again");
        Ok(Some(newest))
    }

    /// The newest removal that was signed, behind the newest segment that is missing: nothing older can speak
    /// of that one.
    fn newest_removal(&self, keys: &Keys) -> Result<Option<Removal>, LogError> {
        let Some(newest) = self.missing()?.pop() else { return Ok(None) };
        let first = (newest + 1) * ENTRIES;
        let mut end = self.size()?;
        while end > first {
            let start = first.max(end.saturating_sub(PAGE));
            let page = self.entries(start, usize::try_from(end - start).unwrap_or_default())?;
            let says = |entry: &&Entry| Removal::read(entry.json.as_bytes()).is_some();
            if let Some(found) = page.iter().rev().find(says) {
                return self.removal_as_signed(found.seq, keys).map(Some);
            }
            end = start;
        }
        Ok(None)
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

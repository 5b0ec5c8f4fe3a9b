//! Entries that are missing, and whether the record itself says that they were removed.

use std::ops::Range;

use super::{Finding, VerifiedRemoval, Walk, broken};
use crate::{
    Removal, removal,
    segment::ENTRIES,
    tiles::{Shelf, TileName, WIDTH},
};

/// What is missing, and what was found that may explain it.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Bundles that are not there, those that follow one another together.
    bundles: Vec<Range<u64>>,
    /// The newest removal in what is there.
    newest: Option<Removal>,
}

impl Gaps {
    /// The bundle at `index` is not there.
    pub(super) fn add(&mut self, index: u64) {
        match self.bundles.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => self.bundles.push(index..index + 1),
        }
    }

    /// An entry that is there, and is what was signed if the whole walk comes to a good end.
    pub(super) fn read(&mut self, entry: &[u8]) {
        if let Some(removal) = Removal::read(entry) {
            self.newest = Some(removal);
        }
    }

    /// That all that is missing was removed by right: what that was, if something was.
    ///
    // INVARIANT: the entries are proved by now, so the newest removal is one that the log's key signed.
    pub(super) fn explained(&self, walk: &Walk<'_>) -> Result<Option<VerifiedRemoval>, Finding> {
        let Some(by) = &self.newest else {
            return match self.bundles.first() {
                None => Ok(None),
                Some(gap) => Err(missing(gap.start, "is missing")),
            };
        };
        let mut entries = Vec::new();
        for gap in &self.bundles {
            let (first, end) = (gap.start * WIDTH, gap.end * WIDTH);
            if let Some(bundle) = unexplained(by, first, end) {
                let what = format!(
                    "is missing, and record {}, which says what was removed, does not speak of it",
                    by.seq
                );
                return Err(missing(bundle, &what));
            }
            if let Some((seq, ..)) =
                walk.keys.handovers().find(|(seq, ..)| (first..end).contains(seq))
            {
                let what = "is missing: it hands the log over to its next key".to_owned();
                return Err(Finding::Record { seq, what });
            }
            entries.push((first, end - 1));
        }
        check_digests(by, walk)?;
        let explained = VerifiedRemoval { entries, by: by.clone() };
        Ok((!explained.entries.is_empty()).then_some(explained))
    }
}

/// The first bundle from the entry `first` on, before `end`, that `by` does not explain: only whole segments
/// are removed.
fn unexplained(by: &Removal, first: u64, end: u64) -> Option<u64> {
    let mut at = first;
    while at < end {
        let segment = at / ENTRIES * ENTRIES;
        let is_whole = first <= segment && segment + ENTRIES <= end;
        if !is_whole || by.range_of(at).is_none() {
            return Some(at / WIDTH);
        }
        at = segment + ENTRIES;
    }
    None
}

/// What the record says of the tree is what the tree has.
fn check_digests(by: &Removal, walk: &Walk<'_>) -> Result<(), Finding> {
    for range in by.note.removed.iter().chain(&by.note.now) {
        let mut hashes = Vec::new();
        for segment in range.from / ENTRIES..range.to / ENTRIES {
            let name = removal::tile_of(segment);
            let hash = removal::subtree(&walk.tile(name)?);
            hashes.push(hash.ok_or_else(|| broken(name, "does not hold 256 hashes"))?);
        }
        if removal::digest(hashes) != range.digest {
            let what = format!(
                "says that records {} to {} are removed, and has another hash for them than the tree",
                range.from,
                range.to - 1
            );
            return Err(Finding::Record { seq: by.seq, what });
        }
    }
    Ok(())
}

fn missing(bundle: u64, what: &str) -> Finding {
    broken(TileName::full(Shelf::Entries, bundle), what)
}

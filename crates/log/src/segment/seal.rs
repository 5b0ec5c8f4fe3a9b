//! Makes segments of finished bundles, one at a time, beside everything else that goes on.
//!
//! A crash at any moment leaves the bundles, or the segment, or both: what was begun under another
//! name is overwritten, and bundles that a segment replaces are removed at the next start.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{BUNDLES, ENTRIES, Packer, Table, decompress, name};
use crate::{
    LogError,
    error::SYNC,
    layout::{gone, sync_directory},
    removal,
    tiles::{Shelf, TileName, WIDTH, decode_hashes, leaf_hash, path_number, split_bundle},
};

/// Seals one log.
#[derive(Debug)]
pub(crate) struct Sealer {
    log: PathBuf,
    /// The segment that comes next.
    next: u64,
}

impl Sealer {
    /// Goes on where an earlier process stopped.
    pub(crate) fn open(log: &Path) -> Result<Self, LogError> {
        let newest = newest(log)?;
        let sealer = Self { log: log.to_owned(), next: newest.map_or(0, |newest| newest + 1) };
        if let Some(newest) = newest {
            // A process that died may have got no further than its name.
            sealer.sync_name(newest)?;
            sealer.remove_bundles(newest)?;
        }
        Ok(sealer)
    }

    /// Segments that are sealed, counted from the first entry on.
    pub(crate) fn sealed(&self) -> u64 {
        self.next
    }

    /// Seals the next segment, if a log of `size` signed entries has all of it. Says whether it did. Does what there is
    /// to do `meanwhile` with each bundle.
    pub(crate) fn seal(&mut self, size: u64, meanwhile: impl FnMut()) -> Result<bool, LogError> {
        if size / ENTRIES <= self.next {
            return Ok(false);
        }
        let target = self.log.join(name(self.next));
        // An earlier attempt may have ended while it removed the bundles.
        if !target.exists() {
            self.make(&target, meanwhile)?;
        }
        self.sync_name(self.next)?;
        self.remove_bundles(self.next)?;
        self.next += 1;
        Ok(true)
    }

    /// Writes the next segment under its name.
    fn make(&self, target: &Path, meanwhile: impl FnMut()) -> Result<(), LogError> {
        let scratch = target.with_added_extension("new");
        let parent = target.parent().unwrap_or(&self.log);
        fs::create_dir_all(parent).map_err(|source| LogError::io("create", parent, source))?;
        if let Err(error) = self.write(&scratch, meanwhile) {
            // It would take the room that others need.
            let _the_next_attempt_overwrites_it = fs::remove_file(&scratch);
            return Err(error);
        }
        fs::rename(&scratch, target).map_err(|source| LogError::io("replace", target, source))
    }

    /// Makes the name of `segment` durable, on which its bundles may go.
    fn sync_name(&self, segment: u64) -> Result<(), LogError> {
        let path = self.log.join(name(segment));
        let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&self.log));
        above.into_iter().try_for_each(sync_directory)
    }

    /// Writes the next segment, and reads every bundle of it back as it will be read from then on.
    fn write(&self, scratch: &Path, mut meanwhile: impl FnMut()) -> Result<(), LogError> {
        let wrote = |source| LogError::io("write", scratch, source);
        let mut file =
            File::create(scratch).map_err(|source| LogError::io("create", scratch, source))?;
        let (mut packer, mut table) = (Packer::new().map_err(wrote)?, Table::default());
        for index in self.next * BUNDLES..(self.next + 1) * BUNDLES {
            meanwhile();
            let bundle = self.bundle(index)?;
            let compressed = packer.pack(&bundle).map_err(wrote)?;
            if decompress(&compressed, bundle.len()).ok().as_ref() != Some(&bundle) {
                return Err(LogError::damaged(scratch, "a bundle does not unpack as it was"));
            }
            table.add(&compressed, &bundle).map_err(wrote)?;
            file.write_all(&compressed).map_err(wrote)?;
        }
        file.write_all(&table.encode()).map_err(wrote)?;
        file.sync_all().map_err(|source| LogError::io(SYNC, scratch, source))
    }

    /// A bundle that is what was signed: nothing else is sealed.
    fn bundle(&self, index: u64) -> Result<Vec<u8>, LogError> {
        let path = self.log.join(TileName::full(Shelf::Entries, index).to_string());
        let bundle = fs::read(&path).map_err(|source| LogError::io("read", &path, source))?;
        let hashes = self.log.join(TileName::full(Shelf::Level(0), index).to_string());
        let hashes = fs::read(&hashes).map_err(|source| LogError::io("read", &hashes, source))?;
        let leaves = decode_hashes(&hashes).unwrap_or_default();
        let same = split_bundle(&bundle).is_some_and(|entries| {
            entries.len() as u64 == WIDTH
                && entries.len() == leaves.len()
                && entries.iter().zip(leaves).all(|(entry, leaf)| leaf_hash(entry) == leaf)
        });
        if same { Ok(bundle) } else { Err(LogError::damaged(path, "its entries were changed")) }
    }

    /// Removes the bundles that `segment` replaces.
    fn remove_bundles(&self, segment: u64) -> Result<(), LogError> {
        for index in segment * BUNDLES..(segment + 1) * BUNDLES {
            let name = TileName::full(Shelf::Entries, index);
            let bundle = self.log.join(name.to_string());
            gone(fs::remove_file(&bundle), &bundle)?;
            let partial = self.log.join(name.partial_directory());
            gone(fs::remove_dir_all(&partial), &partial)?;
        }
        Ok(())
    }
}

/// The number of the newest segment that `log` has, or had before it was removed.
pub(crate) fn newest(log: &Path) -> Result<Option<u64>, LogError> {
    let removed = removal::removed(log)?;
    let last = removed.and_then(|removed| removed.note.removed.last()?.to.checked_sub(1));
    Ok(all(log)?.last().copied().max(last.map(|last| last / ENTRIES)))
}

/// The numbers of the segments in `log`, from the oldest on.
pub(crate) fn all(log: &Path) -> Result<Vec<u64>, LogError> {
    let mut found = Vec::new();
    collect(&log.join("segment"), &mut String::new(), &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn collect(directory: &Path, path: &mut String, found: &mut Vec<u64>) -> Result<(), LogError> {
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LogError::io("list", directory, error)),
    };
    for file in listed {
        let file = file.map_err(|source| LogError::io("list", directory, source))?;
        let Ok(name) = file.file_name().into_string() else { continue };
        let length = path.len();
        path.push_str(&name);
        if name.starts_with('x') {
            path.push('/');
            collect(&file.path(), path, found)?;
        } else {
            found.extend(path_number(path));
        }
        path.truncate(length);
    }
    Ok(())
}

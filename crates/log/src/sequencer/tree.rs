//! The tree on disk, as it grows: entries become bundles and tiles, full ones at once, the unfinished
//! ones at the right edge once per commit.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tlog_tiles::Hash;

use crate::{
    LogError,
    checkpoint::Head,
    error::SYNC,
    layout::{gone, sync_directory},
    tiles::{
        Edge, MOST_ENTRY_BYTES, Shelf, TileName, WIDTH, append_entry, decode_hashes, encode_hashes,
        leaf_hash, nodes_at, split_bundle, write_position,
    },
};

/// Above so many new files, one `syncfs` is cheaper than syncing them one by one.
const MOST_SINGLE_SYNCS: usize = 6;
/// So many files may be open until the next sync.
const MOST_OPEN: usize = 256;

/// The growing tree.
#[derive(Debug)]
pub(super) struct Tree {
    directory: PathBuf,
    edge: Edge,
    /// The entries since the last full bundle.
    bundle: Vec<u8>,
    /// What the disk holds durably.
    synced_size: u64,
    /// Full tiles and bundles that are not written yet, in their order.
    pending: VecDeque<(TileName, Vec<u8>)>,
    /// Written since the last sync.
    unsynced: Vec<(PathBuf, File)>,
    /// Directories with new names since the last sync.
    renamed: BTreeSet<PathBuf>,
    /// Directories that are known to exist.
    known: BTreeSet<PathBuf>,
    /// Partial tiles that a full one replaces, from the next checkpoint on.
    replaced: Vec<PathBuf>,
}

impl Tree {
    /// Reads the right edge of the tree that `head` describes, and checks it against the root.
    pub(super) fn load(directory: &Path, head: Option<Head>) -> Result<Self, LogError> {
        let size = head.map_or(0, |head| head.size);
        let mut levels = Vec::new();
        let mut level = 0;
        while nodes_at(size, level) > 0 {
            levels.push(read_edge_tile(directory, size, level)?);
            level += 1;
        }
        let edge = Edge::restore(size, levels);
        if let Some(head) = head
            && edge.root() != head.root
        {
            let what = format!("its tiles do not add up to the signed root of {size} entries");
            return Err(LogError::damaged(directory, what));
        }
        delete_abandoned(directory, size)?;
        let bundle = match TileName::within(Shelf::Entries, size / WIDTH, size) {
            Some(name) => read_edge_bundle(directory, name, edge.level(0))?,
            None => Vec::new(),
        };
        Ok(Self {
            directory: directory.to_owned(),
            edge,
            bundle,
            synced_size: size,
            pending: VecDeque::new(),
            unsynced: Vec::new(),
            renamed: BTreeSet::new(),
            known: BTreeSet::new(),
            replaced: Vec::new(),
        })
    }

    /// Leaves so far, committed or not.
    pub(super) fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root so far.
    pub(super) fn root(&self) -> Hash {
        self.edge.root()
    }

    /// Adds an entry: `{"seq":N,` and then what `write` appends. Returns N. Writes nothing: see
    /// [`Self::write_pending`].
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<u64, LogError> {
        let position = self.size();
        let entry = append_entry(&mut self.bundle, |bundle| {
            write_position(bundle, position);
            bundle.push(b',');
            write(bundle);
        })
        .map_err(LogError::TooLarge)?;
        let leaf = leaf_hash(self.bundle.get(entry).unwrap_or_default());
        let mut full = Vec::new();
        let done = self.edge.push(leaf, |name, hashes| {
            full.push((name, encode_hashes(hashes)));
            Ok::<(), LogError>(())
        });
        done?;
        if !full.is_empty() {
            let next = Vec::with_capacity(self.bundle.len());
            let bundle = std::mem::replace(&mut self.bundle, next);
            self.pending.push_back((TileName::full(Shelf::Entries, position / WIDTH), bundle));
            self.pending.extend(full);
        }
        Ok(position)
    }

    /// Writes the tiles that became full. After a failure that passes, it goes on where it was.
    pub(super) fn write_pending(&mut self) -> Result<(), LogError> {
        while let Some((name, bytes)) = self.pending.pop_front() {
            if let Err(error) = self.write_full(name, &bytes) {
                self.pending.push_front((name, bytes));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the unfinished tiles, and makes everything durable up to the current size. After a
    /// failure that passes, it is to be called again before anything is added.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.write_pending()?;
        let size = self.size();
        // INVARIANT: what is synced may be signed, and is not opened for writing again: on a full disk
        // that would cut it.
        if size != self.synced_size
            && let Some(name) = TileName::within(Shelf::Entries, size / WIDTH, size)
        {
            let bundle = std::mem::take(&mut self.bundle);
            let written = self.write(name, &bundle);
            self.bundle = bundle;
            written?;
        }
        for level in 0..self.edge.height() {
            let nodes = nodes_at(size, level);
            let changed = nodes != nodes_at(self.synced_size, level);
            if changed
                && let Some(name) = TileName::within(Shelf::Level(level), nodes / WIDTH, size)
            {
                let bytes = encode_hashes(self.edge.level(level));
                self.write(name, &bytes)?;
            }
        }
        self.sync_files()?;
        self.synced_size = size;
        Ok(())
    }

    /// Deletes partial tiles whose full ones a published checkpoint covers.
    pub(super) fn delete_replaced(&mut self) -> Result<(), LogError> {
        while let Some(path) = self.replaced.last() {
            gone(fs::remove_dir_all(path), path)?;
            self.replaced.pop();
        }
        Ok(())
    }

    fn write_full(&mut self, name: TileName, bytes: &[u8]) -> Result<(), LogError> {
        self.write(name, bytes)?;
        self.replaced.push(self.directory.join(name.partial_directory()));
        if self.unsynced.len() >= MOST_OPEN {
            self.sync_files()?;
        }
        Ok(())
    }

    /// INVARIANT: only tiles that no checkpoint covers are ever written, so overwriting what an
    /// earlier process left behind changes nothing that was signed.
    fn write(&mut self, name: TileName, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.directory.join(name.to_string());
        self.make_parent(&path)?;
        let mut file =
            File::create(&path).map_err(|source| LogError::io("create", &path, source))?;
        file.write_all(bytes).map_err(|source| LogError::io("write", &path, source))?;
        self.unsynced.push((path, file));
        Ok(())
    }

    fn make_parent(&mut self, path: &Path) -> Result<(), LogError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        self.renamed.insert(parent.to_owned());
        if self.known.contains(parent) {
            return Ok(());
        }
        fs::create_dir_all(parent).map_err(|source| LogError::io("create", parent, source))?;
        let missing = parent.ancestors().take_while(|above| *above != self.directory);
        self.renamed.extend(missing.filter_map(Path::parent).map(Path::to_owned));
        // Partial tiles' directories come and go: only the lasting ones are remembered.
        if parent.extension().is_none() {
            self.known.insert(parent.to_owned());
        }
        Ok(())
    }

    fn sync_files(&mut self) -> Result<(), LogError> {
        let files = std::mem::take(&mut self.unsynced);
        let directories = std::mem::take(&mut self.renamed);
        if files.len() + directories.len() > MOST_SINGLE_SYNCS {
            let directory = &self.directory;
            return File::open(directory)
                .and_then(|file| rustix::fs::syncfs(&file).map_err(io::Error::from))
                .map_err(|source| LogError::io(SYNC, directory, source));
        }
        for (path, file) in files {
            file.sync_data().map_err(|source| LogError::io(SYNC, path, source))?;
        }
        directories.iter().try_for_each(|directory| sync_directory(directory))
    }
}

fn read_edge_tile(directory: &Path, size: u64, level: u8) -> Result<Vec<Hash>, LogError> {
    let index = nodes_at(size, level) / WIDTH;
    let Some(name) = TileName::within(Shelf::Level(level), index, size) else {
        return Ok(Vec::new());
    };
    let path = directory.join(name.to_string());
    let bytes = fs::read(&path).map_err(|source| LogError::io("read", &path, source))?;
    decode_hashes(&bytes)
        .filter(|hashes| hashes.len() as u64 == name.width)
        .ok_or_else(|| LogError::damaged(path, format!("it must hold {} hashes", name.width)))
}

fn read_edge_bundle(
    directory: &Path,
    name: TileName,
    leaves: &[Hash],
) -> Result<Vec<u8>, LogError> {
    let path = directory.join(name.to_string());
    let bytes = fs::read(&path).map_err(|source| LogError::io("read", &path, source))?;
    let matches = split_bundle(&bytes).is_some_and(|entries| {
        entries.len() == leaves.len()
            && entries.iter().zip(leaves).all(|(entry, leaf)| leaf_hash(entry) == *leaf)
    });
    if matches { Ok(bytes) } else { Err(LogError::damaged(path, "its entries were changed")) }
}

/// Deletes tiles beyond `size`: an earlier process wrote them and died before it signed them. Left
/// there, they would look like changed ones once the log has grown past them.
fn delete_abandoned(directory: &Path, size: u64) -> Result<(), LogError> {
    for shelf in (0..8).map(Shelf::Level).chain([Shelf::Entries]) {
        let nodes = match shelf {
            Shelf::Entries => size,
            Shelf::Level(level) => nodes_at(size, level),
        };
        let edge = nodes / WIDTH;
        // They were written one after the other: the first place that is free ends them.
        let place = |index| {
            let name = TileName::full(shelf, index);
            (directory.join(name.to_string()), directory.join(name.partial_directory()))
        };
        let beyond = (edge + 1..).take_while(|index| {
            let (full, partial) = place(*index);
            full.exists() || partial.exists()
        });
        // From the end, so that another crash leaves no gap that would hide the rest.
        let beyond: Vec<u64> = beyond.collect();
        for index in beyond.into_iter().rev() {
            let (full, partial) = place(index);
            gone(fs::remove_file(&full), &full)?;
            gone(fs::remove_dir_all(&partial), &partial)?;
        }
        let (full, partial) = place(edge);
        gone(fs::remove_file(&full), &full)?;
        delete_wider(&partial, nodes % WIDTH)?;
    }
    Ok(())
}

/// Deletes the unfinished tiles in `directory` that are wider than `width`.
fn delete_wider(directory: &Path, width: u64) -> Result<(), LogError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LogError::io("list", directory, error)),
    };
    for entry in entries {
        let path = entry.map_err(|source| LogError::io("list", directory, source))?.path();
        let found = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        if found.is_some_and(|found| found > width) {
            gone(fs::remove_file(&path), &path)?;
        }
    }
    Ok(())
}

/// The most bytes of an event's text: what an entry holds, without its position.
pub(super) const MOST_EVENT_BYTES: usize = MOST_ENTRY_BYTES - 32;

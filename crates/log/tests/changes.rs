//! Whoever can write every file of a log, and has kept its earlier states, against an auditor with its
//! key and one checkpoint: changes of every kind, at random, all of them found.
//!
//! `PORTCULLIS_SOAK` says how large: 100 records and 10 changes for each; with 100, a log of 10,000.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it does"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis_log::verify;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use support::{checkpoint, copy, files, join, small_log, split, verifier_key};

const SEED: [u8; 32] = *b"the same changes in every run.  ";

/// What is done to the log.
#[derive(Debug, Clone)]
enum Change {
    /// One byte becomes another.
    Flip { file: usize, at: usize, by: u8 },
    /// A byte is gone, or there is one more.
    Shift { file: usize, at: usize, gone: bool },
    /// A file is gone.
    Delete { file: usize },
    /// A file ends early.
    Truncate { file: usize, at: usize },
    /// A record is gone, and the rest moves up; hashes follow or not.
    Drop { record: usize, rehash: bool },
    /// Two records change places.
    Swap { record: usize, other: usize, rehash: bool },
    /// A record stands twice.
    Double { record: usize, rehash: bool },
    /// A record says something else.
    Forge { record: usize, rehash: bool },
    /// Two files change places.
    Exchange { file: usize, other: usize },
    /// One file is as it was in the earlier log.
    Replay { file: usize },
    /// Everything is as it was, with the checkpoint of then.
    SetBack,
    /// The checkpoint is that of then, the rest is not.
    OldCheckpoint,
}

fn change() -> impl Strategy<Value = Change> {
    let (file, at, record) = (any::<usize>(), any::<usize>(), any::<usize>());
    let (again, other, rehash) = (any::<usize>(), any::<usize>(), any::<bool>());
    prop_oneof![
        4 => (file, at, 1..=255_u8).prop_map(|(file, at, by)| Change::Flip { file, at, by }),
        1 => (file, at, any::<bool>()).prop_map(|(file, at, gone)| Change::Shift { file, at, gone }),
        1 => file.prop_map(|file| Change::Delete { file }),
        1 => (file, at).prop_map(|(file, at)| Change::Truncate { file, at }),
        1 => (record, rehash).prop_map(|(record, rehash)| Change::Drop { record, rehash }),
        2 => (record, again, rehash)
            .prop_map(|(record, other, rehash)| Change::Swap { record, other, rehash }),
        1 => (record, rehash).prop_map(|(record, rehash)| Change::Double { record, rehash }),
        1 => (record, rehash).prop_map(|(record, rehash)| Change::Forge { record, rehash }),
        1 => (file, other).prop_map(|(file, other)| Change::Exchange { file, other }),
        1 => file.prop_map(|file| Change::Replay { file }),
        1 => Just(Change::SetBack),
        1 => Just(Change::OldCheckpoint),
    ]
}

/// The log, its earlier state, and files that were changed, as they were.
struct Attacked {
    home: PathBuf,
    earlier: PathBuf,
    files: Vec<PathBuf>,
    held: String,
    key: String,
    undo: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl Attacked {
    fn of(home: &Path, earlier: &Path, size: u128) -> Self {
        small_log(home, size / 2);
        copy(home, earlier).unwrap();
        small_log(home, size);
        let (log, held, key) = (home.join("log"), checkpoint(home), verifier_key(home));
        let files = files(&log);
        Self { home: log, earlier: earlier.join("log"), files, held, key, undo: Vec::new() }
    }

    fn is_sound(&self, held: bool) -> bool {
        verify(&self.home, &self.key, held.then_some(self.held.as_str())).is_ok()
    }

    fn write(&mut self, path: &Path, bytes: Option<Vec<u8>>) {
        let was = fs::read(path).ok();
        self.undo.push((path.to_owned(), was));
        put(path, bytes);
    }

    fn put_right(&mut self) {
        for (path, was) in std::mem::take(&mut self.undo).into_iter().rev() {
            put(&path, was);
        }
    }

    fn file(&self, file: usize) -> (PathBuf, Vec<u8>) {
        let path = self.files[file % self.files.len()].clone();
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    }

    /// Makes the change; false if it would change nothing.
    fn make(&mut self, change: &Change) -> bool {
        match *change {
            Change::Flip { file, at, by } => {
                let (path, mut bytes) = self.file(file);
                let at = at % bytes.len();
                bytes[at] ^= by;
                self.write(&path, Some(bytes));
            }
            Change::Shift { file, at, gone } => {
                let (path, mut bytes) = self.file(file);
                let at = at % bytes.len();
                if gone {
                    bytes.remove(at);
                } else {
                    bytes.insert(at, b'7');
                }
                self.write(&path, Some(bytes));
            }
            Change::Delete { file } => {
                let (path, _) = self.file(file);
                // Unfinished tiles of earlier checkpoints may go; nothing is asked of them.
                let leftover = path.parent().unwrap().extension().is_some();
                if leftover && Self::is_leftover(&path) {
                    return false;
                }
                self.write(&path, None);
            }
            Change::Truncate { file, at } => {
                let (path, mut bytes) = self.file(file);
                bytes.truncate(at % bytes.len());
                self.write(&path, Some(bytes));
            }
            Change::Drop { .. }
            | Change::Swap { .. }
            | Change::Double { .. }
            | Change::Forge { .. } => {
                return self.rewrite(change);
            }
            Change::Exchange { file, other } => {
                let ((one, first), (two, second)) = (self.file(file), self.file(other));
                if first == second {
                    return false;
                }
                self.write(&one, Some(second));
                self.write(&two, Some(first));
            }
            Change::Replay { .. } | Change::SetBack | Change::OldCheckpoint => {
                return self.replay(change);
            }
        }
        true
    }

    /// Something as it was once; false if it is so still.
    fn replay(&mut self, change: &Change) -> bool {
        match *change {
            Change::Replay { file } => {
                let (path, now) = self.file(file);
                let then = self.earlier.join(path.strip_prefix(&self.home).unwrap());
                let Ok(then) = fs::read(then) else { return false };
                if then == now {
                    return false;
                }
                self.write(&path, Some(then));
            }
            Change::SetBack => {
                for path in self.files.clone() {
                    let then = self.earlier.join(path.strip_prefix(&self.home).unwrap());
                    self.write(&path, fs::read(then).ok());
                }
            }
            Change::OldCheckpoint => {
                let then = fs::read(self.earlier.join("checkpoint")).unwrap();
                self.write(&self.home.join("checkpoint"), Some(then));
            }
            _ => return false,
        }
        true
    }

    /// A change of records; false if it would change nothing.
    fn rewrite(&mut self, change: &Change) -> bool {
        match *change {
            Change::Drop { record, rehash } => self.edit(record, rehash, |all, at| {
                all.remove(at);
            }),
            Change::Swap { record, other, rehash } => {
                let mut same = false;
                self.edit(record, rehash, |all, at| {
                    let other = other % all.len();
                    same = at == other;
                    all.swap(at, other);
                });
                return !same;
            }
            Change::Double { record, rehash } => self.edit(record, rehash, |all, at| {
                let next = (at + 1) % all.len();
                all[next] = all[at].clone();
            }),
            Change::Forge { record, rehash } => self.edit(record, rehash, |all, at| {
                let text = String::from_utf8(all[at].clone()).unwrap();
                all[at] = text.replace("grant_started", "grant_revoked").into_bytes();
            }),
            _ => return false,
        }
        true
    }

    /// Whether the signed tree does not need this unfinished tile.
    fn is_leftover(path: &Path) -> bool {
        let width: u64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let widest = fs::read_dir(path.parent().unwrap()).unwrap();
        let widths =
            widest.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap());
        widths.max().is_some_and(|widest: u64| width < widest)
    }

    /// Changes the full bundle with `record`, and the hashes of its records as well if they shall follow.
    fn edit(&mut self, record: usize, rehash: bool, edit: impl FnOnce(&mut Vec<Vec<u8>>, usize)) {
        let bundles = self.files.iter().filter(|path| {
            path.strip_prefix(&self.home).unwrap().starts_with("tile/entries")
                && path.parent().unwrap().extension().is_none()
        });
        let bundles: Vec<_> = bundles.cloned().collect();
        let path = bundles[record % bundles.len()].clone();
        let mut all = split(&fs::read(&path).unwrap());
        let at = record / bundles.len() % all.len();
        edit(&mut all, at);
        self.write(&path, Some(join(&all)));
        if rehash {
            let tile = self.home.join("tile/0").join(path.file_name().unwrap());
            let hashes = all.iter().flat_map(|entry| tlog_tiles::record_hash(entry).0).collect();
            self.write(&tile, Some(hashes));
        }
    }
}

fn put(path: &Path, bytes: Option<Vec<u8>>) {
    match bytes {
        Some(bytes) => {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        None => drop(fs::remove_file(path)),
    }
}

#[test]
fn k01_to_k05_every_change_of_every_kind_is_found() {
    let soak: u32 = std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let (home, earlier) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = Attacked::of(home.path(), earlier.path(), u128::from(soak) * 100);
    assert!(log.is_sound(true));
    let log = std::cell::RefCell::new(log);
    let made = std::cell::Cell::new(0_u32);
    let config = Config { cases: soak * 10, failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    let mut runner = TestRunner::new_with_rng(config, random);
    let result = runner.run(&change(), |change| {
        let mut log = log.borrow_mut();
        let changed = log.make(&change);
        made.set(made.get() + u32::from(changed));
        // Only the checkpoint that was kept tells an earlier state from this one.
        let found = !log.is_sound(true);
        log.put_right();
        prop_assert!(!changed || found, "not found: {change:?}");
        Ok(())
    });
    result.unwrap();
    assert!(log.borrow().is_sound(true), "it was put right again");
    assert!(made.get() > soak * 6, "{} changes only", made.get());
}

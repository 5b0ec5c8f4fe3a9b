//! Sealed segments: finished entries in one compressed file read and verify as before, whatever moment
//! the process died at.

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
    process::Command,
    time::Duration,
};

use portcullis_log::{Health, Log, Reader, Shipped, Verified, verify};
use support::{attempt, copy, files, on_core, open, outcome, verified};

/// So many entries are sealed together.
const SEGMENT: u64 = 65_536;

/// At most so many bundles, finished and not, lie behind the sealed ones of 66,500 entries.
const LOOSE: usize = 6;

/// Puts `count` refusals on record and waits until `sealed` segments are there.
fn grow(home: &Path, count: u128, sealed: u64) {
    let log = open(home);
    let handle = log.handle();
    let health = handle.health();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        for n in 0..count {
            while journal.refused(&attempt(n, "/v1/refunds"), &outcome(403)).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if n % 500 == 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    });
    until(&health, |health| health.sealed() >= sealed);
}

fn until(health: &Health, what: impl Fn(&Health) -> bool) {
    for _ in 0..12_000 {
        if what(health) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("did not happen within a minute: {health:?}");
}

/// The names of the bundles that lie in files of their own.
fn loose(home: &Path) -> Vec<String> {
    let found = files(&home.join("log/tile/entries"));
    found.iter().map(|path| path.strip_prefix(home).unwrap().display().to_string()).collect()
}

fn segment(home: &Path) -> PathBuf {
    home.join("log/segment/000")
}

/// All entries, as text.
fn texts(home: &Path) -> Vec<String> {
    let reader = Reader::open(home.join("log")).unwrap();
    let all = reader.entries(0, usize::MAX).unwrap();
    assert!(all.iter().zip(0..).all(|(entry, seq)| entry.seq == seq));
    all.into_iter().map(|entry| entry.json).collect()
}

#[test]
fn a_finished_span_is_sealed_and_reads_and_verifies_as_before() {
    let home = tempfile::tempdir().unwrap();
    grow(home.path(), 300, 0);
    let before = texts(home.path());
    let early = support::checkpoint(home.path());
    let backup = tempfile::tempdir().unwrap();
    copy(home.path(), backup.path()).unwrap();
    let mut shipping = Shipping::default();
    shipping.ship(home.path(), || grow(home.path(), 700, 0));
    assert_eq!(shipping.ship(home.path(), || ()), Some(1_000));
    grow(home.path(), 64_900, 1);
    shipping.ship(home.path(), || grow(home.path(), 600, 1));
    assert_eq!(shipping.ship(home.path(), || ()), Some(66_500));
    assert_eq!(shipping.ship(home.path(), || ()), None);
    shipping.holds_a_beginning_of(home.path());
    an_older_state_does_not_open(home.path(), backup.path());
    assert!(loose(home.path()).len() <= LOOSE, "bundles stay beside their segment");
    let all = texts(home.path());
    assert_eq!(all.len(), 66_500);
    assert_eq!(all[..300], before);
    let Verified { size, .. } = verified(home.path(), Some(&early)).unwrap();
    assert_eq!(size, 66_500);
    // Whoever fetches bundles by their names does not notice.
    let reader = Reader::open(home.path().join("log")).unwrap();
    let bundle = reader.file("tile/entries/000").unwrap().unwrap();
    assert_eq!(&bundle[2..2 + all[0].len()], all[0].as_bytes());
    assert!(reader.file("tile/entries/260").unwrap().is_none());
    let crossing = reader.entries(SEGMENT - 2, 4).unwrap();
    assert_eq!(crossing.len(), 4);
    crashes_while_sealing(home.path(), &all);
    changes_are_found(home.path(), &all);
}

/// A copy of the log, kept up to date as a shipment says.
struct Shipping {
    copy: tempfile::TempDir,
    shipped: Shipped,
}

impl Default for Shipping {
    fn default() -> Self {
        Self { copy: tempfile::tempdir().unwrap(), shipped: Shipped::default() }
    }
}

impl Shipping {
    /// Copies what is listed, with `meanwhile` between the listing and the reading. Whatever moment it
    /// would end at, the copy proves itself. Says what it has then; `None` if nothing was lacking.
    fn ship(&mut self, home: &Path, meanwhile: impl FnOnce()) -> Option<u64> {
        let reader = Reader::open(home.join("log")).unwrap();
        let shipment = reader.shipment(&self.shipped).unwrap()?;
        meanwhile();
        for name in &shipment.files {
            let bytes = reader.shipped_file(name).unwrap();
            self.put(name, &bytes.unwrap_or_else(|| panic!("{name} is gone")));
        }
        if self.shipped.size > 0 {
            assert_eq!(self.proved(home), self.shipped.size);
        }
        self.put("checkpoint", shipment.checkpoint.unwrap().as_bytes());
        assert_eq!(self.proved(home), shipment.then.size);
        for name in &shipment.obsolete {
            fs::remove_file(self.copy.path().join(name)).unwrap();
        }
        self.shipped = shipment.then;
        assert_eq!(self.proved(home), self.shipped.size);
        Some(self.shipped.size)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.copy.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn proved(&self, home: &Path) -> u64 {
        verify(self.copy.path(), &support::verifier_key(home), None).unwrap().size
    }

    /// The copy's log became this one; others did not.
    fn holds_a_beginning_of(&self, home: &Path) {
        assert_eq!(self.shipped.segments, 1);
        assert!(self.copy.path().join("segment/000").is_file());
        let there = fs::read_to_string(self.copy.path().join("checkpoint")).unwrap();
        let reader = Reader::open(home.join("log")).unwrap();
        assert_eq!(reader.continues(&there).unwrap(), Ok(66_500));
        let other = tempfile::tempdir().unwrap();
        support::small_log(other.path(), 20);
        let others = support::checkpoint(other.path());
        assert!(reader.continues(&others).unwrap().unwrap_err().contains("are others"));
        let behind = Reader::open(other.path().join("log")).unwrap();
        assert!(behind.continues(&there).unwrap().unwrap_err().contains("this one 20"));
        assert!(behind.shipment(&self.shipped).is_err());
    }
}

/// A backup that was put over a later state: nothing of either is removed.
fn an_older_state_does_not_open(home: &Path, backup: &Path) {
    let left = tempfile::tempdir().unwrap();
    copy(home, left.path()).unwrap();
    copy(backup, left.path()).unwrap();
    let before = files(left.path());
    let error = support::error_of(Log::open(&support::options(left.path())));
    assert!(error.contains("set back") && error.contains("segment/000"), "{error}");
    let gone = before.iter().find(|path| !path.exists());
    assert_eq!(gone, None);
}

/// What a process leaves that dies while it seals: nothing, a part of the file under another name, the
/// whole file and all, some or none of the bundles that it replaces.
fn crashes_while_sealing(home: &Path, all: &[String]) {
    let whole = fs::read(segment(home)).unwrap();
    let reader = Reader::open(home.join("log")).unwrap();
    let bundles: Vec<(String, Vec<u8>)> = (0..256)
        .map(|index| {
            let name = format!("tile/entries/{index:03}");
            let bytes = reader.file(&name).unwrap().unwrap();
            (name, bytes)
        })
        .collect();
    let put_back = |home: &Path, which: &dyn Fn(usize) -> bool| {
        for (index, (name, bytes)) in bundles.iter().enumerate() {
            if which(index) {
                fs::write(home.join("log").join(name), bytes).unwrap();
            }
        }
    };
    for kept in [0, whole.len() / 2, whole.len()] {
        let left = tempfile::tempdir().unwrap();
        copy(home, left.path()).unwrap();
        fs::remove_file(segment(left.path())).unwrap();
        put_back(left.path(), &|_| true);
        fs::write(segment(left.path()).with_added_extension("new"), &whole[..kept]).unwrap();
        assert_eq!(texts(left.path()), all, "{kept} bytes under another name");
        verified(left.path(), None).unwrap();
        grow(left.path(), 0, 1);
        assert_eq!(fs::read(segment(left.path())).unwrap(), whole, "sealed after all");
        assert!(loose(left.path()).len() <= LOOSE);
        assert_eq!(texts(left.path()), all);
    }
    let left = tempfile::tempdir().unwrap();
    copy(home, left.path()).unwrap();
    let some: [&dyn Fn(usize) -> bool; 3] = [&|_| true, &|n| n % 2 == 0, &|n| n == 255];
    for which in some {
        put_back(left.path(), which);
        assert_eq!(texts(left.path()), all);
        verified(left.path(), None).unwrap();
        drop(open(left.path()));
        assert!(loose(left.path()).len() <= LOOSE, "bundles stay beside their segment");
    }
}

/// A segment that is not what was sealed is not taken for it.
fn changes_are_found(home: &Path, all: &[String]) {
    let whole = fs::read(segment(home)).unwrap();
    let unzipped = Command::new("zstd").args(["-dcq"]).arg(segment(home)).output();
    if let Ok(unzipped) = unzipped {
        assert!(unzipped.status.success(), "any zstd unpacks it");
        assert!(unzipped.stdout.len() > whole.len());
    }
    // Places all over the frames and the table.
    let places = (0..whole.len()).step_by(whole.len() / 5).chain(whole.len() - 2065..whole.len());
    for (_, place) in places.enumerate().filter(|(n, _)| n < &5 || n % 700 == 0) {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        fs::write(segment(home), &changed).unwrap();
        if verified(home, None).is_ok() {
            // A frame's checksum of its own content may be what was hit: the content is what counts.
            assert!(texts(home) == all, "byte {place}");
        }
    }
    for kept in [0, whole.len() / 2, whole.len() - 1] {
        fs::write(segment(home), &whole[..kept]).unwrap();
        verified(home, None).unwrap_err();
    }
    fs::remove_file(segment(home)).unwrap();
    verified(home, None).unwrap_err();
    fs::write(segment(home), &whole).unwrap();
    verified(home, None).unwrap();
}

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

use portcullis_log::{Health, Reader, Verified};
use support::{attempt, copy, files, on_core, open, outcome, verified};

/// So many entries are sealed together.
const SEGMENT: u64 = 65_536;

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
    grow(home.path(), 65_600, 1);
    assert!(loose(home.path()).len() <= 2, "bundles stay beside their segment");
    let all = texts(home.path());
    assert_eq!(all.len(), 65_900);
    assert_eq!(all[..300], before);
    let Verified { size, .. } = verified(home.path(), Some(&early)).unwrap();
    assert_eq!(size, 65_900);
    // Whoever fetches bundles by their names does not notice.
    let reader = Reader::open(home.path().join("log")).unwrap();
    let bundle = reader.file("tile/entries/000").unwrap().unwrap();
    assert_eq!(&bundle[2..2 + all[0].len()], all[0].as_bytes());
    assert!(reader.file("tile/entries/259").unwrap().is_none());
    let crossing = reader.entries(SEGMENT - 2, 4).unwrap();
    assert_eq!(crossing.len(), 4);
    crashes_while_sealing(home.path(), &all);
    changes_are_found(home.path());
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
        assert!(loose(left.path()).len() <= 2);
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
        assert!(loose(left.path()).len() <= 2, "bundles stay beside their segment");
    }
}

/// A segment that is not what was sealed is not taken for it.
fn changes_are_found(home: &Path) {
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
        if let Ok(verified) = verified(home, None) {
            // A frame's checksum of its own content may be what was hit: the content is what counts.
            assert_eq!(texts(home).len() as u64, verified.size, "byte {place}");
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

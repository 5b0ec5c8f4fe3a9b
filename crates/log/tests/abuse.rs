//! Whoever can write to the log's directory, without its key: every rewriting is found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it does"
)]

mod support;

use std::{fs, path::Path};

use portcullis_log::{Finding, Reader};
use support::{checkpoint, copy, files, grow, join, small_log, split, verified};

/// The entries of the bundle at `path`.
fn bundle(path: &Path) -> Vec<Vec<u8>> {
    split(&fs::read(path).unwrap())
}

fn write_bundle(path: &Path, entries: &[Vec<u8>]) {
    fs::write(path, join(entries)).unwrap();
}

fn record_of(finding: Finding) -> u64 {
    match finding {
        Finding::Record { seq, .. } => seq,
        other => panic!("names no record: {other}"),
    }
}

#[test]
fn k01_every_flipped_byte_is_found() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 3);
    small_log(home.path(), 7);
    assert_eq!(verified(home.path(), None).unwrap().size, 7);
    let mut flips = 0;
    for path in files(&home.path().join("log")) {
        let right = fs::read(&path).unwrap();
        for place in 0..right.len() {
            let mut wrong = right.clone();
            wrong[place] ^= 1 << (place % 8);
            fs::write(&path, &wrong).unwrap();
            let found = verified(home.path(), None);
            assert!(found.is_err(), "byte {place} of {}", path.display());
            flips += 1;
        }
        fs::write(&path, &right).unwrap();
    }
    assert!(flips > 1_000, "{flips} flips only");
    verified(home.path(), None).unwrap();
}

#[test]
fn k01_a_flipped_byte_in_a_log_with_full_tiles_names_its_record() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 600);
    let path = home.path().join("log/tile/entries/001");
    let mut entries = bundle(&path);
    let last = entries[44].len() - 2;
    entries[44][last] ^= 1;
    write_bundle(&path, &entries);
    assert_eq!(record_of(verified(home.path(), None).unwrap_err()), 300);
}

#[test]
fn k01_a_changed_hash_names_its_tile() {
    for tile in ["tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"] {
        let home = tempfile::tempdir().unwrap();
        small_log(home.path(), 600);
        let path = home.path().join("log").join(tile);
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, bytes).unwrap();
        match verified(home.path(), None).unwrap_err() {
            Finding::Tile { path, .. } => assert_eq!(path, tile),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn k01_a_record_and_its_hash_changed_together_are_found() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 600);
    let path = home.path().join("log/tile/entries/000");
    let mut entries = bundle(&path);
    entries[7] = String::from_utf8(entries[7].clone())
        .unwrap()
        .replace("grant_started", "grant_ended")
        .into_bytes();
    write_bundle(&path, &entries);
    let tile = home.path().join("log/tile/0/000");
    let mut hashes = fs::read(&tile).unwrap();
    hashes[7 * 32..8 * 32].copy_from_slice(&tlog_tiles::record_hash(&entries[7]).0);
    fs::write(&tile, hashes).unwrap();
    assert!(matches!(verified(home.path(), None).unwrap_err(), Finding::Tile { .. }));
}

#[test]
fn k02_a_deleted_middle_record_is_found() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 600);
    let path = home.path().join("log/tile/entries/001");
    let mut entries = bundle(&path);
    entries.remove(10);
    write_bundle(&path, &entries);
    assert_eq!(record_of(verified(home.path(), None).unwrap_err()), 266);
}

#[test]
fn k02_a_deleted_file_is_found() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 600);
    let whole = tempfile::tempdir().unwrap();
    copy(home.path(), whole.path()).unwrap();
    for tile in ["entries/001", "entries/002.p/88", "0/000", "0/002.p/88", "1/000.p/2"] {
        let path = home.path().join("log/tile").join(tile);
        fs::remove_file(&path).unwrap();
        match verified(home.path(), None).unwrap_err() {
            Finding::Tile { path, .. } => assert_eq!(path, format!("tile/{tile}")),
            other => panic!("{other}"),
        }
        fs::copy(whole.path().join("log/tile").join(tile), path).unwrap();
    }
    fs::remove_file(home.path().join("log/checkpoint")).unwrap();
    assert!(matches!(verified(home.path(), None).unwrap_err(), Finding::Checkpoint(_)));
}

#[test]
fn k03_a_cut_tail_is_found_with_the_checkpoint_that_the_auditor_holds() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 4);
    let older = tempfile::tempdir().unwrap();
    copy(home.path(), older.path()).unwrap();
    small_log(home.path(), 9);
    let held = checkpoint(home.path());

    // The whole directory as it once was is a valid log: only who holds more can tell.
    assert_eq!(verified(older.path(), None).unwrap().size, 4);
    let finding = verified(older.path(), Some(&held)).unwrap_err();
    assert_eq!(finding, Finding::Truncated { held: 9, found: 4 });
    assert_eq!(verified(home.path(), Some(&checkpoint(older.path()))).unwrap().size, 9);
}

#[test]
fn k03_the_same_key_over_another_history_is_found() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 4);
    let held = checkpoint(home.path());
    let other = tempfile::tempdir().unwrap();
    fs::copy(home.path().join("log.key"), other.path().join("log.key")).unwrap();
    grow(other.path(), 101..=108);
    let finding = verified(other.path(), Some(&held)).unwrap_err();
    assert_eq!(finding, Finding::Rewritten { size: 4 });
}

#[test]
fn k03_a_log_that_was_set_back_does_not_open() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 4);
    let before = fs::read(home.path().join("committed")).unwrap();
    small_log(home.path(), 9);
    fs::write(home.path().join("committed"), before).unwrap();
    let opened = portcullis_log::Log::open(&support::options(home.path()));
    assert!(support::error_of(opened).contains("set back"));
}

#[test]
fn k04_reordered_and_doubled_records_are_found() {
    for change in [
        |entries: &mut Vec<Vec<u8>>| entries.swap(20, 21),
        |entries: &mut Vec<Vec<u8>>| entries[21] = entries[20].clone(),
        |entries: &mut Vec<Vec<u8>>| entries.insert(20, entries[19].clone()),
    ] {
        let home = tempfile::tempdir().unwrap();
        small_log(home.path(), 300);
        let path = home.path().join("log/tile/entries/000");
        let mut entries = bundle(&path);
        change(&mut entries);
        write_bundle(&path, &entries);
        let seq = record_of(verified(home.path(), None).unwrap_err());
        assert!((20..=21).contains(&seq), "names record {seq}");
    }
}

#[test]
fn no_path_leads_out_of_the_log() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 300);
    let reader = Reader::open(home.path().join("log")).unwrap();
    for right in ["checkpoint", "tile/0/000", "tile/entries/001.p/44"] {
        assert!(reader.file(right).unwrap().is_some(), "{right}");
    }
    for wrong in [
        "../log.key",
        "tile/../../log.key",
        "/etc/passwd",
        "tile/0/000/",
        "tile//0/000",
        "./checkpoint",
        "checkpoint\0",
        "tile/0/%2e%2e/000",
        "tile/entries",
        "",
    ] {
        assert_eq!(reader.file(wrong).unwrap(), None, "{wrong}");
    }
}

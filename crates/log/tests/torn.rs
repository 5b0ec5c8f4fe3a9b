//! Files that a power cut has torn, at every byte: what was promised is there all the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that fails should stop where it does"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis_log::Log;
use portcullis_model::{RecordLevel, RequestId};
use support::{
    attempt, copy, entries, error_of, files, frames, on_core, open, options, outcome, small_log,
    verified,
};
use tempfile::TempDir;

/// Where syncing costs little, if there is such a place: there are hundreds of starts to make.
fn home() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// What a killed process leaves: three events that are signed, and attempts 0 to 5 that are
/// acknowledged and not in the log; each has its outcome.
fn left() -> TempDir {
    for _ in 0..20 {
        let (home, left) = (home(), home());
        small_log(home.path(), 3);
        let log = open(home.path());
        let handle = log.handle();
        on_core(async {
            let journal = handle.open_journal(0).unwrap();
            for n in 0..6 {
                let recorded = journal.intent(&attempt(n, "/v1"), RecordLevel::Standard).unwrap();
                recorded.await.unwrap();
                journal.outcome(RequestId::from_bits(n), &outcome(201));
            }
            // The outcomes ride along with it.
            let last = journal.intent(&attempt(6, "/last"), RecordLevel::Strict).unwrap();
            last.await.unwrap();
            copy(home.path(), left.path()).unwrap();
        });
        if entries(left.path()).len() == 3 {
            return left;
        }
        // The sequencer came first: the disk is busy.
    }
    panic!("sequenced and signed before the copy was made, every time");
}

/// A copy of `from` in which `file` has its first `length` bytes only.
fn torn(from: &Path, file: &Path, length: usize) -> TempDir {
    let home = home();
    copy(from, home.path()).unwrap();
    let path = home.path().join(file);
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..length]).unwrap();
    home
}

/// Opens what a crash left, and says which requests came into the log, each once.
fn recovered(home: &Path) -> Vec<u128> {
    drop(open(home));
    verified(home, None).unwrap();
    let entries = entries(home);
    let events = entries.iter().filter(|entry| entry["type"] == "grant_started").count();
    assert_eq!(events, 3, "signed events are gone or doubled");
    let requests = entries.iter().filter_map(|entry| entry["request"].as_str());
    let mut found: Vec<u128> =
        requests.map(|text| text.parse::<RequestId>().unwrap().to_bits()).collect();
    found.sort_unstable();
    found
}

#[test]
fn k09_a_journal_torn_at_any_byte_loses_the_torn_frame_and_what_is_behind_it_only() {
    let left = left();
    let file = Path::new("journal/core-0/00000000000000000000.frames");
    let bytes = frames(&left.path().join(file));
    let whole: Vec<usize> = (0..7)
        .map(|n| {
            // The text of an intent ends its frame.
            let text = RequestId::from_bits(n).to_string();
            let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).unwrap();
            at + bytes[at..]
                .windows(2)
                .position(|part| part == [0xC7, 0x9A])
                .unwrap_or(bytes.len() - at)
        })
        .collect();
    for length in
        (0..bytes.len()).filter(|at| at % 9 == 0 || whole.iter().any(|end| at.abs_diff(*end) < 3))
    {
        let torn = torn(left.path(), file, length);
        let expected: Vec<u128> =
            (0..7u128).zip(&whole).filter(|(_, end)| **end <= length).map(|(n, _)| n).collect();
        assert_eq!(recovered(torn.path()), expected, "torn at {length}");
    }
}

#[test]
fn k09_a_published_checkpoint_torn_at_any_byte_is_made_anew() {
    let left = left();
    let file = Path::new("log/checkpoint");
    for length in 0..fs::metadata(left.path().join(file)).unwrap().len() as usize {
        let torn = torn(left.path(), file, length);
        assert_eq!(recovered(torn.path()), (0..7).collect::<Vec<_>>(), "torn at {length}");
    }
}

#[test]
fn k09_tiles_that_nobody_signed_torn_at_any_byte_are_written_again() {
    let left = left();
    let after = home();
    copy(left.path(), after.path()).unwrap();
    recovered(after.path());
    let new: Vec<PathBuf> = files(&after.path().join("log/tile"))
        .into_iter()
        .map(|path| path.strip_prefix(after.path()).unwrap().to_owned())
        .filter(|file| !left.path().join(file).exists())
        .collect();
    assert_eq!(new.len(), 2, "{new:?}");
    // The process died between the tiles and the commit.
    let died = home();
    copy(left.path(), died.path()).unwrap();
    for file in &new {
        fs::copy(after.path().join(file), died.path().join(file)).unwrap();
    }
    for file in &new {
        let size = fs::metadata(died.path().join(file)).unwrap().len() as usize;
        for length in (0..size).filter(|length| length % 7 == 0 || size - length < 3) {
            let torn = torn(died.path(), file, length);
            let all = (0..7).collect::<Vec<_>>();
            assert_eq!(recovered(torn.path()), all, "{} at {length}", file.display());
        }
    }
}

#[test]
fn k09_what_was_about_to_take_a_place_may_be_torn_anywhere() {
    let left = left();
    for (scratch, of) in [("committed.new", "committed"), ("checkpoint.new", "log/checkpoint")] {
        let bytes = fs::read(left.path().join(of)).unwrap();
        for length in (0..=bytes.len()).step_by(5) {
            let home = home();
            copy(left.path(), home.path()).unwrap();
            fs::write(home.path().join(scratch), &bytes[..length]).unwrap();
            assert_eq!(recovered(home.path()), (0..7).collect::<Vec<_>>(), "{scratch} at {length}");
        }
    }
}

#[test]
fn k09_a_commit_record_that_is_not_whole_opens_nothing_and_changes_nothing() {
    let left = left();
    let file = Path::new("committed");
    let size = fs::metadata(left.path().join(file)).unwrap().len() as usize;
    // No crash leaves that, as it is replaced as a whole: it is the disk's doing, or a hand's. Going on
    // from less than was signed would be another history.
    for length in (0..size).step_by(3) {
        let torn = torn(left.path(), file, length);
        let before = support::checkpoint(torn.path());
        let said = error_of(Log::open(&options(torn.path())));
        assert!(said.contains("committed") && said.contains("restore it"), "at {length}: {said}");
        assert_eq!(support::checkpoint(torn.path()), before);
        assert_eq!(entries(torn.path()).len(), 3);
        verified(torn.path(), None).unwrap();
    }
}

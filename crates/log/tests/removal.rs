//! Old segments that were removed after the record said so: the rest proves itself, and what somebody deletes
//! is still found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it does"
)]

mod support;

use std::{fs, path::Path, time::Duration};

use portcullis_log::{Finding, Keys, Log, Reader, Removal, Seen, Shipped, spot_check, verify};
use portcullis_model::{Event, EventId, EventType, RemovalNote, RemovedRange};
use proptest::prelude::*;
use support::{attempt, copy, files, noon, on_core, open, options, outcome, verified};

const SEGMENT: u64 = Reader::SEGMENT;

/// A log with so many sealed segments, and a little more.
fn long(home: &Path, segments: u64) {
    let log = open(home);
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        for n in 0..u128::from(segments * SEGMENT + 10) {
            while journal.refused(&attempt(n, "/v1/refunds"), &outcome(403)).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if n % 500 == 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    });
    while handle.health().sealed() < segments {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn reader(home: &Path) -> Reader {
    Reader::open(home.join("log")).unwrap()
}

fn keys(home: &Path) -> Keys {
    Keys::parse(&support::verifier_key(home)).unwrap()
}

fn range(home: &Path, from: u64, to: u64) -> RemovedRange {
    let (from, to) = (from * SEGMENT, to * SEGMENT);
    RemovedRange { from, to, digest: reader(home).digest_as_signed(from, to, &keys(home)).unwrap() }
}

/// Puts on record that these are removed, and nothing else.
fn announce(home: &Path, id: u128, removed: &[RemovedRange]) -> u64 {
    let mut event = Event::new(EventId::from_bits(id), noon(), EventType::RecordRemoved);
    event.removal = Some(Box::new(RemovalNote {
        cause: "retention".into(),
        policy: "400d".into(),
        older_than: noon(),
        now: removed.to_vec(),
        removed: removed.to_vec(),
    }));
    let log = open(home);
    let appended = log.handle().append(&event);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(appended).unwrap()
}

fn segment(home: &Path, number: u64) -> std::path::PathBuf {
    home.join(format!("log/segment/{number:03}"))
}

fn spot(home: &Path) -> Result<Seen, Finding> {
    let all: Vec<u64> = (0..800).collect();
    spot_check(&home.join("log"), &support::verifier_key(home), &Seen::default(), &all)
}

fn found(home: &Path) -> String {
    verified(home, None).unwrap_err().to_string()
}

fn copied(home: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    copy(home, left.path()).unwrap();
    left
}

#[test]
fn k02_what_was_removed_by_right_is_proved_by_the_tree_and_what_was_deleted_is_found() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    long(home, 3);
    let before = support::checkpoint(home);
    let old = reader(home).entry(7).unwrap().unwrap();
    // Somebody deletes the beginning, before and after anything was removed by right.
    let left = copied(home);
    fs::remove_file(segment(left.path(), 0)).unwrap();
    assert!(found(left.path()).contains("tile/entries/000` is missing"));
    spot(left.path()).unwrap_err();

    let first = range(home, 0, 1);
    let seq = announce(home, 1, std::slice::from_ref(&first));
    let proved = verified(home, Some(&before)).unwrap();
    assert_eq!(proved.removed, None, "on record, and not done yet");
    crash_in_between(home, seq);
    assert_eq!(reader(home).remove(seq).unwrap(), 1);
    assert_eq!(reader(home).remove(seq).unwrap(), 0, "again does no harm");
    assert!(!segment(home, 0).exists() && segment(home, 1).exists());

    let proved = verified(home, Some(&before)).unwrap();
    let removed = proved.removed.unwrap();
    assert_eq!((removed.entries, removed.by.seq), (vec![(0, SEGMENT - 1)], seq));
    assert_eq!(removed.by.note.policy, "400d");
    spot(home).unwrap();
    reading_goes_on(home, &old.json);
    shipping_goes_on(home);
    deletions_are_found(home);
    no_deletion_is_taken_for_a_removal(home);
    only_what_was_signed_is_judged(home);
    the_next_removal_speaks_for_all(home, seq);
}

/// A process that dies after the record, and one that dies between two segments.
fn crash_in_between(home: &Path, seq: u64) {
    let left = copied(home);
    fs::write(left.path().join("log/removed"), reader(home).entry(seq).unwrap().unwrap().json)
        .unwrap();
    verified(left.path(), None).unwrap();
    assert_eq!(reader(left.path()).entries(0, 3).unwrap().len(), 3, "it is there still");
    drop(open(left.path()));
    assert_eq!(reader(left.path()).remove(seq).unwrap(), 1);
    verified(left.path(), None).unwrap();
    // The file is a help for readers, and not what proves.
    fs::remove_file(left.path().join("log/removed")).unwrap();
    verified(left.path(), None).unwrap();
    assert!(reader(left.path()).entries(0, 3).is_err());
    fs::write(left.path().join("log/removed"), "{}").unwrap();
    assert!(reader(left.path()).entries(0, 3).is_err());
    assert!(Log::open(&options(left.path())).is_err(), "nobody knows what is gone");
}

fn reading_goes_on(home: &Path, old: &str) {
    let reader = reader(home);
    let entries = reader.entries(0, 300).unwrap();
    assert_eq!((entries.len(), entries[0].seq), (300, SEGMENT));
    assert_eq!(reader.entries(SEGMENT - 1, 2).unwrap()[1].seq, SEGMENT + 1);
    assert_eq!(reader.entry(7).unwrap(), None);
    assert_eq!(reader.file("tile/entries/000").unwrap(), None);
    assert_eq!(reader.prove(7).unwrap(), None, "there is nothing to prove");
    // Who kept the entry proves it still.
    let path = reader.inclusion(7, None).unwrap().unwrap();
    assert!(!path.hashes.is_empty() && old.starts_with("{\"seq\":7,"));
    assert!(reader.prove(SEGMENT).unwrap().is_some());
    // The log opens, seals on where it was, and hands over its key.
    drop(open(home));
    assert_eq!(reader.segments().unwrap(), [1, 2]);
    let keys = Keys::parse(&support::verifier_key(home)).unwrap();
    assert_eq!(keys.handover_records(), [0; 0]);
}

/// A copy that is made anew has what there is, and proves itself as the record does.
fn shipping_goes_on(home: &Path) {
    let reader = reader(home);
    let there = tempfile::tempdir().unwrap();
    let mut shipped = Shipped::default();
    while let Some(shipment) = reader.shipment(&shipped).unwrap() {
        for name in &shipment.files {
            let bytes = reader.shipped_file(name).unwrap();
            let path = there.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes.unwrap_or_else(|| panic!("{name} is gone"))).unwrap();
        }
        if let Some(checkpoint) = &shipment.checkpoint {
            fs::write(there.path().join("checkpoint"), checkpoint).unwrap();
        }
        shipped = shipment.then;
    }
    let proved = verify(there.path(), &support::verifier_key(home), None).unwrap();
    assert_eq!(proved, verified(home, None).unwrap());
    let copied = Reader::open(there.path()).unwrap();
    assert_eq!(copied.entries(0, 1).unwrap()[0].seq, SEGMENT);
}

/// What no removal on record covers, whole segment or not.
fn deletions_are_found(home: &Path) {
    let left = copied(home);
    fs::remove_file(segment(left.path(), 1)).unwrap();
    let said = found(left.path());
    assert!(said.contains("tile/entries/256` is missing, and record"), "{said}");
    spot(left.path()).unwrap_err();
    assert!(reader(left.path()).entries(0, 1).is_err());
    // A file beside the log that says more than the record does convinces nobody.
    let pretended = fs::read_to_string(left.path().join("log/removed")).unwrap();
    let pretended = pretended.replace("\"to\":65536", "\"to\":131072");
    assert!(Removal::read(pretended.as_bytes()).unwrap().range_of(SEGMENT).is_some());
    fs::write(left.path().join("log/removed"), &pretended).unwrap();
    verified(left.path(), None).unwrap_err();
    spot(left.path()).unwrap_err();
    // The removal itself is in a bundle that is gone.
    let left = copied(home);
    for file in files(&left.path().join("log/tile/entries")) {
        fs::remove_file(file).unwrap();
    }
    verified(left.path(), None).unwrap_err();
    // The hashes of what was removed are what proves the rest.
    for tile in ["log/tile/0/000", "log/tile/1/000"] {
        let left = copied(home);
        let mut bytes = fs::read(left.path().join(tile)).unwrap();
        bytes[70] ^= 1;
        fs::write(left.path().join(tile), bytes).unwrap();
        verified(left.path(), None).unwrap_err();
    }
}

/// Who removes more goes by what was signed, and not by what lies there.
fn no_deletion_is_taken_for_a_removal(home: &Path) {
    let known = |home: &Path| reader(home).removed_as_signed(&keys(home));
    assert_eq!(known(home).unwrap(), reader(home).removed().unwrap());
    let refused = |home: &Path| known(home).unwrap_err().to_string();
    let left = copied(home);
    let file = left.path().join("log/removed");
    let said = fs::read_to_string(&file).unwrap();
    let pretended = said.replace("\"to\":65536", "\"to\":131072");
    fs::write(&file, &pretended).unwrap();
    fs::remove_file(segment(left.path(), 1)).unwrap();
    assert!(refused(left.path()).contains("it is not what record"));
    // With the right file, or none.
    fs::write(&file, &said).unwrap();
    assert!(refused(left.path()).contains("segment/001` is damaged: it is missing"));
    fs::remove_file(&file).unwrap();
    assert!(refused(left.path()).contains("segment/000` is damaged: it is missing"));
    // Written into the record, too.
    let left = copied(home);
    let wider = said.replace("\"400d\"", "\"999d\"");
    let mut written = 0;
    for file in files(&left.path().join("log/tile/entries")) {
        let mut bundle = fs::read(&file).unwrap();
        let at = bundle.windows(said.len()).position(|part| part == said.as_bytes());
        if let Some(at) = at {
            bundle[at..at + said.len()].copy_from_slice(wider.as_bytes());
            written += 1;
        }
        fs::write(file, bundle).unwrap();
    }
    assert!(written > 0 && wider != said);
    fs::write(left.path().join("log/removed"), &wider).unwrap();
    known(left.path()).unwrap_err();
    // Another key's log explains nothing here.
    let other = tempfile::tempdir().unwrap();
    drop(open(other.path()));
    let foreign = Keys::parse(&support::verifier_key(other.path())).unwrap();
    if foreign != keys(home) {
        reader(home).removed_as_signed(&foreign).unwrap_err();
    }
}

/// An entry that somebody overwrote is not believed, nor a tile.
fn only_what_was_signed_is_judged(home: &Path) {
    let entries = reader(home).entries_as_signed(SEGMENT, 1024, &keys(home)).unwrap();
    assert_eq!(entries, reader(home).entries(SEGMENT, 1024).unwrap());
    assert!(reader(home).entries_as_signed(0, 1024, &keys(home)).is_err(), "they are gone");
    // A bundle lies before the segment for whoever reads, and says what somebody likes.
    let left = copied(home);
    let name = left.path().join("log/tile/entries/256");
    fs::create_dir_all(name.parent().unwrap()).unwrap();
    let mut bundle = reader(home).file("tile/entries/256").unwrap().unwrap();
    let at = bundle.windows(4).rposition(|part| part == b"2026").unwrap_or(40);
    bundle[at + 3] ^= 1;
    fs::write(&name, &bundle).unwrap();
    assert_eq!(reader(left.path()).entries(SEGMENT, 1).unwrap().len(), 1, "nobody else looks");
    let error = reader(left.path()).entries_as_signed(SEGMENT, 256, &keys(home)).unwrap_err();
    assert!(error.to_string().contains("not what was signed"), "{error}");
    let is_as_signed = |seq: &u64| reader(left.path()).entry_as_signed(*seq, &keys(home)).is_ok();
    assert_eq!((SEGMENT..SEGMENT + 256).filter(is_as_signed).count(), 255, "one was overwritten");
    // With hashes to match.
    for tile in ["log/tile/0/256", "log/tile/1/001"] {
        let left = copied(home);
        let mut bytes = fs::read(left.path().join(tile)).unwrap();
        bytes[40] ^= 1;
        fs::write(left.path().join(tile), bytes).unwrap();
        let digest = reader(left.path()).digest_as_signed(SEGMENT, 2 * SEGMENT, &keys(home));
        digest.unwrap_err();
    }
}

/// The newest record counts: with a gap in between, and without those that said so before.
fn the_next_removal_speaks_for_all(home: &Path, before: u64) {
    let (first, third) = (range(home, 0, 1), range(home, 2, 3));
    let left = copied(home);
    let forgetful = announce(left.path(), 2, std::slice::from_ref(&third));
    assert!(reader(left.path()).remove(forgetful).is_err(), "it would leave a gap");
    assert!(found(left.path()).contains("does not speak of it"));
    let mut wrong = third.clone();
    wrong.digest.clone_from(&first.digest);
    let left = copied(home);
    announce(left.path(), 2, &[first.clone(), wrong]);
    assert!(found(left.path()).contains("another hash for them"));

    let seq = announce(home, 2, &[first, third]);
    assert_eq!(reader(home).remove(seq).unwrap(), 1);
    assert_eq!(reader(home).remove(before).unwrap(), 0, "it is done, and stands in the newer one");
    assert_eq!(reader(home).removed().unwrap().unwrap().seq, seq, "which is the last word still");
    let removed = verified(home, None).unwrap().removed.unwrap();
    assert_eq!(removed.entries, [(0, SEGMENT - 1), (2 * SEGMENT, 3 * SEGMENT - 1)]);
    spot(home).unwrap();
    let entries = reader(home).entries(2 * SEGMENT - 1, 2).unwrap();
    assert_eq!([entries[0].seq, entries[1].seq], [2 * SEGMENT - 1, 3 * SEGMENT]);
    what_was_put_back_from_before_is_read_again(home, before);
    // Without any segment left, the log knows where it was.
    let seq = announce(home, 3, &[range(home, 0, 3)]);
    assert_eq!(reader(home).remove(seq).unwrap(), 1);
    drop(open(home));
    assert_eq!(verified(home, None).unwrap().removed.unwrap().entries, [(0, 3 * SEGMENT - 1)]);
    assert_eq!(reader(home).entries(0, 1).unwrap()[0].seq, 3 * SEGMENT);
    let rotated = Log::rotate_key(&support::options_for_another_key(home)).unwrap();
    assert_eq!(rotated.keys.handover_records(), [rotated.seq]);
    verified(home, None).unwrap();
}

/// An older file explains less than what is gone; the record has the newer one.
fn what_was_put_back_from_before_is_read_again(home: &Path, before: u64) {
    let right = fs::read(home.join("log/removed")).unwrap();
    let older = reader(home).entry(before).unwrap().unwrap().json;
    let mend = |home: &Path| reader(home).removed_mended(&keys(home));
    for put_back in [Some(older.as_str()), Some("{}"), None] {
        let left = copied(home);
        let file = left.path().join("log/removed");
        match put_back {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        reader(left.path()).removed_as_signed(&keys(home)).unwrap_err();
        assert!(mend(left.path()).unwrap().is_some());
        assert_eq!(fs::read(&file).unwrap(), right);
        assert!(reader(left.path()).entries(0, 1).is_ok());
        // A start does so itself, and seals on where it was.
        if put_back == Some(older.as_str()) {
            fs::write(&file, &older).unwrap();
            drop(open(left.path()));
            assert_eq!(fs::read(&file).unwrap(), right);
        }
        // What no record speaks of stays a gap.
        fs::remove_file(segment(left.path(), 1)).unwrap();
        fs::write(&file, &older).unwrap();
        mend(left.path()).unwrap_err();
        assert_eq!(fs::read_to_string(&file).unwrap(), older);
    }
}

fn said(ranges: &[(u64, u64)]) -> String {
    let ranges: Vec<_> = ranges
        .iter()
        .map(|(from, to)| serde_json::json!({"from": from, "to": to, "digest": "x"}))
        .collect();
    let removal = serde_json::json!({"cause": "retention", "policy": "1d", "older_than": noon(),
        "now": [], "removed": ranges});
    let (seq, time) = (9 * SEGMENT, noon());
    format!(
        "{{\"seq\":{seq},\"time\":\"{time}\",\"type\":\"record_removed\",\"removal\":{removal}}}"
    )
}

proptest! {
    /// Only whole segments in their order, before the record itself, are a removal.
    #[test]
    fn a_record_of_a_removal_speaks_of_whole_segments_before_it(
        ranges in prop::collection::vec((0_u64..12 * SEGMENT, 0_u64..12 * SEGMENT), 0..4),
        whole in any::<bool>(),
    ) {
        let round = |at: u64| if whole { at / SEGMENT * SEGMENT } else { at };
        let ranges: Vec<_> = ranges.iter().map(|(a, b)| (round(*a), round(*b))).collect();
        let text = said(&ranges);
        let sound = ranges.iter().all(|(from, to)| {
            from < to && from % SEGMENT == 0 && to % SEGMENT == 0 && *to <= 9 * SEGMENT
        }) && ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        prop_assert_eq!(Removal::read(text.as_bytes()).is_some(), sound);
    }
}

//! Proofs of single records and of sizes, another key half-way, and a log that was set back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it does"
)]

mod support;

use std::{fs, path::Path};

use portcullis_log::{
    Anchored, Finding, Keys, Log, NotContinued, Reader, RecordProof, anchored, check_consistency,
};
use support::{
    checkpoint, copy, entries, grow, options, options_for_another_key, small_log, verified,
    verifier_key,
};

fn keys(home: &Path) -> Keys {
    Keys::parse(&verifier_key(home)).unwrap()
}

fn reader(home: &Path) -> Reader {
    Reader::open(home.join("log")).unwrap()
}

#[test]
fn every_record_is_proved_at_the_newest_checkpoint() {
    for size in [1_u128, 2, 255, 256, 257, 600] {
        let home = tempfile::tempdir().unwrap();
        small_log(home.path(), size);
        let (reader, keys) = (reader(home.path()), keys(home.path()));
        let size = u64::try_from(size).unwrap();
        for seq in 0..size {
            let proof = reader.prove(seq).unwrap().unwrap();
            let read = RecordProof::parse(&proof.to_string()).unwrap();
            assert_eq!(read, proof);
            let proven = read.verify(&read.leaf, &keys).unwrap();
            assert_eq!((proven.seq, proven.size), (seq, size));
        }
        assert_eq!(reader.prove(size).unwrap(), None);
    }
}

#[test]
fn k01_every_changed_byte_of_a_proof_is_found() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 300);
    let keys = keys(home.path());
    let proof = reader(home.path()).prove(17).unwrap().unwrap().to_string();
    let sound = |text: &str| {
        let proof = RecordProof::parse(text)?;
        proof.verify(&proof.leaf, &keys)
    };
    sound(&proof).unwrap();
    for place in 0..proof.len() {
        for bit in 0..8 {
            let mut wrong = proof.clone().into_bytes();
            wrong[place] ^= 1 << bit;
            let found = String::from_utf8(wrong).map_err(|_| String::new());
            assert!(found.and_then(|text| sound(&text)).is_err(), "bit {bit} of byte {place}");
        }
    }
    let of_another = proof.replace("index 17", "index 18");
    assert!(sound(&of_another).is_err());
}

#[test]
fn a_size_is_the_beginning_of_every_later_one() {
    let home = tempfile::tempdir().unwrap();
    let mut held = Vec::new();
    for size in [1_u64, 3, 255, 256, 300, 520] {
        small_log(home.path(), u128::from(size));
        held.push((size, checkpoint(home.path())));
    }
    let (reader, keys) = (reader(home.path()), keys(home.path()));
    let newest = checkpoint(home.path());
    for (size, old) in &held {
        let path = reader.consistency(*size, None).unwrap().unwrap();
        assert_eq!(path.checkpoint.as_deref(), Some(newest.as_str()));
        check_consistency(old, &newest, &path.hashes, &keys).unwrap();
        let mut wrong = path.hashes.clone();
        if let Some(hash) = wrong.first_mut() {
            hash.replace_range(0..1, if hash.starts_with('A') { "B" } else { "A" });
            assert!(check_consistency(old, &newest, &wrong, &keys).is_err(), "size {size}");
        }
        // Between two sizes of the past, too.
        let path = reader.consistency(1, Some(*size)).unwrap().unwrap();
        check_consistency(&held[0].1, old, &path.hashes, &keys).unwrap();
        assert!(reader.inclusion(0, Some(*size)).unwrap().is_some());
    }
    assert_eq!(reader.consistency(521, None).unwrap(), None);
    assert_eq!(reader.consistency(0, None).unwrap(), None);
    assert_eq!(reader.inclusion(3, Some(3)).unwrap(), None);
}

#[test]
fn a_damaged_tile_gives_no_proof() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 600);
    let tile = home.path().join("log/tile/0/001");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    fs::write(tile, bytes).unwrap();
    let reader = reader(home.path());
    assert!(reader.prove(300).is_err());
    assert!(reader.prove(3).is_ok());
}

#[test]
fn k05_a_log_that_was_set_back_is_told_from_one_that_went_on() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 4);
    let (older, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy(home.path(), older.path()).unwrap();
    small_log(home.path(), 9);
    let kept = checkpoint(home.path());
    let keys = keys(home.path());
    reader(home.path()).still_holds(&kept, &keys).unwrap();
    reader(home.path()).still_holds(&checkpoint(older.path()), &keys).unwrap();
    let set_back = reader(older.path()).still_holds(&kept, &keys).unwrap_err();
    assert!(matches!(set_back, NotContinued::SetBack { held: 9, found: 4 }), "{set_back}");
    // The same key went on another way.
    grow(older.path(), 1001..=1020);
    let forked = reader(older.path()).still_holds(&kept, &keys).unwrap_err();
    assert!(matches!(forked, NotContinued::Rewritten { size: 9 }), "{forked}");
    small_log(other.path(), 1);
    let foreign = checkpoint(other.path()).replace("gate.test", "gate.else");
    let foreign = reader(home.path()).still_holds(&foreign, &keys).unwrap_err();
    assert!(matches!(foreign, NotContinued::Foreign(_)), "{foreign}");
}

#[test]
fn k07_a_checkpoint_that_is_not_signed_or_not_of_its_tiles_is_no_head() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 4);
    let old = checkpoint(home.path());
    small_log(home.path(), 9);
    let (keys, newest) = (keys(home.path()), checkpoint(home.path()));
    assert_eq!(reader(home.path()).signed_checkpoint(&keys).unwrap(), Some(newest.clone()));
    // Another size under the same signature.
    let place = home.path().join("log/checkpoint");
    fs::write(&place, newest.replacen("\n9\n", "\n8\n", 1)).unwrap();
    for kept in [&old, &newest] {
        let found = reader(home.path()).still_holds(kept, &keys).unwrap_err();
        assert!(matches!(found, NotContinued::Unsigned(_)), "{found}");
    }
    assert!(reader(home.path()).signed_checkpoint(&keys).is_err());
    // The signed one, over tiles of something else.
    fs::write(&place, &newest).unwrap();
    let tile = home.path().join("log/tile/0/000.p/9");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    fs::write(tile, bytes).unwrap();
    assert!(reader(home.path()).still_holds(&newest, &keys).is_err());
    assert!(reader(home.path()).signed_checkpoint(&keys).is_err());
}

#[test]
fn k08_ranges_of_keys_that_overlap_or_leave_something_out_are_refused() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 1);
    let key = verifier_key(home.path());
    let key = key.trim();
    let keys = |ranges: &[&str]| {
        let lines: Vec<_> = ranges.iter().map(|range| format!("{key}{range}\n")).collect();
        Keys::parse(&lines.concat())
    };
    for sound in [&[""][..], &[" sizes 0-"], &[" sizes 0-4", " sizes 4-"]] {
        keys(sound).unwrap();
    }
    for wrong in [
        &["", ""][..],
        &["", " sizes 4-"],
        &[" sizes 0-", " sizes 4-"],
        &[" sizes 0-9", " sizes 4-"],
        &[" sizes 0-4", " sizes 5-"],
        &[" sizes 1-"],
        &[" sizes 0-4"],
        &[" sizes 4-", " sizes 0-4"],
    ] {
        assert!(keys(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn lines_of_checkpoints_are_read_back_and_a_torn_one_is_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for size in [2, 5] {
        small_log(home.path(), size);
        text += &Anchored::new(&checkpoint(home.path())).unwrap().line();
    }
    assert_eq!(text.lines().count(), 2, "one line each");
    let sizes = |text: &str| -> Vec<u64> {
        anchored(text).unwrap().iter().map(|anchored| anchored.size).collect()
    };
    assert_eq!(sizes(&text), [2, 5]);
    assert_eq!(sizes(text.get(..text.len() - 9).unwrap()), [2]);
    assert_eq!(sizes(""), [0_u64; 0]);
    assert!(anchored("nothing\nof the kind\n").is_err());
    assert!(anchored(&text.replace("\"size\":", "\"size\":1")).is_err());
}

#[test]
fn k08_after_a_rotation_the_old_key_proves_the_old_range_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 4);
    let (old_key, old_checkpoint) = (verifier_key(home.path()), checkpoint(home.path()));
    let old_secret = fs::read(home.path().join("log.key")).unwrap();
    let old_proof = reader(home.path()).prove(2).unwrap().unwrap();

    let rotated = Log::rotate_key(&options_for_another_key(home.path())).unwrap();
    assert_eq!((rotated.seq, rotated.keys.all().len()), (4, 2));
    assert_eq!(verifier_key(home.path()), rotated.keys.to_string());
    assert_ne!(fs::read(home.path().join("log.key")).unwrap(), old_secret);
    small_log(home.path(), 9);
    let all = entries(home.path());
    assert_eq!(all.len(), 10);
    assert_eq!(all[4]["type"], "log_key_changed");

    // With both keys the whole log is proved, and what was signed earlier too.
    assert_eq!(verified(home.path(), None).unwrap().size, 10);
    assert_eq!(verified(home.path(), Some(&old_checkpoint)).unwrap().size, 10);
    old_proof.verify(&old_proof.leaf, &rotated.keys).unwrap();
    old_proof.verify(&old_proof.leaf, &Keys::parse(&old_key).unwrap()).unwrap();
    // With the old one alone, the newer checkpoint is somebody else's.
    let log = home.path().join("log");
    let finding = portcullis_log::verify(&log, &old_key, None).unwrap_err();
    assert!(finding.to_string().contains("new log.pub"), "{finding}");

    // Whoever stole the old key goes on with the log from where it was replaced.
    let thief = tempfile::tempdir().unwrap();
    fs::write(thief.path().join("log.key"), &old_secret).unwrap();
    fs::set_permissions(thief.path().join("log.key"), mode(0o600)).unwrap();
    small_log(thief.path(), 20);
    let keys = rotated.keys.to_string();
    let finding = portcullis_log::verify(&thief.path().join("log"), &keys, None).unwrap_err();
    assert!(finding.to_string().contains("good for 0 to 5 only"), "{finding}");
    let forged = reader(thief.path()).prove(12).unwrap().unwrap();
    assert!(forged.verify(&forged.leaf, &rotated.keys).unwrap_err().contains("0 to 5"));
}

#[test]
fn k08_a_handover_that_is_not_where_the_keys_say_is_found() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    small_log(home.path(), 4);
    Log::rotate_key(&options_for_another_key(home.path())).unwrap();
    small_log(home.path(), 9);
    let moved = verifier_key(home.path()).replace("0-5", "0-4").replace("5-", "4-");
    let finding = portcullis_log::verify(&home.path().join("log"), &moved, None).unwrap_err();
    assert!(matches!(finding, Finding::Record { seq: 3, .. }), "{finding}");
    // Two keys of which one never handed over to the other.
    small_log(other.path(), 4);
    assert!(Keys::parse(&format!("{moved}other+00000000+AQ==")).is_err());
    assert!(Keys::parse("").is_err());
}

#[test]
fn a_rotation_that_a_crash_stopped_is_finished_or_undone() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 4);
    let before = tempfile::tempdir().unwrap();
    copy(home.path(), before.path()).unwrap();
    let rotated = Log::rotate_key(&options_for_another_key(home.path())).unwrap();
    let (key, public) = (home.path().join("log.key"), home.path().join("log.pub"));
    let next = home.path().join("log.key.next");
    let old = |file: &str| before.path().join(file);

    // The record is there; neither `log.pub` nor the key is in place.
    fs::rename(&key, &next).unwrap();
    fs::copy(old("log.key"), &key).unwrap();
    fs::copy(old("log.pub"), &public).unwrap();
    small_log(home.path(), 6);
    assert_eq!(verifier_key(home.path()), rotated.keys.to_string());
    assert!(!next.exists());
    // `log.pub` is, the key is not.
    fs::rename(&key, &next).unwrap();
    fs::copy(old("log.key"), &key).unwrap();
    small_log(home.path(), 7);
    assert!(!next.exists());
    verified(home.path(), None).unwrap();
    // Nothing is there but the next key.
    fs::copy(&key, old("log.key.next")).unwrap();
    small_log(before.path(), 6);
    assert!(!old("log.key.next").exists());
    assert_eq!(Keys::parse(&verifier_key(before.path())).unwrap().all().len(), 1);
    verified(before.path(), None).unwrap();
    // A key that nobody handed over to signs nothing.
    fs::copy(old("log.key"), &key).unwrap();
    let opened = Log::open(&options(home.path()));
    assert!(support::error_of(opened).contains("rotate-key"));
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

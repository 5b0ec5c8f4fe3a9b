//! A look at some of the record: what is wrong with what was looked at is found, and with how much there is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a test that fails should stop where it does; what tests share is not used by all"
)]

mod support;

use std::{fs, path::Path};

use portcullis_log::{Finding, Seen, spot_check};
use support::{files, small_log, verifier_key};

fn look(home: &Path, before: &Seen, bundles: &[u64]) -> Result<Seen, Finding> {
    spot_check(&home.join("log"), &verifier_key(home), before, bundles)
}

#[test]
fn k01_a_look_at_everything_finds_every_flipped_byte() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 300);
    let nothing = Seen::default();
    assert_eq!(look(home.path(), &nothing, &[0, 1]).unwrap().size, 300);
    let mut flips = 0;
    // Unfinished tiles of before are no part of the tree any more.
    let newest = |path: &Path| {
        !path.parent().unwrap().to_string_lossy().ends_with(".p") || path.ends_with("44")
    };
    for path in files(&home.path().join("log")).into_iter().filter(|path| newest(path)) {
        let right = fs::read(&path).unwrap();
        for place in (0..right.len()).step_by(17) {
            let mut wrong = right.clone();
            wrong[place] ^= 1 << (place % 8);
            fs::write(&path, &wrong).unwrap();
            let found = look(home.path(), &nothing, &[0]);
            assert!(found.is_err(), "byte {place} of {}", path.display());
            flips += 1;
        }
        fs::write(&path, &right).unwrap();
    }
    assert!(flips > 1000, "{flips} flips only");
    look(home.path(), &nothing, &[7]).unwrap();
}

#[test]
fn k03_a_record_that_shrank_between_two_looks_is_found() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 3);
    let seen = look(home.path(), &Seen::default(), &[]).unwrap();
    look(home.path(), &seen, &[0]).unwrap();
    let more = Seen { size: 4 };
    let found = look(home.path(), &more, &[0]).unwrap_err();
    assert_eq!(found, Finding::Truncated { held: 4, found: 3 });
    fs::remove_file(home.path().join("log/checkpoint")).unwrap();
    assert_eq!(
        look(home.path(), &seen, &[]).unwrap_err(),
        Finding::Truncated { held: 3, found: 0 }
    );
}

//! The log is what the C2SP texts say: a verifier that was written from them alone agrees.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it does"
)]

mod support;

use std::{fs, path::Path, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_log::Reader;
use support::{files, small_log, verified, verifier_key};

/// `SIZE ROOT`, or what the verifier in Python found.
fn python(home: &Path) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c2sp_verify.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(home.join("log"))
        .arg(verifier_key(home))
        .output()
        .expect("python3 is needed for this test");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn an_independent_verifier_agrees_on_size_and_root() {
    for size in [0, 1, 255, 256, 257, 700] {
        let home = tempfile::tempdir().unwrap();
        small_log(home.path(), size);
        let ours = verified(home.path(), None).unwrap();
        let expected = format!("{} {}", ours.size, STANDARD.encode(ours.root));
        assert_eq!(python(home.path()), Ok(expected), "size {size}");
    }
}

#[test]
fn an_independent_verifier_finds_a_flipped_byte_in_every_file() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 300);
    let (mut checked, all) = (0, files(&home.path().join("log")));
    for path in all {
        let right = fs::read(&path).unwrap();
        let mut wrong = right.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 4;
        fs::write(&path, wrong).unwrap();
        let theirs = python(home.path());
        assert!(theirs.is_err(), "{} was changed: {theirs:?}", path.display());
        assert!(!theirs.unwrap_err().contains("Traceback"), "{}", path.display());
        assert!(verified(home.path(), None).is_err(), "{}", path.display());
        fs::write(&path, right).unwrap();
        checked += 1;
    }
    assert_eq!(checked, 6, "checkpoint, two bundles, two leaf tiles, one above");
}

#[test]
fn an_independent_verifier_agrees_on_proofs_of_single_records() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 300);
    let reader = Reader::open(home.path().join("log")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c2sp_proof.py");
    let file = home.path().join("proof");
    let verify = |proof: &str| {
        fs::write(&file, proof).unwrap();
        let output = Command::new("python3")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(&script)
            .arg(&file)
            .arg(verifier_key(home.path()))
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    for seq in [0, 1, 254, 255, 256, 298, 299] {
        let proof = reader.prove(seq).unwrap().unwrap().to_string();
        assert_eq!(verify(&proof), Some(format!("{seq} 300")));
        let moved = proof.replace(&format!("index {seq}\n"), &format!("index {}\n", seq ^ 1));
        assert_eq!(verify(&moved), None, "record {seq} moved");
    }
}

//! A pack from a real log, changed in every way: whatever was changed is found.

use std::{path::Path, sync::Arc, time::Duration};

use portcullis_control::EvidenceProof;
use portcullis_log::{Log, LogOptions, Reader};
use portcullis_model::{Base64Url, BundleStamp, Event, EventId, EventType};
use portcullis_policy::PolicySource;

use super::*;
use crate::ambient::{SystemClock, SystemEntropy};

const POLICY: &str = "@id(\"payments.refund\")\npermit (principal, action, resource);\n";

fn append(log: &Log, events: &[Event]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for event in events {
            log.handle().append(event).await.unwrap();
        }
    });
}

fn event(id: u128, kind: EventType, detail: &str) -> Event {
    let mut event =
        Event::new(EventId::from_bits(id), "2026-03-01T12:00:00Z".parse().unwrap(), kind);
    event.detail = Some(detail.to_owned());
    event
}

/// The files of a sound pack before they are packed, with what proves them, and the log's keys.
fn sound(home: &Path) -> (Vec<u8>, Keys) {
    let log = Log::open(&LogOptions {
        directory: home.to_owned(),
        name: "gate.test/audit".to_owned(),
        entropy: Arc::new(SystemEntropy),
        clock: Arc::new(SystemClock),
        checkpoint_every: Duration::from_secs(1),
        most: None,
    });
    let log = log.unwrap();
    let policy = PolicySource { path: "payments.cedar".to_owned(), text: POLICY.to_owned() };
    let source = BundleSource { policies: vec![policy], ..BundleSource::default() };
    let mut started = event(3, EventType::GrantStarted, "until later");
    started.bundle = Some(BundleStamp { digest: source.digest(), generation: 1 });
    started.policies = vec!["payments.refund".parse().unwrap()];
    let asked = event(2, EventType::AccessRequested, "refunds \u{202e}stuck <b>");
    append(&log, &[event(1, EventType::Started, ""), asked, started]);
    let reader = Reader::open(log.directory()).unwrap();
    let lines = |from| -> Vec<EventLine> {
        let entries = reader.entries(from, 100).unwrap().into_iter();
        entries.map(|entry| EventLine { seq: entry.seq, json: entry.json }).collect()
    };
    let evidence = Evidence {
        subject: EvidenceSubject { kind: "grant", id: "01KB000000AAAAAAAAAAABCDEF".to_owned() },
        made_by: "corp:sam".to_owned(),
        made_at: "2026-03-01T12:30:00Z".parse().unwrap(),
        looked_through: 3,
        removed: Vec::new(),
        records: lines(1),
        contents: BTreeMap::new(),
        bundles: [(source.digest().to_string(), serde_json::to_value(&source).unwrap())].into(),
    };
    let keys: Vec<String> = log.keys().all().iter().map(ToString::to_string).collect();
    let mut files = pack::content(&evidence, &keys);
    let digest = pack::manifest(&mut files);
    append(&log, &[event(4, EventType::EvidenceGiven, &digest)]);
    let given = lines(3).remove(0);
    let proofs = reader.prove_all(&[1, 2, 3]).unwrap().unwrap();
    let proofs = proofs.iter().map(|proof| (proof.seq, proof.to_string())).collect();
    let archive = pack::archive(files, &EvidenceProof { given, proofs }).unwrap();
    (archive, log.keys().clone())
}

/// The archive with other files.
fn packed(files: &Files) -> Vec<u8> {
    let none =
        EvidenceProof { given: EventLine { seq: 3, json: String::new() }, proofs: Vec::new() };
    let mut none = none;
    none.given.json = String::from_utf8_lossy(&files[&pack::record(3)]).into_owned();
    pack::archive(files.clone(), &none).unwrap()
}

#[test]
fn a_sound_pack_is_proved_and_says_what_policy_said() {
    let home = tempfile::tempdir().unwrap();
    let (archive, keys) = sound(home.path());
    let shown = verify(&archive, &keys).unwrap();
    assert_eq!((shown.records, shown.bundles, shown.given.seq), (2, 1, 3));
    assert_eq!(shown.body.policies[0].text, POLICY.trim());
    let other = tempfile::tempdir().unwrap();
    let (_, others) = sound(other.path());
    assert!(verify(&archive, &others).is_err());
}

/// `PORTCULLIS_SOAK` of 20 or more changes every byte, every fifth without.
#[test]
fn k01_every_changed_byte_of_a_pack_is_found_or_changes_nothing_of_what_it_says() {
    let home = tempfile::tempdir().unwrap();
    let (archive, keys) = sound(home.path());
    let files = pack::read(&archive).unwrap();
    let soak: usize =
        std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut changed = 0;
    for place in (0..archive.len()).step_by(20_usize.div_ceil(soak).min(5)) {
        let mut wrong = archive.clone();
        wrong[place] ^= 1 << (place % 8);
        // The archive has times and flags of its own beside its files.
        let same = pack::read(&wrong).is_ok_and(|read| read == files);
        assert!(same || verify(&wrong, &keys).is_err(), "byte {place}");
        changed += usize::from(!same);
    }
    assert!(changed * 10 > archive.len() / 5, "{changed} changes only");
    // Behind the archive's own checksums, too: in every file, with a checksum that fits.
    for (name, content) in &files {
        for place in (0..content.len()).step_by(content.len() / 16 + 1) {
            let mut wrong = files.clone();
            wrong.get_mut(name).unwrap()[place] ^= 2;
            assert!(verify(&packed(&wrong), &keys).is_err(), "byte {place} of {name}");
        }
    }
}

#[test]
fn k02_what_is_left_out_put_in_or_exchanged_is_found() {
    let home = tempfile::tempdir().unwrap();
    let (archive, keys) = sound(home.path());
    let files = pack::read(&archive).unwrap();
    verify(&packed(&files), &keys).unwrap();
    for name in files.keys().filter(|name| **name != pack::record(3)) {
        let mut wrong = files.clone();
        wrong.remove(name);
        assert!(verify(&packed(&wrong), &keys).is_err(), "without {name}");
    }
    for name in ["more.txt", "records/000000000009.json", "bundles/sha256-0.json"] {
        let mut wrong = files.clone();
        wrong.insert(name.to_owned(), b"{}".to_vec());
        assert!(verify(&packed(&wrong), &keys).is_err(), "with {name}");
    }
    let (one, two) = (pack::record(1), pack::record(2));
    let mut wrong = files.clone();
    let (first, second) = (files[&one].clone(), files[&two].clone());
    wrong.insert(one, second);
    wrong.insert(two, first);
    assert!(verify(&packed(&wrong), &keys).is_err(), "records exchanged");
    // A document that says something else, with a manifest that fits it.
    let mut wrong = files.clone();
    let text =
        String::from_utf8(files[JSON].clone()).unwrap().replace("until later", "until never");
    wrong.insert(JSON.to_owned(), text.into_bytes());
    let kept: Files = wrong
        .iter()
        .filter(|(name, _)| {
            !name.starts_with("proofs/")
                && ![MANIFEST, CHECKPOINT].contains(&name.as_str())
                && **name != pack::record(3)
        })
        .map(|(name, content)| (name.clone(), content.clone()))
        .collect();
    wrong.insert(MANIFEST.to_owned(), pack::manifest_of(kept.iter()).into_bytes());
    assert!(verify(&packed(&wrong), &keys).unwrap_err().contains("not the one that was given"));
}

#[test]
fn k13_content_that_its_record_does_not_commit_to_proves_nothing() {
    let opening =
        Opening { salt: Base64Url(vec![7; 32]), content: "{\"body\":{\"size\":1}}".into() };
    let line = |seq, commitment: &str| EventLine {
        seq,
        json: format!(
            "{{\"content\":{{\"commitment\":\"{commitment}\",\"key\":\"k\",\"parts\":\"body\"}}}}"
        ),
    };
    let records = [line(4, &opening.commitment()), line(5, "sha256:00")];
    let of = |seq, opening: &Opening| {
        contents(&[(pack::kept(seq), serde_json::to_vec(opening).unwrap())].into(), &records)
    };
    assert_eq!(of(4, &opening).unwrap(), [(4, opening.clone())].into());
    assert!(of(5, &opening).unwrap_err().contains("is not what record 5 commits to"));
    assert!(of(6, &opening).unwrap_err().contains("is of no record"));
    let other = Opening { content: "{\"body\":{\"size\":2}}".into(), ..opening.clone() };
    assert!(of(4, &other).is_err(), "another content");
    let other = Opening { salt: Base64Url(vec![8; 32]), ..opening };
    assert!(of(4, &other).is_err(), "another salt");
}

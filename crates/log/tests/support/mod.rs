//! A log in a temporary directory, and attempts to put into it.

#![allow(dead_code, unused_imports, reason = "every test binary uses a part of it")]

mod attempts;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use portcullis_log::{Finding, Log, LogError, LogOptions, Reader, Verified, verify};
use portcullis_model::{Clock, Entropy, Event, EventId, EventType};

pub(crate) use self::attempts::{attempt, noon, on_core, outcome};

pub(crate) const NAME: &str = "gate.test/audit";

/// Numbers that repeat from run to run.
#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0.fetch_add(37, Ordering::Relaxed).to_le_bytes()[0];
        }
    }
}

/// A clock that stands.
#[derive(Debug)]
pub(crate) struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        noon()
    }
}

pub(crate) fn options(directory: &Path) -> LogOptions {
    LogOptions {
        directory: directory.to_owned(),
        name: NAME.to_owned(),
        entropy: Arc::new(Counting::default()),
        clock: Arc::new(Standing),
        checkpoint_every: Duration::from_secs(1),
        most: None,
    }
}

/// The same, drawing another key.
pub(crate) fn options_for_another_key(directory: &Path) -> LogOptions {
    LogOptions { entropy: Arc::new(Counting(AtomicU64::new(11))), ..options(directory) }
}

pub(crate) fn open(directory: &Path) -> Log {
    Log::open(&options(directory)).unwrap()
}

pub(crate) fn event(id: u128) -> Event {
    Event::new(EventId::from_bits(id), Standing.now(), EventType::GrantStarted)
}

/// A log of `count` events in `home`, closed in good order.
pub(crate) fn small_log(home: &Path, count: u128) {
    let log = open(home);
    let handle = log.handle();
    on_core(async {
        let pending: Vec<_> = (1..=count).map(|id| handle.append(&event(id))).collect();
        for answer in pending {
            answer.await.unwrap();
        }
    });
}

/// All entries, parsed.
pub(crate) fn entries(home: &Path) -> Vec<serde_json::Value> {
    let reader = Reader::open(home.join("log")).unwrap();
    let all = reader.entries(0, usize::MAX).unwrap();
    all.iter().map(|entry| serde_json::from_str(&entry.json).unwrap()).collect()
}

pub(crate) fn verifier_key(home: &Path) -> String {
    fs::read_to_string(home.join("log.pub")).unwrap()
}

pub(crate) fn verified(home: &Path, held: Option<&str>) -> Result<Verified, Finding> {
    verify(&home.join("log"), &verifier_key(home), held)
}

pub(crate) fn checkpoint(home: &Path) -> String {
    fs::read_to_string(home.join("log/checkpoint")).unwrap()
}

/// Every file below `directory`.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

pub(crate) fn error_of(opened: Result<Log, LogError>) -> String {
    opened.map(|_| ()).unwrap_err().to_string()
}

/// The entries of a bundle.
pub(crate) fn split(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (entry, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length)));
        entries.push(entry.to_vec());
        rest = tail;
    }
    entries
}

/// The bundle of entries.
pub(crate) fn join(entries: &[Vec<u8>]) -> Vec<u8> {
    let prefixed = entries.iter().map(|entry| {
        let length = u16::try_from(entry.len()).unwrap().to_be_bytes();
        [&length[..], entry].concat()
    });
    prefixed.collect::<Vec<_>>().concat()
}

/// Goes on with the log in `home`, by events with these ids.
pub(crate) fn grow(home: &Path, ids: std::ops::RangeInclusive<u128>) {
    let log = open(home);
    let handle = log.handle();
    on_core(async {
        for id in ids {
            handle.append(&event(id)).await.unwrap();
        }
    });
}

/// What was written to a journal's file. Its blocks are there from the beginning: behind the frames are zeros.
pub(crate) fn frames(file: &Path) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
}

//! The process dies at some moment: nothing that was promised is lost, nothing is there twice.

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
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis_log::{HealthState, Log};
use portcullis_model::{EventId, RecordLevel, RequestId};
use serde_json::Value;
use support::{
    attempt, checkpoint, copy, entries, event, frames, on_core, open, options, outcome, small_log,
    verified,
};

/// Where a child process works; set by the test that starts it.
const CHILD_HOME: &str = "PORTCULLIS_LOG_TEST_HOME";

/// What a killed process leaves: attempts 0 to 9, written and acknowledged, of which the even ones
/// have their outcome; none of them in the log.
fn killed_with_ten_attempts() -> tempfile::TempDir {
    for _ in 0..20 {
        let left = copied_with_ten_attempts();
        if entries(left.path()).is_empty() {
            return left;
        }
        // The sequencer came first: the disk is busy.
    }
    panic!("sequenced and signed before the copy was made, every time");
}

fn copied_with_ten_attempts() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let left = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        for n in 0..10 {
            let level = RecordLevel::Strict;
            journal.intent(&attempt(n, "/v1"), level).unwrap().await.unwrap();
            if n % 2 == 0 {
                journal.outcome(RequestId::from_bits(n), &outcome(201));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        copy(home.path(), left.path()).unwrap();
    });
    left
}

fn journal_file(home: &Path) -> PathBuf {
    home.join("journal/core-0/00000000000000000000.frames")
}

fn request_of(entry: &Value) -> Option<u128> {
    Some(entry["request"].as_str()?.parse::<RequestId>().unwrap().to_bits())
}

#[test]
fn intents_without_an_outcome_become_entries_that_say_unknown() {
    let home = killed_with_ten_attempts();
    drop(open(home.path()));
    let entries = entries(home.path());
    assert_eq!(entries.len(), 10);
    for entry in &entries {
        let even = request_of(entry).unwrap().is_multiple_of(2);
        assert_eq!(entry["status"] == 201, even, "{entry}");
        assert_eq!(entry["outcome"] == "unknown", !even, "{entry}");
    }
    verified(home.path(), None).unwrap();

    drop(open(home.path()));
    assert_eq!(support::entries(home.path()).len(), 10, "opening again added entries");
}

#[test]
fn a_torn_last_frame_loses_that_frame_only() {
    let home = killed_with_ten_attempts();
    let file = fs::OpenOptions::new().write(true).open(journal_file(home.path())).unwrap();
    let length = frames(&journal_file(home.path())).len() as u64;
    file.set_len(length - 5).unwrap();
    drop(open(home.path()));
    let requests: Vec<_> = entries(home.path()).iter().filter_map(request_of).collect();
    let mut sorted = requests.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..9).collect::<Vec<_>>());
    assert_eq!(entries(home.path()).len(), 9);
    verified(home.path(), None).unwrap();
}

#[test]
fn a_torn_frame_in_the_middle_is_on_record_and_hides_nothing_behind_it() {
    let home = killed_with_ten_attempts();
    let path = journal_file(home.path());
    let mut bytes = fs::read(&path).unwrap();
    // The text of the third intent, that of request 2.
    let text = RequestId::from_bits(2).to_string();
    let place = bytes.windows(text.len()).position(|part| part == text.as_bytes()).unwrap();
    bytes[place..place + 40].fill(0);
    fs::write(&path, bytes).unwrap();
    drop(open(home.path()));
    let entries = entries(home.path());
    let damage: Vec<_> = entries.iter().filter(|e| e["type"] == "journal_damaged").collect();
    assert_eq!(damage.len(), 1, "{entries:?}");
    assert!(damage[0]["detail"].as_str().unwrap().contains("core 0"));
    let mut requests: Vec<_> = entries.iter().filter_map(request_of).collect();
    requests.sort_unstable();
    assert_eq!(requests, [0, 1, 3, 4, 5, 6, 7, 8, 9]);
    verified(home.path(), None).unwrap();
}

#[test]
fn an_open_intent_survives_commits_and_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let left = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        for n in [1, 2] {
            journal.intent(&attempt(n, "/slow"), RecordLevel::Standard).unwrap().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        for id in 1..=3 {
            handle.append(&event(id)).await.unwrap();
        }
        copy(home.path(), left.path()).unwrap();
        journal.outcome(RequestId::from_bits(1), &outcome(200));
    });
    drop(log);
    // Without the crash: the outcome came late, the other one never.
    let lived = entries(home.path());
    assert_eq!(lived.len(), 4);
    assert_eq!(lived[3]["status"], 200);
    drop(open(home.path()));
    assert_eq!(entries(home.path())[4]["outcome"], "unknown");
    // With the crash: neither came.
    drop(open(left.path()));
    let died = entries(left.path());
    assert_eq!(died.len(), 5);
    assert_eq!((&died[3]["outcome"], &died[4]["outcome"]), (&"unknown".into(), &"unknown".into()));
    verified(home.path(), None).unwrap();
    verified(left.path(), None).unwrap();
}

#[test]
fn a_crash_after_the_tiles_and_before_the_commit_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 250);
    let before = tempfile::tempdir().unwrap();
    copy(home.path(), before.path()).unwrap();
    for more in [253, 700] {
        small_log(home.path(), more);
    }
    // Every tile of the later process stays, and nothing says that they count.
    copy(before.path(), home.path()).unwrap();
    assert!(home.path().join("log/tile/entries/001").exists());
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        // Several at once, so that not every unfinished tile of old is overwritten.
        for batch in 0..3_u128 {
            let ids = 1_000 + batch * 4..1_004 + batch * 4;
            let pending: Vec<_> = ids.map(|id| handle.append(&event(id))).collect();
            for answer in pending {
                answer.await.unwrap();
            }
            verified(home.path(), None).unwrap();
        }
    });
    drop(log);
    assert_eq!(verified(home.path(), None).unwrap().size, 262);
    assert_eq!(entries(home.path())[250]["id"], event(1_000).id.to_string());
}

#[test]
fn a_crash_between_the_commit_and_its_publication_is_made_up_for() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 3);
    let old = checkpoint(home.path());
    small_log(home.path(), 5);
    let new = checkpoint(home.path());
    fs::write(home.path().join("log/checkpoint"), old).unwrap();
    drop(open(home.path()));
    assert_eq!(checkpoint(home.path()), new);
}

#[test]
fn a_damaged_right_edge_does_not_open() {
    for file in ["log/tile/entries/000.p/5", "log/tile/0/000.p/5", "committed"] {
        let home = tempfile::tempdir().unwrap();
        small_log(home.path(), 5);
        let path = home.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let message = support::error_of(Log::open(&options(home.path())));
        assert!(message.contains("is damaged"), "{message}");
    }
}

/// The body of the child of the next test: appends for ever, says what was acknowledged.
#[test]
fn child_that_is_killed() {
    let Some(home) = std::env::var_os(CHILD_HOME) else { return };
    let first: u128 = std::env::var("FIRST").unwrap().parse().unwrap();
    let log = open(Path::new(&home));
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        for n in first.. {
            let level = if n % 50 == 0 { RecordLevel::Strict } else { RecordLevel::Standard };
            let recorded = journal.intent(&attempt(n, "/v1/refunds"), level).unwrap();
            recorded.await.unwrap();
            println!("request {n}");
            journal.outcome(RequestId::from_bits(n), &outcome(200));
            if n % 200 == 0 {
                handle.append(&event(n)).await.unwrap();
                println!("event {n}");
            }
        }
    });
}

#[test]
fn k10_kill_9_under_load_loses_and_doubles_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(String, u128)> = Vec::new();
    for round in 0..4_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD_HOME, home.path())
            .env("FIRST", (u128::from(round) * 1_000_000 + 1).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (seen, count) = (Arc::new(AtomicUsize::new(0)), acknowledged.len());
        let counter = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines
                .filter_map(|line| {
                    let (what, number) = line.split_once(' ')?;
                    counter.fetch_add(1, Ordering::Relaxed);
                    Some((what.to_owned(), number.parse().ok()?))
                })
                .collect::<Vec<(String, u128)>>()
        });
        std::thread::sleep(Duration::from_millis(900 + 370 * round));
        // On a slow disk it takes longer until there is something to lose.
        for _ in 0..600 {
            if count + seen.load(Ordering::Relaxed) > 500 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(reader.join().unwrap());
    }
    drop(open(home.path()));
    let mut found: Vec<(String, u128)> = entries(home.path())
        .iter()
        .map(|entry| {
            let event = || entry["id"].as_str().unwrap().parse::<EventId>().unwrap().to_bits();
            request_of(entry)
                .map_or_else(|| ("event".to_owned(), event()), |id| ("request".to_owned(), id))
        })
        .collect();
    found.sort_unstable();
    let all = found.len();
    found.dedup();
    assert_eq!(found.len(), all, "something is in the log twice");
    assert!(acknowledged.len() > 400, "only {} acknowledged", acknowledged.len());
    for promised in &acknowledged {
        assert!(found.binary_search(promised).is_ok(), "{promised:?} is lost");
    }
    verified(home.path(), None).unwrap();
}

/// The body of the child of the next test: writes until the file size limit refuses, and again when it
/// does not any more.
#[test]
fn child_that_may_not_write() {
    let Some(home) = std::env::var_os(CHILD_HOME) else { return };
    let log = open(Path::new(&home));
    let handle = log.handle();
    let health = handle.health();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        let mut next = 0;
        for round in 0..3 {
            // The journal goes on in the same file.
            may_write(&(65_536 * (round + 1)).to_string());
            // One is forwarded, and has its outcome while nothing can be written.
            journal.intent(&attempt(next, "/"), RecordLevel::Strict).unwrap().await.unwrap();
            let forwarded = next;
            while health.is_working() {
                next += 1;
                let Ok(recorded) = journal.intent(&attempt(next, "/"), RecordLevel::Standard)
                else {
                    break;
                };
                if recorded.await.is_ok() {
                    println!("acknowledged {next}");
                }
                journal.outcome(RequestId::from_bits(next), &outcome(200));
            }
            assert!(matches!(health.state(), HealthState::Stalled(_)), "{:?}", health.state());
            journal.outcome(RequestId::from_bits(forwarded), &outcome(299));
            println!("acknowledged {forwarded}");
            let again = journal.intent(&attempt(u128::MAX, "/"), RecordLevel::Standard);
            assert!(again.is_err(), "a stalled journal accepted another intent");
            assert!(journal.refused(&attempt(u128::MAX, "/"), &outcome(403)).is_err());
            assert!(handle.append(&event(1 + round)).await.is_err());
            may_write("unlimited");
            eventually(|| health.is_working()).await;
            handle.append(&event(1 + round)).await.unwrap();
            next += 1;
        }
        assert_eq!(health.stalls(), 3);
        eventually(|| answered(Path::new(&home), 299) == 3).await;
    });
    drop(log);
}

/// Sets the size to which files of this process may grow.
fn may_write(limit: &str) {
    let pid = std::process::id();
    let set = Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--fsize={limit}:unlimited")])
        .status();
    assert!(set.unwrap().success());
}

async fn eventually(what: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen within thirty seconds");
}

fn answered(home: &Path, status: u64) -> usize {
    entries(home).iter().filter(|entry| entry["status"] == status).count()
}

#[test]
fn k09_a_full_disk_refuses_goes_on_by_itself_and_loses_and_doubles_nothing() {
    let home = tempfile::tempdir().unwrap();
    // With the signal ignored, a write beyond the limit fails, as it does on a full disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["child_that_may_not_write", "--exact", "--nocapture"])
        .env(CHILD_HOME, home.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let promised: Vec<u128> =
        text.lines().filter_map(|line| line.split_once("acknowledged ")?.1.parse().ok()).collect();
    assert!(promised.len() > 30, "{text}");

    drop(open(home.path()));
    let entries = entries(home.path());
    let mut found: Vec<u128> = entries.iter().filter_map(request_of).collect();
    let all = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), all, "an attempt is in the log twice");
    for request in &promised {
        assert!(found.binary_search(request).is_ok(), "attempt {request} is lost");
    }
    assert!(found.binary_search(&u128::MAX).is_err(), "what was refused is on record");
    assert_eq!(entries.iter().filter(|entry| entry["type"] == "grant_started").count(), 3);
    assert!(entries.iter().all(|entry| entry["type"] != "journal_damaged"));
    verified(home.path(), None).unwrap();
}

#[test]
fn a_crash_on_a_file_that_is_written_again_brings_nothing_old_back() {
    let home = tempfile::tempdir().unwrap();
    let left = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    let path = "/x".repeat(10_000);
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        let write = async |numbers: std::ops::Range<u128>| {
            for n in numbers {
                let recorded = journal.intent(&attempt(n, &path), RecordLevel::Standard).unwrap();
                recorded.await.unwrap();
                journal.outcome(RequestId::from_bits(n), &outcome(200));
            }
        };
        write(0..900).await;
        // Once what was written is in the log, the next commit frees its files.
        let mut id = 0;
        while entries(home.path()).iter().filter_map(request_of).count() < 900 {
            id += 1;
            handle.append(&event(id)).await.unwrap();
        }
        for last in 1..=2 {
            handle.append(&event(id + last)).await.unwrap();
        }
        write(900..1400).await;
        copy(home.path(), left.path()).unwrap();
    });
    drop(log);
    let newest = fs::read_dir(left.path().join("journal/core-0")).unwrap();
    let newest = newest.map(|entry| entry.unwrap().path()).max().unwrap();
    let size = newest.metadata().unwrap().len();
    assert!(size > 8 << 20, "{size} bytes: it is not one that was written before");
    drop(open(left.path()));
    let entries = entries(left.path());
    let requests: Vec<_> = entries.iter().filter_map(request_of).collect();
    assert_eq!(requests, (0..1400).collect::<Vec<_>>());
    assert!(entries.iter().all(|entry| entry["type"] != "journal_damaged"));
    verified(left.path(), None).unwrap();
}

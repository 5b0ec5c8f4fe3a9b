//! What goes in comes out: levels, pairs, order, events once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it does"
)]

mod support;

use portcullis_log::{HealthState, Reader, RecordBroken};
use portcullis_model::{Clock, EventId, RecordLevel, RefusalsCounted, RequestId};
use support::{
    Standing, attempt, checkpoint, entries, event, frames, on_core, open, options, outcome,
    small_log, verified,
};

#[test]
fn an_intent_and_its_outcome_become_one_entry() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        for (request, level) in [(1, RecordLevel::Standard), (2, RecordLevel::Strict)] {
            journal.intent(&attempt(request, "/v1/\"quoted\""), level).unwrap().await.unwrap();
            journal.outcome(RequestId::from_bits(request), &outcome(200));
        }
        journal.refused(&attempt(3, "/"), &outcome(403)).unwrap();
    });
    drop(log);

    let entries = entries(home.path());
    let statuses: Vec<_> = entries.iter().map(|e| e["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 403]);
    assert_eq!(entries[0]["path"], "/v1/\"quoted\"");
    assert_eq!(entries[1]["seq"], 1);
    assert_eq!(verified(home.path(), None).unwrap().size, 3);
}

#[test]
fn refusals_that_are_not_listed_are_an_entry_with_their_number() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        let (since, until) = (Standing.now(), Standing.now() + jiff::SignedDuration::from_secs(1));
        let counted = RefusalsCounted::new(EventId::from_bits(5), 150, since, until);
        journal.counted(&counted).unwrap();
    });
    drop(log);

    let entries = entries(home.path());
    assert_eq!(entries[0]["type"], "refusals_counted");
    assert_eq!((&entries[0]["count"], &entries[0]["class"]), (&150.into(), &4002.into()));
    assert_eq!(entries[0]["since"], "2026-03-01T12:00:00Z");
    assert_eq!(entries[0]["time"], "2026-03-01T12:00:01Z");
    assert_eq!(verified(home.path(), None).unwrap().size, 1);
}

#[test]
fn a_thousand_attempts_of_two_cores_are_all_there_in_each_cores_order() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let cores = [0_usize, 1].map(|core| {
        let handle = log.handle();
        std::thread::spawn(move || {
            on_core(async {
                let journal = handle.open_journal(core).unwrap();
                for n in 0..500_u128 {
                    let request = (core as u128) * 1_000 + n;
                    let level = RecordLevel::Standard;
                    journal.intent(&attempt(request, "/"), level).unwrap().await.unwrap();
                    journal.outcome(RequestId::from_bits(request), &outcome(200));
                }
            });
        })
    });
    for core in cores {
        core.join().unwrap();
    }
    drop(log);

    let requests: Vec<RequestId> = entries(home.path())
        .iter()
        .map(|entry| entry["request"].as_str().unwrap().parse().unwrap())
        .collect();
    for core in [0, 1] {
        let of_core: Vec<u128> = requests
            .iter()
            .map(|request| request.to_bits())
            .filter(|bits| bits / 1_000 == core)
            .map(|bits| bits % 1_000)
            .collect();
        assert_eq!(of_core, (0..500).collect::<Vec<_>>(), "core {core}");
    }
    assert_eq!(verified(home.path(), None).unwrap().size, 1_000);
}

#[test]
fn all_that_is_ready_in_one_tick_shares_one_write() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        let recorded: Vec<_> = (0..64)
            .map(|n| journal.intent(&attempt(n, "/"), RecordLevel::Standard).unwrap())
            .collect();
        let file = home.path().join("journal/core-0/00000000000000000000.frames");
        let length = || frames(&file).len();
        assert_eq!(length(), 0, "written before the tick ended");
        let mut recorded = recorded.into_iter();
        recorded.next().unwrap().await.unwrap();
        let written = length();
        assert!(written > 0);
        for rest in recorded {
            rest.await.unwrap();
        }
        assert_eq!(length(), written);
    });
}

#[test]
fn entries_appear_under_a_checkpoint_by_themselves() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        journal.refused(&attempt(1, "/"), &outcome(403)).unwrap();
        let begun = std::time::Instant::now();
        // There is nothing to read before the first checkpoint.
        let size = || Reader::open(log.directory()).and_then(|reader| reader.size()).unwrap_or(0);
        while size() == 0 && begun.elapsed() < std::time::Duration::from_secs(30) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(size(), 1);
        assert_eq!(handle.health().state(), HealthState::Working);
    });
}

#[test]
fn constant_load_is_not_mistaken_for_being_behind() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        let begun = std::time::Instant::now();
        let mut request = 0;
        while begun.elapsed() < std::time::Duration::from_secs(7) {
            for _ in 0..16 {
                request += 1;
                let intent = journal.intent(&attempt(request, "/"), RecordLevel::Standard);
                intent.expect("the log keeps up").await.unwrap();
                journal.outcome(RequestId::from_bits(request), &outcome(200));
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn an_event_that_is_appended_twice_is_there_once_also_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 5);
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        assert_eq!(handle.append(&event(2)).await.unwrap(), 1);
        let twice = [handle.append(&event(9)), handle.append(&event(9))];
        for answer in twice {
            assert_eq!(answer.await.unwrap(), 5);
        }
    });
    drop(log);
    assert_eq!(entries(home.path()).len(), 6);
    assert_eq!(verified(home.path(), None).unwrap().size, 6);
}

#[test]
fn an_appended_event_is_signed_when_append_resolves() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let place = handle.append(&event(1)).await.unwrap();
        let reader = Reader::open(log.directory()).unwrap();
        let entry = reader.entry(place).unwrap().unwrap();
        assert!(entry.json.starts_with("{\"seq\":0,\"id\":\""), "{}", entry.json);
        verified(home.path(), None).unwrap();
    });
}

#[test]
fn a_path_longer_than_a_frame_is_recorded_in_part() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    let path_sent = "/ä".repeat(40_000);
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        journal.refused(&attempt(1, &path_sent), &outcome(403)).unwrap();
    });
    drop(log);
    let entries = entries(home.path());
    let path = entries[0]["path"].as_str().unwrap();
    assert!(path_sent.starts_with(path) && path.len() > 1_000, "{} bytes", path.len());
}

#[test]
fn a_closed_log_refuses() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        drop(log);
        let refused = journal.intent(&attempt(1, "/"), RecordLevel::Standard);
        assert_eq!(refused.map(|_| ()), Err(RecordBroken));
        assert!(handle.append(&event(1)).await.is_err());
    });
}

#[test]
fn k09_a_tree_that_cannot_be_written_closes_the_gate() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let handle = log.handle();
    std::fs::write(home.path().join("log/tile"), "in the way").unwrap();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        assert!(handle.append(&event(1)).await.is_err());
        assert!(matches!(handle.health().state(), HealthState::Broken(_)));
        let refused = journal.intent(&attempt(1, "/"), RecordLevel::Strict);
        assert_eq!(refused.map(|_| ()), Err(RecordBroken));
    });
    drop(log);
    std::fs::remove_file(home.path().join("log/tile")).unwrap();
    small_log(home.path(), 1);
    assert_eq!(entries(home.path()).len(), 1);
}

#[test]
fn a_second_process_cannot_open_the_same_log() {
    let home = tempfile::tempdir().unwrap();
    let _log = open(home.path());
    let second = portcullis_log::Log::open(&options(home.path()));
    assert!(support::error_of(second).contains("in use"));
}

#[test]
fn a_log_of_three_levels_reads_and_verifies() {
    let home = tempfile::tempdir().unwrap();
    small_log(home.path(), 300);
    let early = checkpoint(home.path());
    let log = open(home.path());
    let handle = log.handle();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        for n in 0..66_000 {
            journal.refused(&attempt(n, "/v1/refunds"), &outcome(403)).unwrap();
            if n % 500 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            }
        }
    });
    drop(log);
    let verified = verified(home.path(), Some(&early)).unwrap();
    assert_eq!(verified.size, 66_300);
    assert_eq!(verified.time, Some("2026-03-01T12:00:00Z".parse().unwrap()));
    let reader = Reader::open(home.path().join("log")).unwrap();
    let newest = reader.newest(3).unwrap();
    assert_eq!(newest.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [66_297, 66_298, 66_299]);
    let crossing = reader.entries(254, 5).unwrap();
    assert_eq!(crossing.iter().map(|e| e.seq).collect::<Vec<_>>(), [254, 255, 256, 257, 258]);
    assert!(reader.entry(66_300).unwrap().is_none());
    let left = std::fs::read_dir(home.path().join("journal/core-0")).unwrap().count();
    assert_eq!(left, 0, "journal files stay although their frames are in the log");
}

#[path = "../../tests/support/attempts.rs"]
mod attempts;

use std::{collections::BTreeSet, path::Path, rc::Rc, sync::Arc, time::Duration};

use portcullis_model::{RecordLevel, RequestId};

use self::attempts::{attempt, on_core, outcome};
use super::{
    CoreJournal, SyncThread,
    frame::{self, Found, Kind},
    segments::Segments,
};
use crate::{Health, RecordBroken};

struct Fixture {
    health: Arc<Health>,
    segments: Arc<Segments>,
    journal: Rc<CoreJournal>,
    _sync: SyncThread,
}

fn fixture(directory: &Path) -> Fixture {
    let health = Arc::new(Health::new(Duration::from_secs(1)));
    let sync = SyncThread::start(Arc::clone(&health)).unwrap();
    let segments = Arc::new(Segments::create(directory, 0, 0).unwrap());
    let journal =
        CoreJournal::start(Arc::clone(&segments), sync.handle(), Arc::clone(&health)).unwrap();
    Fixture { health, segments, journal, _sync: sync }
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not happen within thirty seconds");
}

#[test]
fn a_strict_intent_resolves_only_when_it_is_on_stable_storage() {
    let home = tempfile::tempdir().unwrap();
    on_core(async {
        let core = fixture(&home.path().join("core-0"));
        for n in 0..20 {
            core.journal.intent(&attempt(n, "/"), RecordLevel::Strict).unwrap().await.unwrap();
            assert_eq!(core.segments.synced(), core.segments.written());
        }
    });
}

#[test]
fn a_standard_intent_is_synced_soon_although_nobody_waits() {
    let home = tempfile::tempdir().unwrap();
    on_core(async {
        let core = fixture(&home.path().join("core-0"));
        for n in 0..3 {
            core.journal.intent(&attempt(n, "/"), RecordLevel::Standard).unwrap().await.unwrap();
            until(|| core.segments.synced() == core.segments.written()).await;
        }
    });
}

#[test]
fn an_outcome_without_company_is_written_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    on_core(async {
        let core = fixture(&home.path().join("core-0"));
        core.journal.outcome(RequestId::from_bits(1), &outcome(200));
        assert_eq!(core.segments.written(), 0);
        until(|| core.segments.written() > 0).await;
    });
}

/// Its writer would wait for the file system's own journal otherwise, at each sync.
#[test]
fn a_file_does_not_grow_while_it_is_written_to() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("core-0");
    on_core(async {
        let core = fixture(&directory);
        let length = || {
            let file = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap();
            file.metadata().unwrap().len()
        };
        let before = length();
        core.journal.intent(&attempt(1, "/"), RecordLevel::Strict).unwrap().await.unwrap();
        assert!((1..before).contains(&core.segments.written()));
        assert_eq!(length(), before);
    });
}

#[test]
fn l10_a_failed_sync_refuses_everybody_who_waits_and_is_never_tried_again() {
    let home = tempfile::tempdir().unwrap();
    on_core(async {
        let core = fixture(&home.path().join("core-0"));
        core.segments.lose_newest_file();
        let waiting: Vec<_> = (0..3)
            .map(|n| core.journal.intent(&attempt(n, "/"), RecordLevel::Strict).unwrap())
            .collect();
        for recorded in waiting {
            assert_eq!(recorded.await, Err(RecordBroken));
        }
        assert!(core.health.is_broken());
        assert_eq!(core.segments.synced(), 0);
        let later = core.journal.intent(&attempt(9, "/"), RecordLevel::Standard);
        assert_eq!(later.map(|_| ()), Err(RecordBroken));
    });
}

/// Reads on from `position`, and says which requests it finds there and where they end.
fn read_on(segments: &Segments, mut position: u64) -> (Vec<u128>, u64) {
    let (mut found, mut buffer) = (Vec::new(), Vec::new());
    while position < segments.written() {
        segments.read(position, 1 << 20, &mut buffer).unwrap();
        let mut at = 0;
        while let Found::Frame(frame, end) = frame::read(&buffer, position, at) {
            assert_eq!(frame.kind, Kind::Intent);
            found.push(frame.request);
            at = end;
        }
        assert!(at > 0, "no frame at {position}");
        position += at as u64;
    }
    (found, position)
}

#[test]
fn segments_rotate_at_whole_frames_and_are_written_again_when_they_are_in_the_log() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("core-0");
    on_core(async {
        let core = fixture(&directory);
        let path = "/x".repeat(10_000);
        let write = async |from: u128| {
            for n in from..from + 900 {
                let level = RecordLevel::Standard;
                core.journal.intent(&attempt(n, &path), level).unwrap().await.unwrap();
            }
            until(|| core.segments.synced() == core.segments.written()).await;
        };
        let names = || -> BTreeSet<_> {
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        write(0).await;
        let first = names();
        assert_eq!(first.len(), 3);
        let (found, position) = read_on(&core.segments, 0);
        assert_eq!(found, (0..900).collect::<Vec<_>>());

        core.segments.delete_below(position).unwrap();
        assert_eq!(names(), first, "two are kept to be written again, the core writes to one");
        write(900).await;
        assert_eq!(names().len(), 3, "a new file was made");
        assert_eq!(names().intersection(&first).count(), 1);
        let (found, position) = read_on(&core.segments, position);
        assert_eq!(found, (900..1800).collect::<Vec<_>>(), "old frames behind the new ones");

        core.segments.close();
        core.segments.delete_below(position).unwrap();
        assert!(names().is_empty());
    });
}

//! Retention and legal holds: what goes is on record first, once, and what is held stays.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use jiff::SignedDuration;
use portcullis_control::{
    ControlError, OpContext,
    keeping::{KeptSegment, NotRemoved, RecordKeeper, Retention},
    ports::{LogEntry, LogUnavailable},
};
use portcullis_model::{EventType, HoldScope, RemovalNote, RemovedRange, RequestId};
use portcullis_store::{Change, ContentChange, Store, StoredContent};

use crate::{
    memory_log::MemoryLog,
    world::{POLICIES, World, moment},
};

/// Entries of a segment here.
pub(crate) const SEGMENT: u64 = 8;
const DAYS: i64 = 400;

#[derive(Debug)]
pub(crate) struct Keeper {
    log: Arc<MemoryLog>,
    pub(crate) removed: Mutex<Vec<RemovedRange>>,
    /// The records that it was asked to do, in their order.
    asked: Mutex<Vec<u64>>,
    fails: AtomicBool,
    unshipped: AtomicBool,
    /// The first segment is not what was signed.
    overwritten: AtomicBool,
    /// No single entry can be read.
    unread: AtomicBool,
    /// Something is gone that no record speaks of.
    unexplained: AtomicBool,
    /// And it said so.
    refused: AtomicBool,
}

#[async_trait]
impl RecordKeeper for Keeper {
    async fn segments(&self) -> Result<Vec<KeptSegment>, LogUnavailable> {
        let count = self.log.events().len() as u64 / SEGMENT;
        let removed = self.removed.lock().unwrap();
        let there = (0..count).filter(|n| !removed.iter().any(|range| range.has(n * SEGMENT)));
        let stays = self.unshipped.load(Ordering::SeqCst).then_some("it is not shipped");
        let segment = |n| KeptSegment { from: n * SEGMENT, to: (n + 1) * SEGMENT, stays };
        Ok(there.map(segment).collect())
    }

    async fn entries(&self, from: u64, count: u64) -> Result<Vec<LogEntry>, LogUnavailable> {
        if from < SEGMENT && self.overwritten.load(Ordering::SeqCst) {
            return Err(LogUnavailable);
        }
        Ok(self.log.signed(from, usize::try_from(count).unwrap()))
    }

    async fn entry(&self, position: u64) -> Result<LogEntry, LogUnavailable> {
        let unread = self.unread.load(Ordering::SeqCst);
        let entry = self.log.signed(position, 1).pop();
        entry.filter(|_| !unread).ok_or(LogUnavailable)
    }

    async fn removed(&self) -> Result<Vec<RemovedRange>, LogUnavailable> {
        if self.unexplained.load(Ordering::SeqCst) {
            self.refused.store(true, Ordering::SeqCst);
            return Err(LogUnavailable);
        }
        Ok(self.removed.lock().unwrap().clone())
    }

    async fn digest(&self, from: u64, to: u64) -> Result<String, LogUnavailable> {
        Ok(format!("{from} to {to}"))
    }

    async fn remove(&self, position: u64) -> Result<(), NotRemoved> {
        self.asked.lock().unwrap().push(position);
        if self.fails.load(Ordering::SeqCst) {
            return Err(NotRemoved("the disk is away".into()));
        }
        let event = self.log.events().remove(usize::try_from(position).unwrap());
        *self.removed.lock().unwrap() = event.removal.unwrap().removed;
        Ok(())
    }
}

/// What keeps the record of `world` for 400 days, from its next start on.
pub(crate) fn keeps(world: &mut World) -> Arc<Keeper> {
    let keeper = Arc::new(Keeper {
        log: Arc::clone(&world.log),
        removed: Mutex::default(),
        asked: Mutex::default(),
        fails: AtomicBool::new(false),
        unshipped: AtomicBool::new(false),
        overwritten: AtomicBool::new(false),
        unread: AtomicBool::new(false),
        unexplained: AtomicBool::new(false),
        refused: AtomicBool::new(false),
    });
    world.retention = Some(Retention {
        after: Some(SignedDuration::from_hours(DAYS * 24)),
        policy: "400d".into(),
        keeper: Arc::clone(&keeper) as Arc<dyn RecordKeeper>,
    });
    keeper
}

/// A world whose record of today has two segments and more, and that keeps it for 400 days.
async fn old_world() -> (World, Arc<Keeper>) {
    let mut world = World::new().await;
    while world.log.events().len() < 2 * usize::try_from(SEGMENT).unwrap() {
        world.sign_in("ana", &["engineering"]).await;
    }
    let keeper = keeps(&mut world);
    world.restart(POLICIES).await;
    // The store follows the record up to here: later starts read what comes behind it.
    world.control().holding(0..0).await.unwrap();
    assert_eq!(world.log.count(EventType::RecordRemoved), 0, "it is of today");
    world.wait(SignedDuration::from_hours((DAYS + 1) * 24));
    (world, keeper)
}

fn notes(world: &World) -> Vec<RemovalNote> {
    world.log.events().into_iter().filter_map(|event| event.removal).map(|note| *note).collect()
}

async fn settled(world: &World, keeper: &Keeper) {
    world.until(|_| !keeper.removed.lock().unwrap().is_empty()).await;
}

async fn admin(world: &World) -> OpContext {
    world.sign_in("adm", &["admins"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_goes_and_is_on_record_before() {
    let (mut world, keeper) = old_world().await;
    keeper.fails.store(true, Ordering::SeqCst);
    world.restart(POLICIES).await;
    world.until(|_| !keeper.asked.lock().unwrap().is_empty()).await;
    let note = notes(&world).remove(0);
    assert_eq!((note.cause.as_str(), note.policy.as_str()), ("retention", "400d"));
    assert_eq!((note.now[0].from, note.now[0].to % SEGMENT), (0, 0));
    assert_eq!(note.now, note.removed);
    // It goes away before anything is removed: the next start does what is on record, and says nothing new.
    keeper.fails.store(false, Ordering::SeqCst);
    world.crash().await;
    settled(&world, &keeper).await;
    assert_eq!(world.log.count(EventType::RecordRemoved), 1);
    let asked = keeper.asked.lock().unwrap().clone();
    assert!(asked.len() >= 2 && asked.iter().all(|position| *position == asked[0]), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_cannot_be_removed_keeps_nothing_here() {
    let (mut world, keeper) = old_world().await;
    let commitment = "sha256:01".to_owned();
    let content = StoredContent {
        commitment: commitment.clone(),
        request: RequestId::from_bits(1),
        key: "k-1".into(),
        kept_at: "2026-11-22T10:00:00Z".parse().unwrap(),
        sealed: "sealed".into(),
    };
    let bind = ContentChange::Bind { commitment: commitment.clone(), seq: 1 };
    let changes = [ContentChange::Keep(content), bind];
    let changes = changes.map(|change| Change::Content(Box::new(change)));
    world.kept().commit(changes.into()).await.unwrap();
    let event = world.log.events()[1].id;
    keeper.fails.store(true, Ordering::SeqCst);
    world.restart(POLICIES).await;
    let begun = std::time::Instant::now();
    while world.kept().content(&commitment).await.unwrap().is_some() {
        assert!(begun.elapsed().as_secs() < 30, "it is still there");
        moment().await;
    }
    assert_eq!(world.kept().place_of_event(event).await.unwrap(), None);
    assert!(world.kept().removal_under_way().await.unwrap().is_some(), "it is not done");
    keeper.fails.store(false, Ordering::SeqCst);
    settled(&world, &keeper).await;
    assert_eq!(world.log.count(EventType::RecordRemoved), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_removal_speaks_for_those_before() {
    let (mut world, keeper) = old_world().await;
    world.restart(POLICIES).await;
    settled(&world, &keeper).await;
    while world.log.events().len() < 6 * usize::try_from(SEGMENT).unwrap() {
        world.sign_in("ben", &["engineering"]).await;
    }
    world.wait(SignedDuration::from_hours((DAYS + 1) * 24));
    world.restart(POLICIES).await;
    world.until(|world| world.log.count(EventType::RecordRemoved) == 2).await;
    let notes = notes(&world);
    assert_eq!(notes[1].removed.len(), 1, "they follow one another");
    assert_eq!(notes[1].removed[0].from, 0);
    assert_eq!(notes[1].now[0].from, notes[0].removed[0].to);
    assert_eq!(notes[1].removed[0].to, notes[1].now[0].to);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_or_not_shipped_stays() {
    let (mut world, keeper) = old_world().await;
    keeper.unshipped.store(true, Ordering::SeqCst);
    world.restart(POLICIES).await;
    let op = admin(&world).await;
    let scope = HoldScope { principal: Some("corp:ana".into()), ..HoldScope::default() };
    let nobody = world.sign_in("zoe", &["engineering"]).await;
    let denied = world.control().place_legal_hold(&nobody, scope.clone(), "mine").await;
    assert!(matches!(denied, Err(ControlError::Denied(_))), "{denied:?}");
    let denied = world.control().legal_holds(&nobody).await;
    assert!(matches!(denied, Err(ControlError::Denied(_))), "{denied:?}");
    for (scope, reason) in [(HoldScope::default(), "all"), (scope.clone(), " ")] {
        let invalid = world.control().place_legal_hold(&op, scope, reason).await;
        assert!(matches!(invalid, Err(ControlError::Invalid { .. })), "{invalid:?}");
    }
    let hold = world.control().place_legal_hold(&op, scope, "case 7").await.unwrap();
    // One entry, a range, and what nobody holds.
    let events = world.log.events();
    let is_ana =
        |at: &usize| events[*at].principal.as_ref().is_some_and(|who| &*who.id == "corp:ana");
    let of_ana = (0..events.len()).find(is_ana).unwrap() as u64;
    let other = (0..events.len()).find(|at| !is_ana(at)).unwrap() as u64;
    let control = world.control();
    let found = control.holding(of_ana..of_ana + 1).await.unwrap();
    assert_eq!(found.map(|hold| hold.id), Some(hold.id));
    assert!(control.holding(0..events.len() as u64).await.unwrap().is_some());
    assert!(control.holding(other..other + 1).await.unwrap().is_none());
    assert!(control.holding(of_ana..of_ana).await.unwrap().is_none());

    keeper.unshipped.store(false, Ordering::SeqCst);
    world.restart(POLICIES).await;
    let op = admin(&world).await;
    let released = world.control().release_legal_hold(&op, hold.id, "closed").await.unwrap();
    assert!(!released.is_in_force());
    let again = world.control().release_legal_hold(&op, hold.id, "closed").await;
    assert!(matches!(again, Err(ControlError::Conflict(_))), "{again:?}");
    assert!(world.control().holding(0..events.len() as u64).await.unwrap().is_none());
    world.until(|world| world.log.count(EventType::LegalHoldReleased) == 1).await;
    let before = world.log.events();
    let place = |kind| before.iter().position(|event| event.kind == kind).unwrap();
    world.restart(POLICIES).await;
    settled(&world, &keeper).await;
    let removed = world.log.events().iter().position(|it| it.kind == EventType::RecordRemoved);
    assert!(removed.unwrap() > place(EventType::LegalHoldPlaced));
    assert!(removed.unwrap() > place(EventType::LegalHoldReleased), "not while it was held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_as_it_was_signed_stays_and_the_rest_goes() {
    let (mut world, keeper) = old_world().await;
    keeper.overwritten.store(true, Ordering::SeqCst);
    world.restart(POLICIES).await;
    settled(&world, &keeper).await;
    let note = notes(&world).remove(0);
    assert_eq!(note.removed[0].from, SEGMENT, "the first stays");
    assert_eq!(note.now, note.removed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_while_a_gap_is_not_explained() {
    let (mut world, keeper) = old_world().await;
    keeper.unexplained.store(true, Ordering::SeqCst);
    world.restart(POLICIES).await;
    world.until(|_| keeper.refused.load(Ordering::SeqCst)).await;
    assert_eq!(world.log.count(EventType::RecordRemoved), 0);
    keeper.unexplained.store(false, Ordering::SeqCst);
    world.restart(POLICIES).await;
    settled(&world, &keeper).await;
    assert_eq!(world.log.count(EventType::RecordRemoved), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_is_what_was_signed_and_not_what_lies_there() {
    let (mut world, keeper) = old_world().await;
    keeper.unread.store(true, Ordering::SeqCst);
    world.restart(POLICIES).await;
    world.until(|world| world.log.count(EventType::RecordRemoved) == 1).await;
    let events = world.log.events();
    let at = events.iter().position(|event| event.kind == EventType::RecordRemoved).unwrap();
    let mut forged = events[at].clone();
    let signed = forged.removal.as_ref().unwrap().now.last().unwrap().to;
    let kept = events[usize::try_from(signed).unwrap()].id;
    assert!(world.kept().place_of_event(kept).await.unwrap().is_some());
    // Whoever can write files has all of it forgotten by what was to be removed.
    for range in &mut forged.removal.as_mut().unwrap().now {
        range.to = at as u64;
    }
    world.log.overwrite(at as u64, serde_json::to_string(&forged).unwrap());
    keeper.unread.store(false, Ordering::SeqCst);
    world.crash().await;
    settled(&world, &keeper).await;
    let begun = std::time::Instant::now();
    while world.kept().removal_under_way().await.unwrap().is_some() {
        assert!(begun.elapsed().as_secs() < 30, "it is not done");
        moment().await;
    }
    assert_eq!(world.kept().place_of_event(events[0].id).await.unwrap(), None);
    assert_eq!(world.kept().place_of_event(kept).await.unwrap(), Some(signed));
}

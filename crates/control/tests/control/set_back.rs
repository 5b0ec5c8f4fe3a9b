//! A store that is set back to a copy of before: what must stay stays, as the record says.

use jiff::SignedDuration;
use portcullis_control::ControlError;
use portcullis_model::{EventType, GrantId, HoldScope, LegalHold};
use portcullis_store::index::Index;

use crate::{
    erasing::{is_there, keep, record},
    retaining::{SEGMENT, keeps},
    world::{World, moment},
};

fn scope(principal: &str) -> HoldScope {
    HoldScope { principal: Some(principal.into()), ..HoldScope::default() }
}

async fn holds(world: &World) -> Vec<LegalHold> {
    let sam = world.sign_in("sam", &["auditors"]).await;
    world.control().legal_holds(&sam).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legal_holds_are_placed_and_released_again_as_the_record_says() {
    let mut world = World::new().await;
    let kim = world.sign_in("kim", &["admins"]).await;
    let place = async |world: &World, who: &str| {
        let op = world.later(&kim);
        world.control().place_legal_hold(&op, scope(who), "case 7").await.unwrap()
    };
    let (stays, goes) = (place(&world, "corp:ana").await, place(&world, "corp:ben").await);
    let copy = world.copy().await;
    let op = world.later(&kim);
    let released = world.control().release_legal_hold(&op, goes.id, "closed").await.unwrap();
    let since = place(&world, "corp:eve").await;
    let brief = place(&world, "corp:zoe").await;
    let brief = world.control().release_legal_hold(&op, brief.id, "a mistake").await.unwrap();
    let before = holds(&world).await;
    world.set_back(&copy).await;
    assert_eq!(holds(&world).await, before);
    assert_eq!(before.len(), 4);
    assert!([brief, since, released, stays].iter().all(|hold| before.contains(hold)), "{before:?}");
    // It stays so, and is not on record twice.
    world.crash().await;
    assert_eq!(holds(&world).await, before);
    assert_eq!(world.log.count(EventType::LegalHoldPlaced), 4);
    assert_eq!(world.log.count(EventType::LegalHoldReleased), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_since_the_copy_was_taken_is_neither_removed_nor_erased() {
    let mut world = World::new().await;
    let segment = usize::try_from(SEGMENT).unwrap();
    let kim = world.sign_in("kim", &["admins"]).await;
    let note = keep(&world, 1).await;
    let text = serde_json::to_string(&note).unwrap();
    let ana = "{\"type\":\"User\",\"id\":\"corp:ana\"}";
    let seq = world.log.attempt(format!("{{\"principal\":{ana},\"content\":{text}}}"));
    for (who, enough) in [("ana", 2 * segment), ("ben", 6 * segment)] {
        while world.log.events().len() < enough {
            world.sign_in(who, &["engineering"]).await;
        }
    }
    let copy = world.copy().await;
    world.control().place_legal_hold(&world.later(&kim), scope("corp:ana"), "7").await.unwrap();
    let keeper = keeps(&mut world);
    world.wait(SignedDuration::from_hours(401 * 24));
    world.set_back(&copy).await;
    world.until(|_| !keeper.removed.lock().unwrap().is_empty()).await;
    let kim = world.sign_in("kim", &["admins"]).await;
    let refused = world.control().erase_content(&kim, seq, "they asked").await;
    assert!(matches!(refused, Err(ControlError::Conflict(_))), "{refused:?}");
    assert!(is_there(&world, &note).await);
    let events = world.log.events();
    let of_ana = |at: &usize| {
        let id = events[*at].principal.as_ref().map(|who| who.id.to_string());
        *at as u64 == seq || id.as_deref() == Some("corp:ana")
    };
    let removed = keeper.removed.lock().unwrap().clone();
    let mut held = (0..events.len()).filter(of_ana);
    assert!(held.all(|at| !removed.iter().any(|range| range.has(at as u64))), "{removed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_erased_before_the_record_was_looked_through() {
    let mut world = World::new().await;
    let note = keep(&world, 1).await;
    let text = serde_json::to_string(&note).unwrap();
    let seq = world.log.attempt(format!("{{\"content\":{text}}}"));
    // Nobody can say what the record holds: it cannot be reached.
    world.log.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    world.crash().await;
    let held = world.control().holding(seq..seq + 1).await;
    assert!(matches!(held, Err(ControlError::Unavailable(_))), "{held:?}");
    world.log.broken.store(false, std::sync::atomic::Ordering::SeqCst);
    let begun = std::time::Instant::now();
    while world.control().holding(seq..seq + 1).await.is_err() {
        assert!(begun.elapsed().as_secs() < 30, "it is never looked through");
    }
    assert!(is_there(&world, &note).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_record_commits_to_stays_where_the_store_was_set_back() {
    let mut world = World::new().await;
    world.is_indexed = true;
    world.crash().await;
    let (recorded, lost) = (keep(&world, 1).await, keep(&world, 2).await);
    // Nobody has noted yet which record commits to it.
    let copy = world.copy().await;
    let seq = record(&world, 1, &recorded);
    let path = world.folder.path().join("index.db");
    let begun = std::time::Instant::now();
    loop {
        // While it is made, it is not there yet.
        if let Ok(index) = Index::open(&path).await {
            let next = index.covered().await.map(|covered| covered.next);
            index.close().await;
            if next.is_ok_and(|next| next > seq) {
                break;
            }
        }
        assert!(begun.elapsed().as_secs() < 30, "the index stays behind");
        moment().await;
    }
    world.wait(SignedDuration::from_secs(1));
    world.set_back(&copy).await;
    world.wait(SignedDuration::from_mins(61));
    while is_there(&world, &lost).await {
        assert!(begun.elapsed().as_secs() < 60, "it is still there");
        moment().await;
    }
    assert!(is_there(&world, &recorded).await);
}

/// The one grant of `name`, and the position of an attempt by it.
async fn granted(world: &World, name: &str) -> (GrantId, u64) {
    let holder = world.sign_in(name, &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&holder, "payments.createRefund").await.unwrap().request.id;
    world.approve(&lea, id).await.unwrap();
    let grant = world.control().grants(&holder).await.unwrap()[0].id;
    let attempt = format!("{{\"type\":\"attempt\",\"grant\":\"{grant}\"}}");
    (grant, world.log.attempt(attempt))
}

async fn held_by(world: &World, seq: u64) -> Option<LegalHold> {
    world.control().holding(seq..seq + 1).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_belong_to_a_held_incident_stays_where_the_store_lacks_its_grants() {
    let mut world = World::new().await;
    let kim = world.sign_in("kim", &["admins"]).await;
    let (_, known) = granted(&world, "ana").await;
    let incident = HoldScope { incident: Some("PD-1".parse().unwrap()), ..HoldScope::default() };
    let op = world.later(&kim);
    let hold = world.control().place_legal_hold(&op, incident, "case 7").await.unwrap();
    let copy = world.copy().await;
    let (_, lost) = granted(&world, "ben").await;
    let other = world.log.attempt("{\"type\":\"attempt\"}".into());
    assert_eq!(held_by(&world, lost).await, None, "the store says that it is for no incident");
    world.set_back(&copy).await;
    assert_eq!(held_by(&world, lost).await, Some(hold.clone()), "nobody can say so any more");
    assert_eq!(held_by(&world, known).await, None);
    assert_eq!(held_by(&world, other).await, None);
    // It stays so at later starts, which read nothing of it again, and until the hold is released.
    world.crash().await;
    assert_eq!(held_by(&world, lost).await, Some(hold.clone()));
    let kim = world.sign_in("kim", &["admins"]).await;
    world.control().release_legal_hold(&kim, hold.id, "closed").await.unwrap();
    assert_eq!(held_by(&world, lost).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_led_to_a_held_grant_stays_where_the_store_lacks_the_grant() {
    let mut world = World::new().await;
    let kim = world.sign_in("kim", &["admins"]).await;
    let copy = world.copy().await;
    let (grant, attempt) = granted(&world, "ana").await;
    let scope = HoldScope { grant: Some(grant), ..HoldScope::default() };
    let op = world.later(&kim);
    let hold = world.control().place_legal_hold(&op, scope, "case 7").await.unwrap();
    let events = world.log.events();
    let at = |kind| events.iter().position(|event| event.kind == kind).unwrap() as u64;
    let (asked, signed_in) = (at(EventType::AccessRequested), at(EventType::SignedIn));
    for _ in 0..2 {
        assert_eq!(held_by(&world, asked).await, Some(hold.clone()));
        assert_eq!(held_by(&world, attempt).await, Some(hold.clone()));
        assert_eq!(held_by(&world, signed_in).await, None);
        world.set_back(&copy).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_on_record_that_cannot_be_understood_is_waited_for() {
    let mut world = World::new().await;
    // An earlier version wrote less: nobody waits for more.
    world.log.attempt("{\"type\":\"legal_hold_placed\",\"detail\":\"legal hold 7\"}".into());
    // Somebody asked for that, and nothing else.
    world.log.attempt("{\"type\":\"attempt\",\"path\":\"legal_hold_placed\"}".into());
    world.crash().await;
    assert_eq!(held_by(&world, 0).await, None);
    world.log.attempt("{\"type\":\"legal_hold_placed\",\"legal_hold\":null}".into());
    // It does not wait for it at its start.
    let _keeper = keeps(&mut world);
    world.crash().await;
    let held = world.control().holding(0..0).await;
    assert!(matches!(held, Err(ControlError::Unavailable(_))), "{held:?}");
}

//! What is kept of requests: whose it is to read and to erase, and what becomes of it when the process ends between
//! keeping it and putting on record that it is kept.

use std::sync::atomic::Ordering;

use jiff::SignedDuration;
use portcullis_control::{ControlError, OpContext, views::ContentState};
use portcullis_model::{
    ContentNote, ContentParts, EventType, HoldScope, KeptBody, LegalHold, LegalHoldId,
    RequestContent, RequestId,
};
use portcullis_store::{Change, RetentionChange, Store};

use crate::world::{World, moment, who};

const TEXT: &str = "Jane Doe";
const PARTS: ContentParts = ContentParts { headers: false, body: true };

pub(crate) async fn keep(world: &World, request: u128) -> ContentNote {
    let body = KeptBody {
        size: 8,
        content_type: None,
        text: Some(TEXT.into()),
        bytes: None,
        sha256: None,
        masked: Vec::new(),
    };
    let content = RequestContent { headers: None, body: Some(body) };
    let id = RequestId::from_bits(request);
    world.control().keep_content(id, PARTS, content).await.unwrap()
}

/// Puts on record what a gate would.
pub(crate) fn record(world: &World, request: u128, note: &ContentNote) -> u64 {
    let request = RequestId::from_bits(request);
    let note = serde_json::to_string(note).unwrap();
    let json = format!("{{\"type\":\"attempt\",\"request\":\"{request}\",\"content\":{note}}}");
    world.log.attempt(json)
}

async fn state(world: &World, op: &OpContext, seq: u64) -> ContentState {
    world.control().content(&world.later(op), seq).await.unwrap().state
}

pub(crate) async fn is_there(world: &World, note: &ContentNote) -> bool {
    world.kept().content(&note.commitment).await.unwrap().is_some()
}

#[tokio::test]
async fn k13_erasing_takes_administer_a_reason_and_is_on_record_once() {
    let world = World::new().await;
    let (sam, kim) =
        (world.sign_in("sam", &["auditors"]).await, world.sign_in("kim", &["admins"]).await);
    let note = keep(&world, 1).await;
    let seq = record(&world, 1, &note);
    let erase = async |op: &OpContext, seq, why: &str| {
        world.control().erase_content(&world.later(op), seq, why).await
    };
    let ContentState::Kept(opening) = state(&world, &sam, seq).await else { panic!("kept") };
    assert!(opening.content.contains(TEXT) && opening.commitment() == note.commitment);
    let read = world.control().content(&world.later(&kim), seq).await;
    assert!(matches!(read, Err(ControlError::Denied(_))), "{read:?}");

    let refused = erase(&sam, seq, "why not").await;
    assert!(matches!(refused, Err(ControlError::Denied(_))), "{refused:?}");
    let silent = erase(&kim, seq, " ").await;
    assert!(matches!(silent, Err(ControlError::Invalid { field: "reason", .. })), "{silent:?}");
    for nothing in [0, 9999] {
        let nothing = erase(&kim, nothing, "they asked").await;
        assert!(matches!(nothing, Err(ControlError::NotFound(_))), "{nothing:?}");
    }
    assert_eq!(world.log.count(EventType::ContentErased), 0);
    assert!(matches!(state(&world, &sam, seq).await, ContentState::Kept(_)));

    erase(&kim, seq, "they asked").await.unwrap();
    let again = erase(&kim, seq, "they asked").await;
    assert!(matches!(again, Err(ControlError::Conflict(_))), "{again:?}");
    let events = world.log.events();
    let erased: Vec<_> =
        events.iter().filter(|event| event.kind == EventType::ContentErased).collect();
    let named = erased[0].erased.as_deref().unwrap();
    assert_eq!((erased.len(), named.seq, &named.commitment), (1, seq, &note.commitment));
    assert_eq!(erased[0].detail.as_deref(), Some("they asked"));
    let ContentState::Erased(view) = state(&world, &sam, seq).await else { panic!("erased") };
    assert_eq!((view.by.as_str(), view.reason.as_str()), ("corp:kim", "they asked"));
}

#[tokio::test]
async fn k13_what_is_erased_while_the_record_is_down_is_erased_and_said_later() {
    let world = World::new().await;
    let (sam, kim) =
        (world.sign_in("sam", &["auditors"]).await, world.sign_in("kim", &["admins"]).await);
    let note = keep(&world, 1).await;
    let seq = record(&world, 1, &note);
    world.log.full.store(true, Ordering::SeqCst);
    let erased = world.control().erase_content(&world.later(&kim), seq, "they asked").await;
    assert!(matches!(erased, Err(ControlError::Unavailable(_))), "{erased:?}");
    assert!(!is_there(&world, &note).await);
    world.log.full.store(false, Ordering::SeqCst);
    world.until(|world| world.log.count(EventType::ContentErased) == 1).await;
    assert!(matches!(state(&world, &sam, seq).await, ContentState::Erased(_)));
}

#[tokio::test]
async fn k13_content_put_to_another_record_is_read_by_nobody() {
    let world = World::new().await;
    let sam = world.sign_in("sam", &["auditors"]).await;
    let (one, other) = (keep(&world, 1).await, keep(&world, 2).await);
    let exchanged = record(&world, 1, &other);
    // The commitment leads to what it commits to, whichever request claims it.
    let ContentState::Kept(opening) = state(&world, &sam, exchanged).await else { panic!("kept") };
    assert_eq!(opening.commitment(), other.commitment);
    assert_ne!(one.commitment, other.commitment, "the same content, other salts");
    let unknown = ContentNote { commitment: "sha256:00".into(), ..one };
    let unknown = record(&world, 1, &unknown);
    assert!(matches!(state(&world, &sam, unknown).await, ContentState::Missing));
}

#[tokio::test]
async fn what_no_record_commits_to_is_forgotten_and_nothing_else() {
    let mut world = World::new().await;
    world.is_indexed = true;
    world.crash().await;
    let (recorded, lost) = (keep(&world, 1).await, keep(&world, 2).await);
    record(&world, 1, &recorded);
    world.wait(SignedDuration::from_secs(1));
    world.crash().await;
    // The record of this one may still come.
    let young = keep(&world, 3).await;
    world.wait(SignedDuration::from_mins(61));
    let begun = std::time::Instant::now();
    while is_there(&world, &lost).await {
        assert!(begun.elapsed().as_secs() < 30, "it is still there");
        moment().await;
    }
    assert!(is_there(&world, &recorded).await && is_there(&world, &young).await);
}

#[tokio::test]
async fn k13_a_store_that_is_set_back_brings_nothing_back() {
    let mut world = World::new().await;
    world.is_indexed = true;
    world.crash().await;
    let kim = world.sign_in("kim", &["admins"]).await;
    let note = keep(&world, 1).await;
    let seq = record(&world, 1, &note);
    let copy = world.copy().await;
    world.control().erase_content(&kim, seq, "they asked").await.unwrap();
    world.set_back(&copy).await;
    let begun = std::time::Instant::now();
    while is_there(&world, &note).await {
        assert!(begun.elapsed().as_secs() < 30, "it is back");
        moment().await;
    }
    let sam = world.sign_in("sam", &["auditors"]).await;
    let ContentState::Erased(view) = state(&world, &sam, seq).await else { panic!("erased") };
    assert_eq!((view.by.as_str(), view.reason.as_str()), ("corp:kim", "they asked"));
}

#[tokio::test]
async fn what_a_legal_hold_keeps_is_not_erased() {
    let world = World::new().await;
    let (sam, kim) =
        (world.sign_in("sam", &["auditors"]).await, world.sign_in("kim", &["admins"]).await);
    let note = keep(&world, 1).await;
    let text = serde_json::to_string(&note).unwrap();
    let ana = "{\"type\":\"User\",\"id\":\"corp:ana\"}";
    let json = format!("{{\"type\":\"attempt\",\"principal\":{ana},\"content\":{text}}}");
    let seq = world.log.attempt(json);
    let scope = HoldScope { principal: Some("corp:ana".into()), ..HoldScope::default() };
    let control = world.control();
    let hold = control.place_legal_hold(&world.later(&kim), scope, "case 7").await.unwrap();
    let refused = control.erase_content(&world.later(&kim), seq, "they asked").await;
    let Err(ControlError::Conflict(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains(&hold.id.to_string()), "{why}");
    assert!(matches!(state(&world, &sam, seq).await, ContentState::Kept(_)));
    assert_eq!(world.log.count(EventType::ContentErased), 0);
    control.release_legal_hold(&world.later(&kim), hold.id, "closed").await.unwrap();
    control.erase_content(&world.later(&kim), seq, "they asked").await.unwrap();
    assert!(!is_there(&world, &note).await);
}

#[tokio::test]
async fn k13_a_legal_hold_that_is_placed_meanwhile_keeps_it() {
    let world = World::new().await;
    let kim = world.sign_in("kim", &["admins"]).await;
    let note = keep(&world, 1).await;
    let text = serde_json::to_string(&note).unwrap();
    let ana = "{\"type\":\"User\",\"id\":\"corp:ana\"}";
    let json = format!("{{\"type\":\"attempt\",\"principal\":{ana},\"content\":{text}}}");
    let seq = world.log.attempt(json);
    let meanwhile = |id, principal: &str| {
        let hold = LegalHold {
            id: LegalHoldId::from_bits(id),
            scope: HoldScope { principal: Some(principal.into()), ..HoldScope::default() },
            reason: "case 7".into(),
            placed_by: who(&kim),
            placed_at: kim.now(),
            released: None,
        };
        let place = RetentionChange::Place { hold: hold.clone(), at_most: 5 };
        let changes = vec![Change::Retention(Box::new(place))];
        *world.faults.before_erasure.lock().unwrap() = changes;
        hold
    };
    let hold = meanwhile(1, "corp:ana");
    let refused = world.control().erase_content(&world.later(&kim), seq, "they asked").await;
    let Err(ControlError::Conflict(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains(&hold.id.to_string()), "{why}");
    assert!(is_there(&world, &note).await);
    assert_eq!(world.log.count(EventType::ContentErased), 0);
    // One that is about something else keeps nobody from it.
    let control = world.control();
    control.release_legal_hold(&world.later(&kim), hold.id, "closed").await.unwrap();
    meanwhile(2, "corp:ben");
    control.erase_content(&world.later(&kim), seq, "they asked").await.unwrap();
    assert!(!is_there(&world, &note).await);
    assert_eq!(world.log.count(EventType::ContentErased), 1);
}

#[tokio::test]
async fn what_a_record_commits_to_stays_where_the_store_failed_meanwhile() {
    let mut world = World::new().await;
    world.is_indexed = true;
    world.crash().await;
    let (recorded, lost) = (keep(&world, 1).await, keep(&world, 2).await);
    world.faults.refuses.store(true, Ordering::SeqCst);
    record(&world, 1, &recorded);
    // It does not go on without.
    world.until(|world| world.faults.unbound.load(Ordering::SeqCst) > 1).await;
    world.wait(SignedDuration::from_secs(1));
    world.crash().await;
    world.wait(SignedDuration::from_mins(61));
    let begun = std::time::Instant::now();
    while is_there(&world, &lost).await {
        assert!(begun.elapsed().as_secs() < 30, "it is still there");
        moment().await;
    }
    assert!(is_there(&world, &recorded).await);
}

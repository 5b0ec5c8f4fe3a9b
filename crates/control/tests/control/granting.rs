//! Grants in force, and how they end.

use std::{sync::atomic::Ordering, time::Duration};

use portcullis_control::{
    ControlError,
    ports::{ConnectionInfo, ConsumeError},
    views::EventFilter,
};
use portcullis_model::{ConnectionId, EventType, GrantId, GrantState, RequestId};

use crate::world::{POLICIES, World, who};

/// Ana with one counted grant of one use.
async fn counted(world: &World) -> (portcullis_control::OpContext, GrantId) {
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    world.approve(&lea, id).await.unwrap();
    let grant = world.control().grants(&ana).await.unwrap()[0].id;
    (ana, grant)
}

#[tokio::test]
async fn m05_a_revoked_grant_is_gone_from_the_snapshot_when_revoking_returns() {
    let world = World::new().await;
    let (ana, grant) = counted(&world).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let mut changes = world.control().snapshots().changes();
    let before = *changes.borrow_and_update();
    let ended = world.control().revoke(&lea, grant).await.unwrap();
    assert!(matches!(ended.state, GrantState::Ended { by: Some(_), .. }));
    assert_eq!(world.holds(&who(&ana)), 0);
    assert!(*changes.borrow_and_update() > before, "whoever waits is told at once");
    let again = world.control().revoke(&lea, grant).await;
    assert!(matches!(again, Err(ControlError::Conflict(_))));
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
}

#[tokio::test]
async fn who_may_end_a_grant() {
    let world = World::new().await;
    let (ana, grant) = counted(&world).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    let sam = world.sign_in("sam", &["auditors"]).await;
    let others = world.control().revoke(&ben, grant).await;
    assert!(matches!(others, Err(ControlError::NotFound(_))), "e37: {others:?}");
    assert!(matches!(world.control().grant(&ben, grant).await, Err(ControlError::NotFound(_))));
    assert!(matches!(world.control().revoke(&sam, grant).await, Err(ControlError::Denied(_))));
    assert!(matches!(world.control().give_back(&sam, grant).await, Err(ControlError::Denied(_))));
    assert_eq!(world.holds(&who(&ana)), 1);
    world.control().give_back(&ana, grant).await.unwrap();
    assert_eq!(world.holds(&who(&ana)), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e16_one_use_is_spent_once_by_sixty_four_at_once() {
    let world = World::new().await;
    let (ana, grant) = counted(&world).await;
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..64 {
        let control = world.control().clone();
        racing.spawn(async move { control.consume(grant, RequestId::from_bits(n)).await });
    }
    let results = racing.join_all().await;
    assert_eq!(results.iter().filter(|spent| spent.is_ok()).count(), 1);
    assert!(results.iter().all(|spent| matches!(spent, Ok(()) | Err(ConsumeError::Over))));
    assert_eq!(world.holds(&who(&ana)), 0);
    world.until(|world| world.log.count(EventType::GrantUsed) == 1).await;
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
}

#[tokio::test]
async fn without_the_record_nothing_is_opened_and_everything_can_be_closed() {
    let world = World::new().await;
    let (ana, grant) = counted(&world).await;
    let ben = world.sign_in("ben", &["engineering", "oncall"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    world.log.broken.store(true, Ordering::SeqCst);
    let asked = world.ask(&ben, "payments.createRefund").await;
    assert!(matches!(asked, Err(ControlError::Unavailable(_))), "{asked:?}");
    assert_eq!(world.holds(&who(&ben)), 0);
    world.control().revoke(&lea, grant).await.unwrap();
    assert_eq!(world.holds(&who(&ana)), 0);
    assert!(!world.control().is_on_record());
    world.log.broken.store(false, Ordering::SeqCst);
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
    world.until(|world| world.holds(&who(&ben)) == 1).await;
    let ids: Vec<_> = world.log.events().iter().map(|event| event.id).collect();
    let mut once = ids.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "every event is in the log once");
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let mut world = World::new().await;
    let token = world.token_of("ana", "ana@example.com", &["engineering", "oncall"]).await;
    let ana = world.op(&token).await;
    world.ask(&ana, "payments.createRefund").await.unwrap();
    let waits = world.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    let generation = world.control().snapshots().current().stamp().generation;
    world.restart(POLICIES).await;
    let again = world.op(&token).await;
    assert_eq!(who(&again), who(&ana));
    assert_eq!(world.holds(&who(&ana)), 1);
    assert_eq!(world.control().snapshots().current().stamp().generation, generation);
    let view = world.control().access_request(&again, waits.id).await.unwrap();
    assert_eq!(view.request, waits);
    world.wait(jiff::SignedDuration::from_mins(30));
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
    assert_eq!(world.log.count(EventType::Stopped), 1);
    assert_eq!(world.log.count(EventType::Started), 2);
}

#[tokio::test]
async fn reading_the_record_takes_the_right_and_is_on_it() {
    let world = World::new().await;
    let (ana, grant) = counted(&world).await;
    let sam = world.sign_in("sam", &["auditors"]).await;
    let filter = EventFilter { limit: 10, grant: Some(grant), ..EventFilter::default() };
    let refused = world.control().events(&ana, filter.clone()).await;
    assert!(matches!(refused, Err(ControlError::Denied(_))));
    let found = world.control().events(&sam, filter).await.unwrap();
    assert_eq!(found.lines.len(), 1, "its start");
    let newest = EventFilter { limit: 3, newest: true, ..EventFilter::default() };
    let found = world.control().events(&sam, newest).await.unwrap();
    assert!(found.lines.len() == 3 && found.lines.is_sorted_by(|a, b| a.seq > b.seq));
    assert_eq!((found.next, found.more), (found.lines.last().map(|line| line.seq), true));
    assert!(world.control().log_file(&sam, "checkpoint").await.is_ok());
    let missing = world.control().log_file(&sam, "nothing").await;
    assert!(matches!(missing, Err(ControlError::NotFound(_))));
    world.until(|world| world.log.count(EventType::RecordRead) == 4).await;
    world.until(|world| world.log.count(EventType::ControlRefused) == 1).await;
}

fn connection(n: u128, of: &portcullis_control::OpContext, grant: GrantId) -> ConnectionInfo {
    ConnectionInfo {
        id: ConnectionId::from_bits(n),
        request: RequestId::from_bits(n),
        principal: who(of),
        service: "payments".parse().unwrap(),
        instance: "p-1".parse().unwrap(),
        operation: "payments.createRefund".parse().unwrap(),
        grant: Some(grant),
        reveals: Vec::new(),
        sign_in: None,
        source: crate::world::HOME,
        protocol: "websocket",
        since: of.now(),
    }
}

#[tokio::test]
async fn m10_what_a_gate_has_not_said_to_be_gone_is_not_said_to_be_gone() {
    let world = World::new().await;
    let (ana, grant) = counted(&world).await;
    let (ben, lea) =
        (world.sign_in("ben", &["engineering"]).await, world.sign_in("lea", &["leads"]).await);
    let control = world.control();
    let brief = Duration::from_millis(50);
    control.connections_looked_at(0, control.snapshots().current().version());
    let (stuck, quick) = (connection(1, &ana, grant), connection(2, &ana, grant));
    let (stuck, quick) = (control.connection_opened(stuck), control.connection_opened(quick));
    let others = control.revoke_and_wait(&ben, grant, brief).await;
    assert!(matches!(others, Err(ControlError::NotFound(_))), "{others:?}");
    quick.ended("finished", 0, 0);

    // The core has not looked, and one connection is there.
    let cuts = control.revoke_and_wait(&lea, grant, brief).await.unwrap();
    assert!(!cuts.all_gone() && !cuts.grant.in_force(lea.now()));
    assert_eq!((cuts.silent.as_slice(), cuts.connections.len()), (&[0][..], 1));
    assert!(cuts.connections[0].over.is_none());
    // It has looked, and found one more that was on its way.
    let late = control.connection_opened(connection(3, &ana, grant));
    control.connections_looked_at(0, control.snapshots().current().version());
    let cuts = control.revoke_and_wait(&lea, grant, brief).await.unwrap();
    assert!(!cuts.all_gone() && cuts.silent.is_empty());
    assert_eq!(cuts.connections.len(), 2);
    // Each says how it went, while somebody waits.
    let waiting = async { control.revoke_and_wait(&lea, grant, Duration::from_secs(40)).await };
    let ending = async {
        stuck.ended("grant_ended", 5, 7);
        tokio::task::yield_now().await;
        late.ended("grant_ended", 1, 2);
    };
    let (cuts, ()) = tokio::join!(waiting, ending);
    let cuts = cuts.unwrap();
    assert!(cuts.all_gone());
    let ups: Vec<_> = cuts.connections.iter().map(|cut| cut.over.unwrap().up).collect();
    assert_eq!(ups, [5, 1]);
    // It may be asked again; there is nothing left.
    let cuts = control.revoke_and_wait(&ana, grant, brief).await.unwrap();
    assert!(cuts.all_gone() && cuts.connections.is_empty());
}

#[tokio::test]
async fn connections_are_seen_and_closed_by_who_may() {
    let world = World::new().await;
    let (ana, grant) = counted(&world).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let info = connection(1, &ana, grant);
    let id = info.id;
    let mut open = world.control().connection_opened(info);
    assert_eq!(world.control().connections(&ana).await.unwrap().len(), 1);
    assert_eq!(world.control().connections(&lea).await.unwrap().len(), 1);
    assert!(world.control().connections(&ben).await.unwrap().is_empty());
    let others = world.control().close_connection(&ben, id).await;
    assert!(matches!(others, Err(ControlError::NotFound(_))));
    world.control().close_connection(&lea, id).await.unwrap();
    open.close_requested().await;
    open.ended("closed", 1, 2);
    assert!(world.control().connections(&ana).await.unwrap().is_empty());
    world.until(|world| world.log.count(EventType::ConnectionEnded) == 1).await;
    assert_eq!(world.log.count(EventType::ConnectionClosed), 1);
}

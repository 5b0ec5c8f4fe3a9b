//! Signing in and out.

use portcullis_control::{ControlError, ports::DeviceOutcome, views::DevicePoll};
use portcullis_identity::{AuthError, SignIns, sign_ins};
use portcullis_model::{Audience, EventType, Principal, SignIn, TokenHash};

use crate::world::{HOME, World, who};

/// What the gate sees.
struct Gate<'a>(&'a World);

impl SignIns for Gate<'_> {
    fn lookup(
        &self,
        hash: &TokenHash,
    ) -> Option<(std::sync::Arc<SignIn>, std::sync::Arc<Principal>)> {
        let snapshot = self.0.control().snapshots().current();
        let sign_in = snapshot.sign_in(hash)?.clone();
        let principal = snapshot.principal(&sign_in.principal)?.clone();
        Some((sign_in, principal))
    }
}

#[tokio::test]
async fn n01_a_sign_in_for_the_gate_is_worth_nothing_at_control_and_the_other_way_round() {
    let world = World::new().await;
    let token = world.token_of("ana", "ana@example.com", &["engineering"]).await;
    let ana = world.op(&token).await;
    let gate = world.control().gate_sign_in(&ana, None).await.unwrap();
    let at_control = world.control().authenticate(Some(gate.token.expose())).await;
    assert!(matches!(at_control, Err(ControlError::Unauthenticated(AuthError::Bad(_)))));
    let now = ana.now();
    let at_gate = |token: &str| sign_ins::authenticate(&Gate(&world), token, Audience::Gate, now);
    assert!(at_gate(gate.token.expose()).is_ok());
    assert!(at_gate(token.expose()).is_err());
}

#[tokio::test]
async fn a_gate_sign_in_never_outlives_its_parent() {
    let world = World::new().await;
    let token = world.token_of("ana", "ana@example.com", &["engineering"]).await;
    let ana = world.op(&token).await;
    let early = world.control().gate_sign_in(&ana, None).await.unwrap().sign_in;
    assert_eq!(early.expires_at, ana.now() + jiff::SignedDuration::from_mins(10));
    world.wait(jiff::SignedDuration::from_mins(12 * 60 - 5));
    let late = world.control().gate_sign_in(&world.later(&ana), None).await.unwrap();
    assert_eq!(late.sign_in.expires_at, ana.now() + jiff::SignedDuration::from_hours(12));
    world.control().sign_out(&world.later(&ana)).await.unwrap();
    let now = world.later(&ana).now();
    let gone = sign_ins::authenticate(&Gate(&world), late.token.expose(), Audience::Gate, now);
    assert!(gone.is_err(), "d25: signing out ends what was made from it");
    assert!(world.control().authenticate(Some(token.expose())).await.is_err());
    let orphan = world.control().gate_sign_in(&world.later(&ana), None).await;
    assert!(matches!(orphan, Err(ControlError::NotFound(_))));
}

#[tokio::test]
async fn one_ends_ones_own_sign_ins_only() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let ben = world.sign_in("ben", &["engineering", "admins"]).await;
    let own = world.control().sign_ins(&ana).await.unwrap();
    assert_eq!(own.len(), 1);
    let others = world.control().end_sign_in(&ben, own[0].id).await;
    assert!(matches!(others, Err(ControlError::NotFound(_))), "e37");
    world.control().end_sign_in(&ana, own[0].id).await.unwrap();
    assert!(world.control().sign_ins(&ana).await.unwrap().is_empty());
    world.until(|world| world.log.count(EventType::SignInEnded) == 1).await;
}

#[tokio::test]
async fn a_sign_in_ends_at_its_time() {
    let world = World::new().await;
    let token = world.token_of("ana", "ana@example.com", &["engineering"]).await;
    world.wait(jiff::SignedDuration::from_hours(12));
    assert!(world.control().authenticate(Some(token.expose())).await.is_err());
    world.until(|world| world.log.count(EventType::SignInEnded) == 1).await;
}

#[tokio::test]
async fn polling_too_fast_slows_down_and_a_token_is_good_once() {
    let world = World::new().await;
    let begun = world.control().begin_device(Some("corp")).await.unwrap();
    let token = begun.device_token.expose();
    assert!(token.starts_with("pc_device_"));
    let poll = || world.control().poll_device(token, HOME);
    assert!(matches!(poll().await, Ok(DevicePoll::Pending { interval: 5 })));
    assert!(matches!(poll().await, Ok(DevicePoll::Pending { interval: 10 })));
    world.wait(jiff::SignedDuration::from_secs(10));
    *world.provider.next.lock().unwrap() = Some(DeviceOutcome::Denied);
    assert!(matches!(poll().await, Err(ControlError::Denied(_))));
    let over = poll().await;
    assert!(matches!(over, Err(ControlError::Unauthenticated(AuthError::Bad(_)))), "{over:?}");
    world.until(|world| world.log.count(EventType::SignInRefused) == 1).await;
    let unknown = world.control().poll_device("pc_device_nothing", HOME).await;
    assert!(matches!(unknown, Err(ControlError::Unauthenticated(_))));
    let nobody = world.control().begin_device(Some("elsewhere")).await;
    assert!(matches!(nobody, Err(ControlError::Invalid { field: "provider", .. })));
}

#[tokio::test]
async fn a_device_sign_in_lapses_after_ten_minutes() {
    let world = World::new().await;
    let begun = world.control().begin_device(None).await.unwrap();
    world.wait(jiff::SignedDuration::from_mins(10));
    let late = world.control().poll_device(begun.device_token.expose(), HOME).await;
    assert!(matches!(late, Err(ControlError::Unauthenticated(_))));
}

#[tokio::test]
async fn m16_no_token_is_in_the_store_nor_in_the_record() {
    let world = World::new().await;
    let token = world.token_of("ana", "ana@example.com", &["engineering"]).await;
    let ana = world.op(&token).await;
    let gate = world.control().gate_sign_in(&ana, None).await.unwrap().token;
    let begun = world.control().begin_device(None).await.unwrap();
    let secrets = [token.expose(), gate.expose(), begun.device_token.expose(), "device-1"];
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret is stored as it is");
        }
    }
    let record = serde_json::to_string(&world.log.events()).unwrap();
    assert!(secrets.iter().all(|secret| !record.contains(secret)));
    assert_eq!(who(&ana).id.as_ref(), "corp:ana");
}

//! One-time tokens and grant tokens: one of many redeems, and everything ends with the grant.

use std::sync::{Arc, atomic::Ordering};

use jiff::SignedDuration;
use portcullis_control::{
    ControlError, OpContext, UserAttributes,
    views::{Ask, AskFor, StoredName},
};
use portcullis_identity::AuthError;
use portcullis_model::{EventType, GrantId, RequestId, Secret, TokenHash, Window};
use tokio::task::JoinSet;

use crate::world::{DIRECTORY_TOKEN, HOME, POLICIES, World, asking};

/// Redemptions of each token that race.
const RACING: usize = 100;
/// One-time tokens of a grant in a minute.
const MOST: usize = 8;

/// Ana with a grant of half an hour.
async fn holding(world: &World) -> (OpContext, GrantId) {
    held_by(world, "ana").await
}

async fn held_by(world: &World, name: &str) -> (OpContext, GrantId) {
    let op = world.sign_in(name, &["engineering", "oncall"]).await;
    world.ask(&op, "payments.createRefund").await.unwrap();
    let grant = world.control().grants(&op).await.unwrap()[0].id;
    (op, grant)
}

async fn once(world: &World, op: &OpContext, grant: GrantId) -> Secret {
    world.control().one_time_token(&world.later(op), grant).await.unwrap().token
}

async fn redeemed(world: &World, token: &Secret) -> Result<Secret, ControlError> {
    Ok(world.control().redeem(token, None, HOME).await?.token)
}

/// What a gate would find.
fn opens(world: &World, token: &Secret) -> Option<GrantId> {
    let snapshot = world.control().snapshots().current();
    let token = snapshot.grant_token(&TokenHash::of(token.expose()))?;
    snapshot.grant(token.grant).map(|grant| grant.id)
}

/// The one answer to all that is wrong with a one-time token.
#[track_caller]
fn is_refused(answer: Result<Secret, ControlError>) {
    match answer {
        Err(ControlError::Unauthenticated(AuthError::Bad(why))) => {
            assert!(why.contains("ask the holder"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e16_m06_of_sixty_four_redeemers_at_once_one_has_a_grant_token() {
    let world = World::new().await;
    let (ana, grant) = holding(&world).await;
    let token = once(&world, &ana, grant).await;
    let mut racing = JoinSet::new();
    for _ in 0..64 {
        let (control, token) = (Arc::clone(world.control()), token.clone());
        racing
            .spawn(async move { control.redeem(&token, None, HOME).await.map(|made| made.token) });
    }
    let (won, lost): (Vec<_>, Vec<_>) =
        racing.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 63));
    lost.into_iter().for_each(is_refused);
    let won = won.into_iter().next().unwrap().unwrap();
    assert_eq!(opens(&world, &won), Some(grant));
    world.until(|world| world.log.count(EventType::TokenRefused) == 1).await;
    assert_eq!(world.log.count(EventType::TokenIssued), 1);
    assert_eq!(world.log.count(EventType::TokenRedeemed), 1);
    // Whoever goes on trying changes nothing, and fills no record.
    for _ in 0..8 {
        is_refused(redeemed(&world, &token).await);
    }
    assert_eq!(world.log.count(EventType::TokenRefused), 1);
    let event = |kind| world.log.events().into_iter().find(|event| event.kind == kind).unwrap();
    for kind in [EventType::TokenIssued, EventType::TokenRedeemed, EventType::TokenRefused] {
        let event = event(kind);
        assert_eq!((event.grant, event.source), (Some(grant), Some(HOME)), "{event:?}");
        assert_eq!(event.principal.as_ref().map(|id| &*id.id), Some("corp:ana"));
    }
}

/// `PORTCULLIS_SOAK` says how many: at 200, 100,000 redemptions of 1,000 tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e16_as_many_redemptions_succeed_as_there_are_tokens() {
    let soak = std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let wanted: usize = 5 * soak;
    let world = World::new().await;
    let (mut made, mut won) = (0, 0);
    while made < wanted {
        let (holder, grant) = held_by(&world, &format!("holder-{made}")).await;
        for _ in 0..MOST.min(wanted - made) {
            made += 1;
            let token = once(&world, &holder, grant).await;
            let mut racing = JoinSet::new();
            for _ in 0..RACING {
                let (control, token) = (Arc::clone(world.control()), token.clone());
                racing.spawn(async move { control.redeem(&token, None, HOME).await });
            }
            for answer in racing.join_all().await {
                match answer {
                    Ok(made) => {
                        won += 1;
                        assert_eq!(opens(&world, &made.token), Some(grant));
                    }
                    Err(error) => is_refused(Err(error)),
                }
            }
        }
    }
    assert_eq!((made, won), (wanted, wanted));
    world.until(|world| world.log.count(EventType::TokenRefused) == wanted).await;
    assert_eq!(world.log.count(EventType::TokenRedeemed), wanted);
}

#[tokio::test]
async fn m11_a_one_time_token_is_good_for_a_minute_and_never_longer_than_its_grant() {
    let world = World::new().await;
    let (ana, grant) = holding(&world).await;
    let (first, second) = (once(&world, &ana, grant).await, once(&world, &ana, grant).await);
    world.wait(SignedDuration::from_secs(59));
    redeemed(&world, &first).await.unwrap();
    world.wait(SignedDuration::from_secs(1));
    is_refused(redeemed(&world, &second).await);
    // The last minute of the grant is cut short with it.
    world.wait(SignedDuration::from_secs(30 * 60 - 60 - 30));
    let made = world.control().one_time_token(&world.later(&ana), grant).await.unwrap();
    assert_eq!(made.expires_at, made.grant.expires_at);
    let last = redeemed(&world, &made.token).await.unwrap();
    let other = once(&world, &ana, grant).await;
    assert_eq!(opens(&world, &last), Some(grant));
    world.wait(SignedDuration::from_secs(30));
    is_refused(redeemed(&world, &other).await);
    let late = world.control().one_time_token(&world.later(&ana), grant).await;
    assert!(matches!(late, Err(ControlError::Conflict(_))), "{late:?}");
    world.until(|world| opens(world, &last).is_none()).await;
    assert_eq!(world.log.count(EventType::TokenRefused), 0, "nothing was tried twice");
}

#[tokio::test]
async fn m16_tokens_are_hashes_at_rest_come_back_and_end_with_the_grant() {
    let mut world = World::new().await;
    let (ana, grant) = holding(&world).await;
    let first = once(&world, &ana, grant).await;
    let unused = once(&world, &ana, grant).await;
    let token = redeemed(&world, &first).await.unwrap();
    assert!(first.expose().starts_with("pc_once_") && token.expose().starts_with("pc_grant_"));
    world.restart(POLICIES).await;
    assert_eq!(opens(&world, &token), Some(grant));
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for secret in [&first, &unused, &token] {
            let random = secret.expose().rsplit_once('_').map_or("", |(_, random)| random);
            let random = random.get(..20).unwrap_or(random);
            let found = bytes.windows(random.len().max(1)).any(|part| part == random.as_bytes());
            assert!(!found && !random.is_empty(), "a token is in the store");
        }
    }
    is_refused(redeemed(&world, &first).await);
    let lea = world.sign_in("lea", &["leads"]).await;
    world.control().revoke(&lea, grant).await.unwrap();
    assert_eq!(opens(&world, &token), None, "it is gone when revoking returns");
    is_refused(redeemed(&world, &unused).await);
    is_refused(redeemed(&world, &first).await);
    world.restart(POLICIES).await;
    assert_eq!(opens(&world, &token), None);
    is_refused(redeemed(&world, &unused).await);
}

#[tokio::test]
async fn what_is_wrong_with_a_one_time_token_is_not_told() {
    let world = World::new().await;
    let (ana, grant) = holding(&world).await;
    let token = once(&world, &ana, grant).await;
    let redeemed_for = redeemed(&world, &token).await.unwrap();
    let unknown = format!("pc_once_{}", "A".repeat(43));
    let longer = format!("{}A", token.expose());
    let cut = token.expose().get(..40).unwrap().to_owned();
    for bad in ["", "x", "pc_once_", &unknown, &longer, &cut, redeemed_for.expose()] {
        is_refused(redeemed(&world, &Secret::new(bad)).await);
    }
    assert_eq!(world.log.count(EventType::TokenRefused), 0);
    // At control, neither is anybody.
    for bad in [&token, &redeemed_for] {
        let answer = world.control().authenticate(Some(bad.expose())).await;
        assert!(matches!(answer, Err(ControlError::Unauthenticated(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn only_the_holder_gets_tokens_and_not_too_many() {
    let world = World::new().await;
    let (ana, grant) = holding(&world).await;
    let ben = world.sign_in("ben", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let control = world.control();
    let others = control.one_time_token(&ben, grant).await;
    assert!(matches!(others, Err(ControlError::NotFound(_))), "{others:?}");
    let others = control.one_time_token(&lea, grant).await;
    assert!(matches!(others, Err(ControlError::Denied(_))), "who may revoke: {others:?}");
    for _ in 0..MOST {
        once(&world, &ana, grant).await;
    }
    let ninth = control.one_time_token(&world.later(&ana), grant).await;
    assert!(matches!(ninth, Err(ControlError::Limited { retry_after: 60, .. })), "{ninth:?}");
    world.wait(SignedDuration::from_secs(60));
    once(&world, &ana, grant).await;
    // It carries the time of the holder's sign-in, not that of the redemption.
    let token = redeemed(&world, &once(&world, &ana, grant).await).await.unwrap();
    let snapshot = world.control().snapshots().current();
    let kept = snapshot.grant_token(&TokenHash::of(token.expose())).unwrap();
    assert_eq!(kept.authenticated_at, ana.caller().unwrap().authenticated_at());
}

#[tokio::test]
async fn a_redemption_whose_answer_is_lost_is_spent_on_record_and_opens_nothing() {
    let world = World::new().await;
    let (ana, grant) = holding(&world).await;
    let token = once(&world, &ana, grant).await;
    world.faults.refuses.store(true, Ordering::SeqCst);
    let failed = redeemed(&world, &token).await;
    assert!(matches!(failed, Err(ControlError::Unavailable(_))), "{failed:?}");
    world.faults.refuses.store(false, Ordering::SeqCst);
    world.faults.forgets_to_answer.store(true, Ordering::SeqCst);
    let lost = redeemed(&world, &token).await;
    assert!(matches!(lost, Err(ControlError::Unavailable(_))), "{lost:?}");
    world.faults.forgets_to_answer.store(false, Ordering::SeqCst);
    is_refused(redeemed(&world, &token).await);
    let another = redeemed(&world, &once(&world, &ana, grant).await).await.unwrap();
    assert_eq!(opens(&world, &another), Some(grant));
    world.until(|world| world.log.count(EventType::TokenRedeemed) == 2).await;
}

#[tokio::test]
async fn without_the_record_nothing_is_redeemed() {
    let world = World::new().await;
    let (ana, grant) = holding(&world).await;
    let token = once(&world, &ana, grant).await;
    world.log.broken.store(true, Ordering::SeqCst);
    let refused = redeemed(&world, &token).await;
    assert!(matches!(refused, Err(ControlError::Unavailable(_))), "{refused:?}");
    world.log.broken.store(false, Ordering::SeqCst);
    world.until(|world| world.control().is_on_record()).await;
    let token = redeemed(&world, &once(&world, &ana, grant).await).await.unwrap();
    assert_eq!(opens(&world, &token), Some(grant));
}

#[tokio::test]
async fn d25_tokens_end_with_their_holders_deactivation_and_with_the_last_use() {
    let world = World::new().await;
    let (ana, grant) = holding(&world).await;
    let token = redeemed(&world, &once(&world, &ana, grant).await).await.unwrap();
    let op = world.control().provisioning(Some(DIRECTORY_TOKEN), HOME).await.unwrap();
    let gone = UserAttributes {
        user_name: "ana".into(),
        external_id: Some("ana".into()),
        display_name: None,
        name: StoredName::default(),
        emails: vec![],
        active: false,
    };
    world.control().put_directory_user(&op, None, gone).await.unwrap();
    assert_eq!(opens(&world, &token), None);
    // One use, spent by somebody else who presents the same grant.
    let ben = world.sign_in("ben", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&ben, "payments.createRefund").await.unwrap().request.id;
    world.approve(&lea, id).await.unwrap();
    let counted = world.control().grants(&ben).await.unwrap()[0].id;
    let token = redeemed(&world, &once(&world, &ben, counted).await).await.unwrap();
    assert_eq!(opens(&world, &token), Some(counted));
    world.control().consume(counted, RequestId::from_bits(1)).await.unwrap();
    assert_eq!(opens(&world, &token), None);
}

#[tokio::test]
async fn a_token_goes_on_with_a_grant_that_is_extended_and_no_longer() {
    let mut world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let brief = asking("payments.createRefund", Some(Window::minutes(10)));
    world.control().ask(&ana, brief.clone()).await.unwrap();
    let grant = world.control().grants(&ana).await.unwrap()[0].id;
    let token = redeemed(&world, &once(&world, &ana, grant).await).await.unwrap();
    world.wait(SignedDuration::from_mins(5));
    let duration = Some(Window::minutes(30));
    let more = Ask { what: AskFor::Extension(grant), duration, ..brief };
    world.control().ask(&world.later(&ana), more).await.unwrap();
    world.wait(SignedDuration::from_mins(20));
    assert_eq!(opens(&world, &token), Some(grant));
    world.restart(POLICIES).await;
    assert_eq!(opens(&world, &token), Some(grant));
    world.wait(SignedDuration::from_mins(6));
    world.until(|world| opens(world, &token).is_none()).await;
}

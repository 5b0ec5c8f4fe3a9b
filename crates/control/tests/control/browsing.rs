//! Signing in with a browser, with a clock that is moved by hand.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use jiff::SignedDuration;
use portcullis_control::{
    ControlError,
    browser::{Answer, Begin, Entered, Wish},
    ports::{DeviceOutcome, VerifiedPerson},
};
use portcullis_model::{EventType, Secret};

use crate::world::{HOME, World};

const ORIGIN: &str = "https://control.example.com";
const BACK: &str = "https://control.example.com/sign-in/callback";

fn ana(renewal: Option<&str>) -> DeviceOutcome {
    DeviceOutcome::Done(Box::new(VerifiedPerson {
        subject: "ana".into(),
        email: None,
        email_verified: false,
        name: None,
        groups: ["engineering".into()].into(),
        claims: BTreeMap::new(),
        amr: ["pwd".to_owned()].into(),
        auth_time: None,
        session: Some("s-1".into()),
        renewal: renewal.map(Secret::new),
    }))
}

fn browser() -> Secret {
    Secret::new("pc_browser_mine")
}

/// The state that a sign-in was begun with.
async fn begun(world: &World) -> String {
    let wish = Wish { gate: None, page: "/".into(), fresh: false };
    let begin = Begin { provider: None, browser: &browser(), redirect_uri: BACK, wish };
    world.control().begin_browser(begin).await.unwrap();
    world.provider.asked.lock().unwrap().clone().unwrap().state
}

async fn finish(world: &World, state: &str) -> Result<Entered, ControlError> {
    let answer = Answer {
        browser: &browser(),
        state,
        code: Ok("code"),
        issuer: Some("https://id.example.com"),
        redirect_uri: BACK,
        origin: ORIGIN,
        replaces: None,
        source: HOME,
    };
    world.control().finish_browser(answer).await
}

#[tokio::test]
async fn d15_a_state_is_good_once_for_ten_minutes() {
    let world = World::new().await;
    *world.provider.next.lock().unwrap() = Some(ana(None));
    let state = begun(&world).await;
    let entered = finish(&world, &state).await.unwrap();
    let unauthenticated = |result: Result<Entered, ControlError>| {
        assert!(matches!(result, Err(ControlError::Unauthenticated(_))), "{result:?}");
    };
    unauthenticated(finish(&world, &state).await);
    let late = begun(&world).await;
    world.wait(SignedDuration::from_mins(10));
    unauthenticated(finish(&world, &late).await);
    let at = |origin: &'static str| {
        let token = entered.token.expose();
        async { world.control().authenticate_cookie(token, origin).await.is_ok() }
    };
    assert!(at(ORIGIN).await && !at("https://evil.example.com").await);
    assert!(world.control().authenticate(Some(entered.token.expose())).await.is_err());
}

#[tokio::test]
async fn a_browsers_sign_in_ends_after_an_hour_without_use_also_across_a_restart() {
    let mut world = World::new().await;
    *world.provider.next.lock().unwrap() = Some(ana(None));
    let state = begun(&world).await;
    let token = finish(&world, &state).await.unwrap().token;
    for _ in 0..3 {
        let before = world.faults.uses_seen.load(Ordering::SeqCst);
        world.wait(SignedDuration::from_mins(50));
        assert!(world.control().authenticate_cookie(token.expose(), ORIGIN).await.is_ok());
        // Uses are stored in the background.
        world.until(|world| world.faults.uses_seen.load(Ordering::SeqCst) > before).await;
        world.restart(crate::world::POLICIES).await;
    }
    world.wait(SignedDuration::from_mins(60));
    world.until(|world| world.log.count(EventType::SignInEnded) == 1).await;
    assert!(world.control().authenticate_cookie(token.expose(), ORIGIN).await.is_err());
}

#[tokio::test]
async fn d20_whom_the_provider_cannot_be_asked_about_signs_in_again() {
    let world = World::new().await;
    *world.provider.recheck.lock().unwrap() = Some(Duration::from_mins(15));
    *world.provider.next.lock().unwrap() = Some(ana(None));
    let state = begun(&world).await;
    let short = finish(&world, &state).await.unwrap().sign_in;
    assert_eq!(short.expires_at, short.created_at + SignedDuration::from_mins(15));
    *world.provider.next.lock().unwrap() = Some(ana(Some("refresh token")));
    let state = begun(&world).await;
    let long = finish(&world, &state).await.unwrap().sign_in;
    assert_eq!(long.expires_at, long.created_at + SignedDuration::from_hours(12));
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(13).any(|window| window == b"refresh token"), "it is sealed");
    }
}

#[tokio::test]
async fn d25_a_session_at_the_provider_takes_its_own_sign_ins_along_once() {
    let world = World::new().await;
    *world.provider.next.lock().unwrap() = Some(ana(None));
    let state = begun(&world).await;
    let token = finish(&world, &state).await.unwrap().token;
    let control = world.control();
    let log_out = |token: &'static str| control.back_channel_logout("corp", token, HOME);
    assert_eq!(log_out("/s-2").await.unwrap(), 0);
    assert_eq!(log_out("ben/s-1").await.unwrap(), 0);
    assert_eq!(log_out("ana/s-1").await.unwrap(), 1);
    assert!(matches!(log_out("ana/s-1").await, Err(ControlError::Invalid { .. })), "a replay");
    assert!(control.authenticate_cookie(token.expose(), ORIGIN).await.is_err());
}

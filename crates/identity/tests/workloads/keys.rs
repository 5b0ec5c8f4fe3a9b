//! Fetching keys: pace, faults, rotation, and what a core remembers.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use portcullis_identity::{AuthError, ConfigError, Pace, TokenCache, Unverified};
use portcullis_testkit::{Fault, Issuer, ManualClock, SigningKey, net::free_port};

use crate::{Scene, config, eventually, workloads};

fn unavailable() -> AuthError {
    AuthError::IssuerUnavailable("builds".to_owned())
}

#[tokio::test]
async fn many_callers_share_one_fetch() {
    let scene = Scene::new(Issuer::start());
    scene.issuer.set_fault(Some(Fault::Slow(Duration::from_millis(200))));
    let token = scene.issuer.token(scene.now()).mint();
    let callers = (0..50).map(|_| scene.present(&token));
    for answer in futures_util::future::join_all(callers).await {
        answer.unwrap();
    }
    assert_eq!((scene.issuer.discoveries(), scene.issuer.key_fetches()), (1, 1));
}

#[tokio::test]
async fn d08_unknown_keys_cause_one_fetch_per_interval() {
    let scene = Scene::new(Issuer::start());
    let sound = scene.issuer.token(scene.now());
    scene.present(&sound.mint()).await.unwrap();
    for at in 0..10_000 {
        let token = sound.clone().header("kid", format!("unknown-{at}")).unsigned();
        let refusal = scene.present(&token).await.unwrap_err();
        assert!(matches!(refusal, AuthError::Bad(_)), "{refusal}");
    }
    assert_eq!(scene.issuer.key_fetches(), 1);
    scene.clock.advance(SignedDuration::from_secs(11));
    for _ in 0..100 {
        scene.refusal(&sound.clone().header("kid", "unknown").mint()).await;
    }
    assert_eq!(scene.issuer.key_fetches(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_by_the_first_token_it_signs() {
    let scene = Scene::new(Issuer::start());
    let old = scene.issuer.token(scene.now()).mint();
    scene.present(&old).await.unwrap();
    scene.issuer.rotate(SigningKey::generate("key-2", "EdDSA"));
    let new = scene.issuer.token(scene.now()).mint();
    assert!(matches!(scene.present(&new).await, Err(AuthError::Bad(_))), "too soon to fetch");
    scene.clock.advance(SignedDuration::from_secs(11));
    assert_eq!(
        scene.workloads.try_authenticate(&new, scene.now()).unwrap_err(),
        Unverified::IssuerNeeded
    );
    scene.present(&new).await.unwrap();
    scene.present(&old).await.unwrap();
}

#[tokio::test]
async fn d09_tokens_of_a_removed_key_are_refused_after_the_next_refresh() {
    let issuer = Issuer::start();
    let clock = Arc::new(ManualClock::stopped_now());
    let pace = Pace { refresh_every: Duration::from_millis(50), ..Pace::default() };
    let workloads = workloads(vec![config(&issuer)], &clock, pace);
    let scene = Scene { issuer, clock, workloads };
    scene.workloads.keep_fresh();
    let mut cache = TokenCache::new(16);
    let token = scene.issuer.token(scene.now()).mint();
    scene.present(&token).await.unwrap();
    let now = scene.now();
    cache.try_authenticate(&scene.workloads, &token, now).unwrap();

    scene.issuer.publish(vec![SigningKey::generate("key-9", "ES256").jwk()]);
    eventually("the cached token is refused", || {
        cache.try_authenticate(&scene.workloads, &token, now).is_err()
    })
    .await;
    assert!(scene.refusal(&token).await.contains("not one of its issuer's"));
}

#[tokio::test]
async fn d10_the_last_good_keys_outlive_a_fault_up_to_their_age() {
    let redirect = Issuer::start();
    let faults = [
        Fault::InternalError,
        Fault::Html,
        Fault::TenMegabytes,
        Fault::Redirect(format!("{}/jwks", redirect.url())),
        Fault::Down,
    ];
    for fault in faults {
        let scene = Scene::new(Issuer::start());
        let token = scene.issuer.token(scene.now()).claim("exp", 4_000_000_000_i64).mint();
        scene.present(&token).await.unwrap();
        scene.issuer.set_fault(Some(fault.clone()));
        scene.clock.advance(SignedDuration::from_mins(59));
        scene.present(&token).await.unwrap();
        let unknown = scene.issuer.token(scene.now()).header("kid", "unknown").mint();
        assert_eq!(scene.present(&unknown).await.unwrap_err(), unavailable(), "{fault:?}");
        scene.present(&token).await.unwrap();

        scene.clock.advance(SignedDuration::from_mins(2));
        assert_eq!(scene.present(&token).await.unwrap_err(), unavailable(), "{fault:?}");
        scene.issuer.set_fault(None);
        scene.clock.advance(SignedDuration::from_secs(11));
        scene.present(&token).await.unwrap();
    }
    assert_eq!(redirect.key_fetches() + redirect.discoveries(), 0, "no redirect is followed");
}

#[tokio::test]
async fn d10_the_age_of_keys_bounds_cached_tokens_too() {
    let scene = Scene::new(Issuer::start());
    let token = scene.issuer.token(scene.now()).claim("exp", 4_000_000_000_i64).mint();
    scene.present(&token).await.unwrap();
    let mut cache = TokenCache::new(16);
    cache.try_authenticate(&scene.workloads, &token, scene.now()).unwrap();
    scene.clock.advance(SignedDuration::from_mins(61));
    assert_eq!(
        cache.try_authenticate(&scene.workloads, &token, scene.now()).unwrap_err(),
        Unverified::IssuerNeeded
    );
}

#[tokio::test]
async fn an_issuer_that_is_down_at_start_is_found_once_it_is_up() {
    let port = free_port();
    let clock = Arc::new(ManualClock::stopped_now());
    let mut config = config(&Issuer::start());
    config.issuer = format!("http://127.0.0.1:{port}").parse().unwrap();
    let pace = Pace { min_interval: Duration::from_millis(50), ..Pace::default() };
    let workloads = workloads(vec![config], &clock, pace);
    workloads.keep_fresh();
    let now = clock_now(&clock);
    let early = portcullis_testkit::Issuer::start();
    let stranger = early.token(now).claim("iss", format!("http://127.0.0.1:{port}")).mint();
    assert_eq!(workloads.authenticate(&stranger, now).await.unwrap_err(), unavailable());
    assert_eq!(workloads.unavailable(now), ["builds"]);

    let issuer = Issuer::start_at(port);
    eventually("the keys are there", || workloads.unavailable(now).is_empty()).await;
    workloads.try_authenticate(&issuer.token(now).mint(), now).unwrap();
}

#[tokio::test]
async fn j03_keys_are_not_fetched_where_a_redirect_points() {
    let inside = Issuer::start();
    for page in ["/jwks", "/.well-known/openid-configuration"] {
        let scene = Scene::new(Issuer::start());
        scene.issuer.set_fault(Some(Fault::Redirect(format!("{}{page}", inside.url()))));
        let token = scene.issuer.token(scene.now()).mint();
        assert_eq!(scene.present(&token).await.unwrap_err(), unavailable(), "{page}");
    }
    assert_eq!((inside.key_fetches(), inside.discoveries()), (0, 0));
}

#[tokio::test]
async fn j04_a_discovery_document_may_not_point_elsewhere() {
    let other = Issuer::start();
    let elsewhere = format!("http://localhost:{}/jwks", other.address().port());
    for (field, value) in [
        ("issuer", other.url()),
        ("jwks_uri", elsewhere.as_str()),
        ("jwks_uri", "http://169.254.169.254/latest"),
        ("jwks_uri", "file:///etc/passwd"),
        ("jwks_uri", "http://user@127.0.0.1/"),
    ] {
        let scene = Scene::new(Issuer::start());
        scene.issuer.set_discovery(field, value);
        let token = scene.issuer.token(scene.now()).mint();
        assert_eq!(scene.present(&token).await.unwrap_err(), unavailable(), "{field} {value}");
    }
    assert_eq!(other.key_fetches(), 0);
}

#[tokio::test]
async fn a_cached_token_is_compared_whole_and_forgotten_in_time() {
    let scene = Scene::new(Issuer::start());
    let mut cache = TokenCache::new(8);
    let sound = scene.issuer.token(scene.now());
    let token = sound.mint();
    scene.present(&token).await.unwrap();
    let now = scene.now();
    let first = cache.try_authenticate(&scene.workloads, &token, now).unwrap();
    let again = cache.try_authenticate(&scene.workloads, &token, now).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the second is a hit");

    let signature = token.rsplit_once('.').unwrap().1;
    let other = sound.clone().claim("sub", "root").unsigned();
    let spliced = format!("{other}{signature}");
    assert!(cache.try_authenticate(&scene.workloads, &spliced, now).is_err());
    let late = now + SignedDuration::from_secs(330);
    assert!(cache.try_authenticate(&scene.workloads, &token, late).is_err());

    for at in 0..100 {
        let token = sound.clone().claim("jti", at).mint();
        cache.try_authenticate(&scene.workloads, &token, now).unwrap();
        assert!(cache.len() <= 8);
    }
    assert!(!cache.is_empty());
}

#[tokio::test]
async fn two_entries_for_one_issuer_or_one_name_are_an_error() {
    let (one, two) = (Issuer::start(), Issuer::start());
    let make = |issuers| {
        let client = portcullis_identity::ProviderClient::new().unwrap();
        let clock: Arc<dyn portcullis_model::Clock> = Arc::new(ManualClock::stopped_now());
        let control = tokio::runtime::Handle::current();
        portcullis_identity::Workloads::new(issuers, &client, &clock, Pace::default(), &control)
    };
    let mut renamed = config(&one);
    renamed.name = "other".to_owned();
    let twice = make(vec![config(&one), renamed]).unwrap_err();
    assert!(matches!(twice, ConfigError::DuplicateIssuer(_)));
    let alike = make(vec![config(&one), config(&two)]).unwrap_err();
    assert_eq!(alike, ConfigError::DuplicateName("builds".to_owned()));
}

fn clock_now(clock: &ManualClock) -> jiff::Timestamp {
    portcullis_model::Clock::now(clock)
}

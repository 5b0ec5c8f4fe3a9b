//! Opaque tokens, against an issuer that answers whatever a test wants.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{
    AuthError, AuthMethod, Authenticated, ConfigError, Introspection, Mapping, OpaqueIssuer, Pace,
    ProviderClient, TokenCache, Unverified, Workloads,
};
use portcullis_model::{Clock, Secret};
use portcullis_testkit::{Fault, Issuer, ManualClock};
use serde_json::{Value, json};
use tokio::runtime::Handle;

const TOKEN: &str = "an-opaque-token-that-is-longer-than-its-tail";

struct Scene {
    issuer: Issuer,
    clock: Arc<ManualClock>,
    workloads: Workloads,
}

fn config(issuer: &Issuer) -> OpaqueIssuer {
    OpaqueIssuer {
        name: "batch".to_owned(),
        introspection: Introspection::Discovered {
            issuer: issuer.url().parse().unwrap(),
            endpoint_hosts: Vec::new(),
        },
        client_id: "portcullis".to_owned(),
        client_secret: Secret::new("a-secret"),
        prefix: None,
        audience: None,
        scopes: Vec::new(),
        mapping: Mapping::default(),
        answer: Duration::from_secs(30),
    }
}

fn workloads(
    opaque: Vec<OpaqueIssuer>,
    clock: &Arc<ManualClock>,
) -> Result<Workloads, ConfigError> {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let (client, control) = (ProviderClient::new().unwrap(), Handle::current());
    Workloads::new(Vec::new(), &client, &clock, Pace::default(), &control)?
        .with_opaque(opaque, &client, &clock, &control)
}

impl Scene {
    fn new() -> Self {
        let (issuer, clock) = (Issuer::start(), Arc::new(ManualClock::stopped_now()));
        issuer.set_discovery("introspection_endpoint", format!("{}/i", issuer.url()));
        let workloads = workloads(vec![config(&issuer)], &clock).unwrap();
        let scene = Self { issuer, clock, workloads };
        scene.says(&json!({"active": true, "token_type": "Bearer", "sub": "job"}));
        scene
    }

    fn says(&self, answer: &Value) {
        self.issuer.set_page("/i", 200, answer.clone());
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    async fn present(&self, token: &str) -> Result<Authenticated, AuthError> {
        self.workloads.authenticate(token, self.now()).await
    }

    fn questions(&self) -> usize {
        self.issuer.calls().len()
    }
}

fn away() -> AuthError {
    AuthError::IssuerUnavailable("batch".to_owned())
}

#[tokio::test]
async fn an_answer_is_good_for_its_bound_or_until_the_token_ends() {
    let scene = Scene::new();
    let found = scene.present(TOKEN).await.unwrap();
    assert_eq!(found.principal().id.id.as_ref(), "batch:job");
    assert_eq!(found.method(), AuthMethod::Introspection);
    scene.pass(29);
    scene.workloads.try_authenticate(TOKEN, scene.now()).unwrap();
    scene.pass(1);
    let stale = scene.workloads.try_authenticate(TOKEN, scene.now()).unwrap_err();
    assert_eq!(stale, Unverified::IssuerNeeded);
    assert_eq!(scene.questions(), 1);
    // Nine more seconds to live, and then the leeway for clocks that differ.
    let exp = scene.now().as_second() + 9;
    scene.says(&json!({"active": true, "token_type": "Bearer", "sub": "job", "exp": exp}));
    scene.present(TOKEN).await.unwrap();
    scene.pass(8);
    scene.present(TOKEN).await.unwrap();
    assert_eq!(scene.questions(), 2);
    scene.pass(1);
    scene.present(TOKEN).await.unwrap();
    assert_eq!(scene.questions(), 3, "its issuer, whose clock may be late, still vouches for it");
    scene.pass(30);
    let over = scene.present(TOKEN).await.unwrap_err();
    assert_eq!(over, AuthError::Bad("the token has expired"));
}

#[tokio::test]
async fn d22_a_core_remembers_each_token_for_itself_and_no_longer_than_its_answer() {
    let scene = Scene::new();
    let mut cache = TokenCache::new(8);
    let (one, other) = (format!("one.{TOKEN}"), format!("two.{TOKEN}"));
    scene.present(&one).await.unwrap();
    let first = cache.try_authenticate(&scene.workloads, &one, scene.now()).unwrap();
    let again = cache.try_authenticate(&scene.workloads, &one, scene.now()).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the second is a hit");
    let unasked = cache.try_authenticate(&scene.workloads, &other, scene.now()).unwrap_err();
    assert_eq!(unasked, Unverified::IssuerNeeded, "its end alone is no token");
    scene.pass(30);
    assert!(cache.try_authenticate(&scene.workloads, &one, scene.now()).is_err());
}

#[tokio::test]
async fn a_token_that_is_not_vouched_for_is_asked_about_again_after_a_moment() {
    let scene = Scene::new();
    scene.says(&json!({"active": false}));
    for _ in 0..5 {
        let refused = scene.present(TOKEN).await.unwrap_err();
        assert_eq!(refused, AuthError::Bad("the token's issuer does not vouch for it"));
    }
    assert_eq!(scene.questions(), 1);
    scene.says(&json!({"active": true, "token_type": "Bearer", "sub": "job"}));
    scene.pass(5);
    scene.present(TOKEN).await.unwrap();
    scene.says(&json!({"active": false}));
    scene.pass(30);
    assert!(scene.present(TOKEN).await.is_err());
}

#[tokio::test]
async fn what_hangs_on_a_token_holds_until_its_issuer_says_no_or_nothing_for_too_long() {
    let scene = Scene::new();
    let again = Arc::clone(scene.present(TOKEN).await.unwrap().again().unwrap());
    assert!(!format!("{again:?}").contains("opaque"), "{again:?}");
    scene.pass(31);
    assert!(again.holds(scene.now()), "it is asked, and nobody waits");
    crate::eventually("it was asked again", || scene.questions() == 2).await;
    scene.says(&json!({"active": false}));
    scene.pass(31);
    crate::eventually("its issuer says no", || !again.holds(scene.now())).await;

    scene.says(&json!({"active": true, "token_type": "Bearer", "sub": "job"}));
    scene.pass(6);
    let again = Arc::clone(scene.present(TOKEN).await.unwrap().again().unwrap());
    scene.issuer.set_fault(Some(Fault::Down));
    scene.pass(59);
    assert!(again.holds(scene.now()), "an issuer that is away has as long again");
    scene.pass(1);
    assert!(!again.holds(scene.now()));
    drop(scene.workloads);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_left_alone_and_found_again() {
    let scene = Scene::new();
    scene.present(TOKEN).await.unwrap();
    scene.issuer.set_fault(Some(Fault::InternalError));
    assert_eq!(scene.present("unknown").await.unwrap_err(), away());
    assert_eq!(scene.workloads.unavailable(scene.now()), ["batch"]);
    let asked = scene.questions();
    for at in 0..50 {
        assert_eq!(scene.present(&format!("unknown-{at}")).await.unwrap_err(), away());
    }
    assert_eq!(scene.questions(), asked, "not a second time within a second");
    scene.present(TOKEN).await.unwrap();
    scene.issuer.set_fault(None);
    scene.pass(1);
    scene.present("unknown").await.unwrap();
    assert!(scene.workloads.unavailable(scene.now()).is_empty());
}

#[tokio::test]
async fn a_question_that_is_refused_is_not_held_against_other_tokens() {
    let scene = Scene::new();
    scene.issuer.set_page("/i", 400, json!({"error": "invalid_request"}));
    assert_eq!(scene.present("odd").await.unwrap_err(), away());
    scene.says(&json!({"active": true, "token_type": "Bearer", "sub": "job"}));
    scene.present(TOKEN).await.unwrap();
    scene.issuer.set_page("/i", 401, json!({"error": "invalid_client"}));
    assert_eq!(scene.present("other").await.unwrap_err(), away());
    assert_eq!(scene.workloads.unavailable(scene.now()), ["batch"], "our secret is wrong");
}

#[tokio::test]
async fn d08_strangers_run_out_of_questions_and_familiars_do_not() {
    let scene = Scene::new();
    scene.present(TOKEN).await.unwrap();
    scene.pass(30);
    scene.says(&json!({"active": false}));
    let mut busy = 0;
    for at in 0..300 {
        match scene.present(&format!("made-up-{at}")).await.unwrap_err() {
            AuthError::Bad(_) => {}
            AuthError::Busy(issuer) => {
                assert_eq!(issuer, "batch");
                busy += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((scene.questions(), busy), (257, 44));
    scene.says(&json!({"active": true, "token_type": "Bearer", "sub": "job"}));
    scene.present(TOKEN).await.unwrap();
    assert_eq!(scene.present("one-more").await.unwrap_err(), AuthError::Busy("batch".to_owned()));
    scene.pass(1);
    scene.present("one-more").await.unwrap();
}

#[tokio::test]
async fn j04_a_discovery_document_sends_tokens_nowhere_else() {
    let (scene, theirs) = (Scene::new(), Issuer::start());
    let elsewhere = format!("http://localhost:{}/i", theirs.address().port());
    for endpoint in [json!(elsewhere), json!("http://169.254.169.254/"), Value::Null] {
        scene.issuer.set_discovery("introspection_endpoint", endpoint.clone());
        assert_eq!(scene.present(TOKEN).await.unwrap_err(), away(), "{endpoint}");
        scene.pass(10);
    }
    assert!(theirs.calls().is_empty());
}

#[tokio::test]
async fn d22_two_entries_that_could_be_shown_each_others_tokens_are_an_error() {
    let (issuer, clock) = (Issuer::start(), Arc::new(ManualClock::stopped_now()));
    let named = |name: &str, prefix: Option<&str>| OpaqueIssuer {
        name: name.to_owned(),
        prefix: prefix.map(str::to_owned),
        ..config(&issuer)
    };
    for bad in [
        vec![named("a", None), named("b", None)],
        vec![named("a", Some("x_")), named("b", Some("x_y_"))],
    ] {
        assert!(matches!(workloads(bad, &clock).unwrap_err(), ConfigError::Prefix { .. }));
    }
    let alike = vec![named("a", Some("x_")), named("a", Some("y_"))];
    assert_eq!(workloads(alike, &clock).unwrap_err(), ConfigError::DuplicateName("a".to_owned()));
}

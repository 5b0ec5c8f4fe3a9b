//! The client of an identity provider, against one that answers whatever a test wants.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod oauth2;

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_identity::{
    OidcProvider, Pace, People, PeopleError, PersonClaims, Poll, ProviderClient,
};
use portcullis_model::{Clock, Secret};
use portcullis_testkit::{Fault, Issuer, ManualClock, SigningKey, TokenDraft};
use serde_json::{Value, json};
use tokio::runtime::Handle;

struct Scene {
    issuer: Issuer,
    people: People,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut OidcProvider)) -> Self {
        let issuer = Issuer::start();
        issuer.set_discovery("token_endpoint", format!("{}/token", issuer.url()));
        let device = format!("{}/device", issuer.url());
        issuer.set_discovery("device_authorization_endpoint", device);
        let mut config = OidcProvider::new("corp", issuer.url().parse().unwrap(), "portcullis");
        change(&mut config);
        let clock = Arc::new(ManualClock::stopped_now());
        let now = clock.now();
        let clock: Arc<dyn Clock> = clock;
        let client = ProviderClient::new().unwrap();
        let people = People::new(config, &client, &clock, Pace::default(), &Handle::current());
        Self { issuer, people, now }
    }

    /// Ana's sound ID token.
    fn ana(&self) -> TokenDraft {
        self.issuer
            .token(self.now)
            .claim("sub", "ana")
            .claim("email", "Ana@Example.com")
            .claim("email_verified", true)
            .claim("name", "Ana")
            .claim("groups", json!(["engineers"]))
    }

    async fn poll(&self, status: u16, answer: Value) -> Result<Poll, PeopleError> {
        self.issuer.set_page("/token", status, answer);
        self.people.poll_device(&Secret::new("code")).await
    }

    async fn present(&self, id_token: &str) -> Result<Poll, PeopleError> {
        self.poll(200, json!({"id_token": id_token, "access_token": "x"})).await
    }

    async fn person(&self, id_token: &TokenDraft) -> PersonClaims {
        match self.present(&id_token.mint()).await {
            Ok(Poll::Done(signed_in)) => signed_in.person,
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&self, id_token: &str, because: &str) {
        let error = self.present(id_token).await.unwrap_err().to_string();
        assert!(error.contains(because), "{error}");
    }
}

#[tokio::test]
async fn a_sound_id_token_names_a_person() {
    let scene = Scene::new();
    let earlier = scene.now.as_second() - 60;
    let token = scene.ana().claim("amr", json!(["otp", "pwd"])).claim("auth_time", earlier);
    let ana = scene.person(&token).await;
    assert_eq!((ana.subject.as_str(), ana.name.as_str()), ("ana", "Ana"));
    assert_eq!(ana.email.as_deref(), Some("ana@example.com"));
    assert_eq!(ana.auth_time.unwrap().as_second(), earlier);
    assert_eq!((ana.amr.len(), ana.groups.len()), (2, 1));
    // A person's ID token carries what a workload's token may not.
    scene.person(&scene.ana().claim("nonce", "x").claim("at_hash", "x")).await;
}

#[tokio::test]
async fn an_id_token_with_a_defect_signs_nobody_in() {
    let scene = Scene::new();
    let sound = scene.ana();
    scene.person(&sound).await;
    let now = scene.now.as_second();
    for (name, value, because) in [
        ("iss", json!("https://other.example"), "another issuer"),
        ("aud", json!("other"), "another audience"),
        ("aud", json!(["portcullis", "other"]), "another client"),
        ("azp", json!("other"), "another client"),
        ("exp", json!(now - 31), "expired"),
        ("exp", json!("never"), "whole number"),
        ("iat", json!(now + 31), "not valid yet"),
        ("sub", json!(7), "subject"),
        ("sub", json!(""), "subject"),
        ("amr", json!("pwd"), "amr"),
        ("auth_time", json!(1.5), "whole number"),
    ] {
        scene.refused(&sound.clone().claim(name, value).mint(), because).await;
    }
    scene.refused(&sound.clone().without("iat").mint(), "when it was made").await;
    scene.refused(&sound.clone().header("typ", "at+jwt").mint(), "no ID token").await;
    scene.refused(&sound.header("alg", "none").unsigned(), "algorithm").await;
    let forged = scene.ana().signed_by(&SigningKey::generate("key-1", "ES256"));
    scene.refused(&forged, "signature").await;
    let two = scene.ana().claim("aud", json!(["portcullis", "other"])).claim("azp", "portcullis");
    scene.person(&two).await;
}

#[tokio::test]
async fn n12_a_person_whose_groups_were_left_out_is_told_so() {
    let scene = Scene::new();
    scene.refused(&scene.ana().without("groups").mint(), "lacks the groups claim").await;
    let elsewhere = scene.ana().without("groups").claim("_claim_names", json!({"groups": "src1"}));
    scene.refused(&elsewhere.mint(), "too many").await;
    scene.refused(&scene.ana().claim("hasgroups", "true").mint(), "too many").await;
}

#[tokio::test]
async fn d19_only_a_verified_plain_address_counts() {
    let scene = Scene::new();
    let tokens = [
        scene.ana().without("email_verified"),
        scene.ana().claim("email_verified", "true"),
        scene.ana().claim("email_verified", 1),
        scene.ana().claim("email", "attacker@evil.com@example.com"),
        scene.ana().claim("email", json!(["ana@example.com"])),
    ];
    for token in tokens {
        assert_eq!(scene.person(&token).await.email, None);
    }
}

#[tokio::test]
async fn each_answer_to_a_poll_means_one_thing() {
    let scene = Scene::new();
    for (error, poll) in [
        ("authorization_pending", Poll::Pending { slow_down: false }),
        ("slow_down", Poll::Pending { slow_down: true }),
        ("access_denied", Poll::Denied),
        ("expired_token", Poll::Expired),
    ] {
        assert_eq!(scene.poll(400, json!({"error": error})).await.unwrap(), poll);
    }
    let other = scene.poll(400, json!({"error": "invalid_scope"})).await.unwrap_err();
    assert_eq!(other, PeopleError::Refused { error: "invalid_scope".to_owned() });
    for (status, answer) in [
        (500, json!({"error": "authorization_pending"})),
        (302, json!({})),
        (400, json!({"error": "\u{1b}[31m"})),
        (200, json!({"access_token": "x"})),
        (200, json!("x")),
    ] {
        let error = scene.poll(status, answer).await.unwrap_err();
        assert!(matches!(error, PeopleError::Provider(_)), "{error}");
    }
}

#[tokio::test]
async fn the_client_identifies_itself_and_keeps_its_secret_out_of_the_body() {
    let answer = json!({
        "device_code": "d", "user_code": "u", "expires_in": 9,
        "verification_uri": "https://id.example.com/device",
    });
    let public = Scene::new();
    public.issuer.set_page("/device", 200, answer.clone());
    public.people.begin_device().await.unwrap();
    let call = public.issuer.calls().remove(0);
    assert_eq!(call.body, "scope=openid+email+profile+groups&client_id=portcullis");
    assert_eq!(call.authorization, None);

    let confidential = Scene::with(|config| config.client_secret = Some(Secret::new("s:c r")));
    confidential.issuer.set_page("/device", 200, answer);
    confidential.people.begin_device().await.unwrap();
    let call = confidential.issuer.calls().remove(0);
    // RFC 6749, 2.3.1: `portcullis:s%3Ac+r` in base64.
    assert_eq!(call.authorization.as_deref(), Some("Basic cG9ydGN1bGxpczpzJTNBYyty"));
    assert!(!call.body.contains("secret"));
    assert!(!format!("{:?}", confidential.people).contains("s:c r"));
}

#[tokio::test]
async fn a_provider_without_device_flow_or_that_is_down_is_an_error_that_says_so() {
    let scene = Scene::new();
    scene.issuer.set_discovery("device_authorization_endpoint", Value::Null);
    let error = scene.people.begin_device().await.unwrap_err().to_string();
    assert!(error.contains("device_authorization_endpoint"), "{error}");
    scene.issuer.set_fault(Some(Fault::Down));
    let error = scene.people.begin_device().await.unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
}

#[tokio::test]
async fn d09_a_provider_that_changes_its_keys_refuses_nobody_who_signs_in_at_that_moment() {
    let scene = Scene::new();
    scene.person(&scene.ana()).await;
    // The clock stands still: every change comes within the least time between two fetches.
    for at in 0..5 {
        let fetched = scene.issuer.key_fetches();
        scene.issuer.rotate(SigningKey::generate(&format!("new-{at}"), "ES256"));
        scene.person(&scene.ana()).await;
        scene.person(&scene.ana()).await;
        assert_eq!(scene.issuer.key_fetches(), fetched + 1);
    }
    // What anybody can send causes no such fetch.
    let fetched = scene.issuer.key_fetches();
    let stranger = SigningKey::generate("stranger", "ES256");
    for _ in 0..20 {
        assert!(
            scene
                .people
                .logout(&scene.ana().header("kid", "x").signed_by(&stranger))
                .await
                .is_err()
        );
    }
    assert_eq!(scene.issuer.key_fetches(), fetched);
}

#[tokio::test]
async fn a_new_key_that_cannot_be_fetched_is_no_refusal() {
    let scene = Scene::new();
    scene.person(&scene.ana()).await;
    scene.issuer.rotate(SigningKey::generate("new", "ES256"));
    let token = scene.ana().mint();
    scene.issuer.set_discovery("jwks_uri", "http://127.0.0.1:1/jwks");
    let away = scene.present(&token).await.unwrap_err();
    let unavailable = portcullis_identity::AuthError::IssuerUnavailable;
    assert_eq!(away, PeopleError::IdToken(unavailable(scene.issuer.url().to_owned())));
}

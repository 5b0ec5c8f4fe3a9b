//! A provider without ID tokens, that answers whatever a test wants.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{
    AuthorizationRequest, OAuth2Endpoints, OAuth2Provider, People, PeopleError, ProviderClient,
    Returned, Rule, SignedIn, StepUp, Template,
};
use portcullis_model::{Clock, Secret};
use portcullis_testkit::{Fault, Issuer, ManualClock};
use serde_json::{Value, json};

struct Scene {
    issuer: Issuer,
    people: People,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut OAuth2Provider)) -> Self {
        let issuer = Issuer::start();
        let at = |path: &str| format!("{}{path}", issuer.url()).parse().unwrap();
        let mut config = OAuth2Provider {
            name: "corp".to_owned(),
            issuer: Some(issuer.url().parse().unwrap()),
            endpoints: OAuth2Endpoints {
                authorization: at("/authorize"),
                token: at("/token"),
                introspection: at("/i"),
                device_authorization: None,
            },
            client_id: "portcullis".to_owned(),
            client_secret: Secret::new("a-secret"),
            scopes: vec!["profile".to_owned()],
            subject: Template::default(),
            groups_claim: Some("groups".to_owned()),
            groups: vec![Rule::parse("team=pay", vec!["payers".into()]).unwrap()],
            claims: std::collections::BTreeMap::new(),
            step_up: StepUp::default(),
            recheck: None,
        };
        change(&mut config);
        let clock = Arc::new(ManualClock::stopped_now());
        let now = clock.now();
        let clock: Arc<dyn Clock> = clock;
        let people = People::by_introspection(config, &ProviderClient::new().unwrap(), &clock);
        issuer.set_page("/token", 200, json!({"access_token": "at", "refresh_token": "rt"}));
        let scene = Self { issuer, people, now };
        scene.says(|_| {});
        scene
    }

    /// What it says of tokens from now on.
    fn says(&self, change: impl FnOnce(&mut Value)) {
        let mut answer = json!({
            "active": true, "sub": "ana", "username": "Ana", "client_id": "portcullis",
            "iss": self.issuer.url(), "groups": ["staff"], "team": "pay",
            "exp": self.now.as_second() + 60,
        });
        change(&mut answer);
        self.issuer.set_page("/i", 200, answer);
    }

    async fn redeem(&self, issuer: Option<&str>, fresh: bool) -> Result<SignedIn, PeopleError> {
        let (code, verifier) = (Secret::new("code"), Secret::new("verifier"));
        let returned = Returned {
            code: &code,
            issuer,
            redirect_uri: "https://gate.example.com/sign-in/callback",
            verifier: &verifier,
            nonce: "n",
            fresh_since: fresh.then_some(self.now),
        };
        self.people.redeem(&returned).await
    }

    async fn sign_in(&self) -> Result<SignedIn, PeopleError> {
        let issuer = self.issuer.url().to_owned();
        self.redeem(Some(&issuer), false).await
    }
}

#[tokio::test]
async fn a_code_is_exchanged_for_a_token_that_names_a_person() {
    let scene = Scene::new();
    let asked = AuthorizationRequest {
        redirect_uri: "https://gate.example.com/sign-in/callback",
        state: "s",
        nonce: "n",
        challenge: "c",
        fresh: false,
    };
    let url = scene.people.authorization_url(&asked).await.unwrap().to_string();
    assert!(url.contains("code_challenge=c&code_challenge_method=S256"), "{url}");
    assert!(!url.contains("nonce"), "there is no ID token to name it: {url}");
    let SignedIn { person, renewal } = scene.sign_in().await.unwrap();
    assert_eq!((person.subject.as_str(), person.name.as_str()), ("ana", "Ana"));
    let groups: Vec<_> = person.groups.iter().map(AsRef::as_ref).collect();
    assert_eq!(groups, ["payers", "staff"]);
    let calls = scene.issuer.calls();
    assert!(calls[0].body.contains("code_verifier=verifier"), "{}", calls[0].body);
    assert!(calls[1].body.contains("token=at&token_type_hint=access_token"), "{}", calls[1].body);
    assert!(calls.iter().all(|call| call.authorization.is_some()));
    // And again, with what it gave to ask with.
    scene.people.renew(&renewal.unwrap(), "ana").await.unwrap();
    let renewed = scene.issuer.calls().split_off(2);
    assert!(renewed[0].body.contains("refresh_token=rt"), "{}", renewed[0].body);
    assert!(renewed[1].body.contains("token=at"), "{}", renewed[1].body);
}

#[tokio::test]
async fn d18_the_answer_to_a_browser_names_its_issuer_exactly_where_one_is_configured() {
    let named = Scene::new();
    for wrong in [None, Some("https://evil.example"), Some("")] {
        let refused = named.redeem(wrong, false).await.unwrap_err();
        assert!(refused.to_string().contains("another provider's"), "{refused}");
    }
    let nameless = Scene::with(|config| config.issuer = None);
    nameless.redeem(None, false).await.unwrap();
    assert!(nameless.redeem(Some("https://evil.example"), false).await.is_err());
    assert!(named.issuer.calls().is_empty(), "its code goes nowhere");
}

#[tokio::test]
async fn what_is_said_of_the_token_decides() {
    let scene = Scene::new();
    let past = scene.now.as_second() - 31;
    for (name, value, because) in [
        ("active", json!(false), "invalid_token"),
        ("active", json!("true"), "an introspection response"),
        ("client_id", json!("other"), "another client"),
        ("iss", json!("https://evil.example"), "another issuer"),
        ("exp", json!(past), "expired"),
        ("sub", json!(7), "subject"),
        ("sub", json!(""), "subject"),
        ("groups", json!(null), "list of texts"),
        ("hasgroups", json!(true), "too many"),
    ] {
        scene.says(|answer| answer[name] = value.clone());
        let refused = scene.sign_in().await.unwrap_err().to_string();
        assert!(refused.contains(because), "{name}: {refused}");
    }
    scene.issuer.set_page("/i", 401, json!({"error": "invalid_client"}));
    let refused = scene.sign_in().await.unwrap_err();
    assert!(
        matches!(refused, PeopleError::Provider(_)),
        "it says nothing of the person: {refused}"
    );
    scene.issuer.set_page("/token", 200, json!({"id_token": "x"}));
    assert!(scene.sign_in().await.is_err());
}

#[tokio::test]
async fn asking_again_ends_with_the_account_and_not_with_the_provider() {
    let scene = Scene::new();
    let renewal = scene.sign_in().await.unwrap().renewal.unwrap();
    scene.says(|answer| answer["sub"] = json!("ben"));
    let other = scene.people.renew(&renewal, "ana").await.unwrap_err();
    assert!(other.to_string().contains("somebody else"), "{other}");
    scene.says(|answer| answer["active"] = json!(false));
    let gone = scene.people.renew(&renewal, "ana").await.unwrap_err();
    assert_eq!(gone, PeopleError::Refused { error: "invalid_token".to_owned() });
    scene.issuer.set_fault(Some(Fault::Down));
    let away = scene.people.renew(&renewal, "ana").await.unwrap_err();
    assert!(matches!(away, PeopleError::Provider(_)), "{away}");
}

#[tokio::test]
async fn stepping_up_needs_an_answer_that_shows_it() {
    let scene = Scene::with(|config| config.step_up.acr_values = vec!["phr".to_owned()]);
    let issuer = scene.issuer.url().to_owned();
    let (now, before) = (scene.now, scene.now - SignedDuration::from_mins(1));
    for (auth_time, acr, good) in [
        (json!(now.as_second()), json!("phr"), true),
        (json!(before.as_second()), json!("phr"), false),
        (Value::Null, json!("phr"), false),
        (json!(now.as_second()), json!("pwd"), false),
    ] {
        scene.says(|answer| {
            answer["acr"] = acr.clone();
            if !auth_time.is_null() {
                answer["auth_time"] = auth_time.clone();
            }
        });
        let found = scene.redeem(Some(&issuer), true).await;
        assert_eq!(found.is_ok(), good, "{auth_time} {acr}: {found:?}");
    }
}

#[tokio::test]
async fn what_it_does_not_have_is_said() {
    let scene = Scene::new();
    let none = scene.people.begin_device().await.unwrap_err().to_string();
    assert!(none.contains("provider `corp` has no device flow"), "{none}");
    let token = scene.issuer.token(scene.now).header("typ", "logout+jwt").mint();
    assert!(scene.people.logout(&token).await.is_err());
}

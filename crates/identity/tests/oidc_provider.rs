//! Sign-in by device flow at a certified OpenID provider, a person filling in its real forms.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use portcullis_identity::{
    AuthError, OidcProvider, Pace, People, PeopleError, Poll, ProviderClient,
};
use portcullis_model::{Clock, Secret};
use portcullis_testkit::{ManualClock, Process};
use tokio::runtime::Handle;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outsiders/oidc-provider")
}

/// The provider and its address, or nothing where its packages are not installed.
fn provider() -> Option<(Process, String)> {
    if !folder().join("node_modules/oidc-provider").is_dir() {
        let why = "run `npm ci` in tests/outsiders/oidc-provider first";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
        return None;
    }
    let mut command = Command::new("node");
    command.arg("server.mjs").current_dir(folder()).stderr(Stdio::null());
    let process = Process::start(&mut command);
    let issuer = process.wait_for_line("listening ", Duration::from_mins(1));
    Some((process, issuer))
}

fn people(issuer: &str, change: impl FnOnce(&mut OidcProvider)) -> People {
    let mut config = OidcProvider::new("corp", issuer.parse().unwrap(), "portcullis");
    config.client_secret = Some(Secret::new("portcullis-secret"));
    change(&mut config);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::stopped_now());
    let client = ProviderClient::new().unwrap();
    People::new(config, &client, &clock, Pace::default(), &Handle::current())
}

/// Begins, lets `login` press the buttons, and polls.
async fn sign_in(people: &People, login: &str, more: &[&str]) -> Result<Poll, PeopleError> {
    let begun = people.begin_device().await?;
    assert_eq!(
        people.poll_device(&begun.device_code).await.unwrap(),
        Poll::Pending { slow_down: false }
    );
    let uri = begun.verification_uri_complete.unwrap();
    assert!(uri.as_str().contains(&begun.user_code));
    let confirmed = Command::new("node")
        .args(["confirm.mjs", uri.as_str(), login])
        .args(more)
        .current_dir(folder())
        .output()
        .unwrap();
    assert!(!confirmed.stdout.is_empty(), "{}", String::from_utf8_lossy(&confirmed.stderr));
    people.poll_device(&begun.device_code).await
}

async fn claims(people: &People, login: &str) -> portcullis_identity::PersonClaims {
    match sign_in(people, login, &[]).await {
        Ok(Poll::Done(signed_in)) => signed_in.person,
        other => panic!("{login} is not signed in: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_at_a_certified_provider() {
    let Some((_process, issuer)) = provider() else { return };
    let people = people(&issuer, |_| {});

    let ana = claims(&people, "ana").await;
    assert_eq!((ana.subject.as_str(), ana.name.as_str()), ("ana", "Ana Prata"));
    assert_eq!(ana.email.as_deref(), Some("ana@example.com"));
    let groups: Vec<_> = ana.groups.iter().map(AsRef::as_ref).collect();
    assert_eq!(groups, ["engineers", "on-call"]);

    let ben = claims(&people, "ben").await;
    assert_eq!(ben.email, None, "d19: an unverified address is none");

    let sam = sign_in(&people, "sam", &[]).await.unwrap_err();
    let lacking = AuthError::Bad("the token lacks the groups claim");
    assert_eq!(sam, PeopleError::IdToken(lacking), "n12");

    assert_eq!(sign_in(&people, "ana", &["--deny"]).await.unwrap(), Poll::Denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_knows_no_groups_is_configured_without_them() {
    let Some((_process, issuer)) = provider() else { return };
    let without = people(&issuer, |config| {
        config.groups_claim = None;
        config.scopes.retain(|scope| scope != "groups");
    });
    assert!(claims(&without, "sam").await.groups.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_and_a_foreign_device_code_are_refused() {
    let Some((_process, issuer)) = provider() else { return };
    let wrong = people(&issuer, |config| config.client_secret = Some(Secret::new("guess")));
    let error = wrong.begin_device().await.unwrap_err();
    assert_eq!(error, PeopleError::Refused { error: "invalid_client".to_owned() });

    let right = people(&issuer, |_| {});
    let error = right.poll_device(&Secret::new("guess")).await.unwrap_err();
    assert_eq!(error, PeopleError::Refused { error: "invalid_grant".to_owned() });
}

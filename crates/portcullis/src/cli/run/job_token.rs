//! The token by which a job's system says what the job is: found where each system has it.
//!
//! Nothing is configured for it: no secret is kept anywhere, and what there is to set is said where it is missing.
//!
//! - GitHub Actions: "OpenID Connect reference", *Methods for requesting the OIDC token*: a GET at
//!   `ACTIONS_ID_TOKEN_REQUEST_URL` with `audience`, by `ACTIONS_ID_TOKEN_REQUEST_TOKEN` as bearer, answers
//!   `{"value": …}`. Forgejo does the same.
//! - GitLab CI: "OpenID Connect (OIDC) authentication using ID tokens": a variable of the job's `id_tokens`.
//! - Buildkite: `buildkite-agent oidc request-token --audience …` prints it.
//! - `CircleCI`: "OpenID Connect tokens with custom claims": `circleci run oidc get --claims …` prints it.
//! - All others put it into a variable or a file: Jenkins by its OpenID Connect Provider plugin, Kubernetes by a
//!   projected service account token.

use std::{path::Path, process::Stdio, time::Duration};

use portcullis_model::Secret;
use reqwest::{Client, StatusCode, header, redirect};
use serde::Deserialize;
use serde_json::json;
use tokio::{io::AsyncReadExt, process::Command};
use url::Url;

use crate::cli::{failure::Failure, profile};

/// Where the token is, if nothing else is known.
pub(super) const VARIABLE: &str = "PORTCULLIS_JOB_TOKEN";
/// The same for a file with it.
pub(super) const FILE: &str = "PORTCULLIS_JOB_TOKEN_FILE";
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Longer than any token.
const MOST: u64 = 64 * 1024;
/// How often a system is asked that has trouble of its own.
const TRIES: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// Finds the job's token, made for `audience` where its system makes it now.
pub(super) async fn find(audience: &str) -> Result<Secret, Failure> {
    if let Some(token) = set(VARIABLE) {
        return Ok(Secret::new(token));
    }
    if let Some(file) = set(FILE) {
        return of_file(Path::new(&file)).await;
    }
    if let (Some(url), Some(token)) = (set(GITHUB_URL), set(GITHUB_TOKEN)) {
        return of_github(&url, &Secret::new(token), audience).await;
    }
    let is = |name| set(name).is_some_and(|value| value == "true");
    if is("BUILDKITE") {
        let arguments = ["oidc", "request-token", "--audience", audience];
        return of_command("buildkite-agent", &arguments).await;
    }
    if is("CIRCLECI") {
        let claims = json!({"aud": audience}).to_string();
        return of_command("circleci", &["run", "oidc", "get", "--claims", &claims]).await;
    }
    let how = if is("GITHUB_ACTIONS") {
        "this job may not ask GitHub for an identity token; give it `permissions: {id-token: write}`".to_owned()
    } else if is("GITLAB_CI") {
        format!(
            "this job has no identity token; give it `id_tokens: {{{VARIABLE}: {{aud: {audience}}}}}`"
        )
    } else {
        format!(
            "set {VARIABLE} to the job's OpenID Connect token, or {FILE} to a file with it; GitHub Actions, \
             Buildkite and CircleCI are asked by themselves"
        )
    };
    Err(Failure::WrongUse(how))
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn of_file(path: &Path) -> Result<Secret, Failure> {
    let failed = |error| Failure::local(&format!("{FILE}: {}", path.display()), &error);
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).await.map_err(failed)?;
    token(&text).ok_or_else(|| Failure::WrongUse(format!("{FILE}: {} is empty", path.display())))
}

async fn of_command(program: &str, arguments: &[&str]) -> Result<Secret, Failure> {
    let failed = |error| Failure::local(&format!("`{program}` cannot be run"), &error);
    // What it complains about goes to the job's log.
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let output = child.wait_with_output().await.map_err(failed)?;
    let printed = String::from_utf8(output.stdout).ok().filter(|_| output.status.success());
    printed.as_deref().and_then(token).ok_or_else(|| {
        Failure::Unreachable(format!("`{program} {}` gave no token", arguments.join(" ")))
    })
}

fn token(text: &str) -> Option<Secret> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::new)
}

#[derive(Deserialize)]
struct Issued {
    value: String,
}

async fn of_github(url: &str, token: &Secret, audience: &str) -> Result<Secret, Failure> {
    let mut url = profile::server(url)
        .map_err(|error| Failure::WrongUse(format!("{GITHUB_URL}: {error}")))?;
    url.query_pairs_mut().append_pair("audience", audience);
    let client = Client::builder()
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        // What asks for tokens goes nowhere else.
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(|error| Failure::local("no HTTP client can be made", &error))?;
    let mut tried = 1;
    loop {
        match issued(&client, &url, token).await {
            Ok(issued) => return Ok(issued),
            Err(Trouble::Theirs(_)) if tried < TRIES => {
                tokio::time::sleep(Duration::from_secs(1) * tried).await;
                tried += 1;
            }
            Err(Trouble::Theirs(why) | Trouble::Ours(why)) => {
                let what = "GitHub gives no identity token for this job";
                return Err(Failure::Unreachable(format!("{what}: {why}")));
            }
        }
    }
}

/// Whether another try may end better.
enum Trouble {
    Theirs(String),
    Ours(String),
}

async fn issued(client: &Client, url: &Url, token: &Secret) -> Result<Secret, Trouble> {
    let request = client
        .get(url.clone())
        .header(header::ACCEPT, "application/json")
        .bearer_auth(token.expose());
    // Its address names the job, and is in no message.
    let answer =
        request.send().await.map_err(|error| Trouble::Theirs(error.without_url().to_string()))?;
    let status = answer.status();
    if !status.is_success() {
        let why = format!("it answers {status}");
        let theirs = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err(if theirs { Trouble::Theirs(why) } else { Trouble::Ours(why) });
    }
    let issued = answer.json::<Issued>().await;
    let issued = issued.map_err(|_| Trouble::Ours("its answer has no `value`".to_owned()))?;
    self::token(&issued.value).ok_or_else(|| Trouble::Ours("its `value` is empty".to_owned()))
}

//! `portcullis run` as pipelines have it: identity found by itself, services at local endpoints, and given back
//! whatever happens.

mod ends;
mod integrations;
mod systems;
mod way;
mod windows;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::{house::binary, people::Person, yard::Yard};

/// Somebody reviews what jobs ask for.
const REVIEWERS: &str = r#"
@id("leads")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest);
"#;

/// Deletes a page at the local endpoint, and says what came.
const DELETE: &str = r#"curl -sS -X DELETE -w ' %{http_code}' "$PORTCULLIS_SHOP_URL/page""#;

fn yard(heartbeat: &str) -> Yard {
    Yard::furnished(heartbeat, |plan| plan.policy("reviewers.cedar", REVIEWERS))
}

/// A command in an environment of its own: nothing of this machine's, a folder of tools before the others.
fn bare(yard: &Yard, program: &str) -> Command {
    let tools = tools(yard);
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", tools.display()))
        .env("HOME", folder(yard))
        .env("PORTCULLIS_URL", format!("http://{}", yard.house().control))
        .env("PORTCULLIS_GATE", format!("http://{}", yard.house().gate))
        .env("NO_COLOR", "1")
        .current_dir(folder(yard))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// `portcullis run` with these arguments.
fn run(yard: &Yard, environment: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = bare(yard, "portcullis");
    command.arg("run").args(arguments).envs(environment.iter().cloned());
    command
}

/// Where jobs work, with their tokens: as those of the command line, they belong there.
fn folder(yard: &Yard) -> PathBuf {
    let folder = yard.house().dir().join("homes/job");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The folder of tools that jobs find first, with `portcullis` in it.
fn tools(yard: &Yard) -> PathBuf {
    let folder = folder(yard).join("tools");
    fs::create_dir_all(&folder).unwrap();
    let link = folder.join("portcullis");
    if !link.exists() {
        std::os::unix::fs::symlink(binary(), link).unwrap();
    }
    folder
}

/// Puts a script of this name among the tools.
fn tool(yard: &Yard, name: &str, script: &str) {
    let path = tools(yard).join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Its exit code, what it answered, and what was said beside that.
fn ended(mut command: Command) -> (Option<i32>, String, String) {
    told(command.output().unwrap())
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Where a job's token is, as a variable.
fn with_token(token: &str) -> Vec<(String, String)> {
    vec![("PORTCULLIS_JOB_TOKEN".to_owned(), token.to_owned())]
}

/// The access requests that wait for a review by `lead`.
fn asked(yard: &Yard, lead: &str) -> Vec<Value> {
    let path = "/v1/access-requests?filter=to-review";
    let all = yard.house().api("GET", path, Some(lead), None).json();
    all["access_requests"].as_array().unwrap().clone()
}

/// How the only access request that there was ended, and why.
fn end_of_request(yard: &Yard) -> (String, String) {
    let auditor = yard.auditor();
    let is_request = |event: &&Value| event["type"] == "access_requested";
    let events =
        yard.house().record(&auditor, |events| events.iter().any(|event| is_request(&event)));
    let event = events.iter().find(is_request).unwrap();
    let path = format!("/v1/access-requests/{}", event["access_request"].as_str().unwrap());
    let request = yard.house().api("GET", &path, Some(&auditor), None).json();
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("why"))
}

fn lead(yard: &Yard) -> String {
    yard.house().sign_in(&Person::new("lea", &["leads"]))
}

fn review(yard: &Yard, lead: &str, request: &Value, decision: &str) {
    let path = format!("/v1/access-requests/{}/reviews", request["id"].as_str().unwrap());
    let body = json!({"decision": decision, "note": "not today"});
    let answer = yard.house().api("POST", &path, Some(lead), Some(body));
    assert!(answer.status < 300, "{}", answer.text());
}

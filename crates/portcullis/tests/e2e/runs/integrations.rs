//! What `integrations/` has for pipelines, executed: its YAML loaded, its shell run as each vendor documents that
//! it is run, with the variables that each documents.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use serde_json::Value;

use super::{DELETE, bare, ended, folder, run, told, tool, yard};
use crate::{upstream::Upstream, yard::Yard};

/// A file of `integrations/`.
fn read(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../integrations");
    fs::read_to_string(root.join(path)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// `text` with each `begin inputs.NAME end` replaced by what was given, or by its default.
fn filled(text: &str, marks: (&str, &str), inputs: &Value, given: &[(&str, &str)]) -> String {
    let mut whole = text.to_owned();
    for (name, input) in inputs.as_object().unwrap() {
        let value = given.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        let value = value.or_else(|| input["default"].as_str());
        let mark = format!("{}inputs.{name}{}", marks.0, marks.1);
        assert!(value.is_some() || !whole.contains(&mark), "{name} is needed");
        whole = whole.replace(&mark, value.unwrap_or_default());
    }
    assert!(!whole.contains(marks.0), "{whole}");
    whole
}

/// The steps of GitHub's action whose condition holds, as `runs.using: composite` has it.
fn github(yard: &Yard, given: &[(&str, &str)]) -> Vec<Command> {
    let action = yaml(&read("github/action.yml"));
    assert_eq!(action["runs"]["using"], "composite");
    for (name, input) in action["inputs"].as_object().unwrap() {
        assert!(input["description"].is_string(), "{name}");
        assert!(input["required"] == true || input["default"].is_string(), "{name}");
    }
    let downloads = given.iter().any(|(name, _)| *name == "download");
    let mut commands = Vec::new();
    for (number, step) in action["runs"]["steps"].as_array().unwrap().iter().enumerate() {
        assert_eq!(step["shell"], "bash");
        if step.get("if").is_some() {
            assert_eq!(step["if"], "inputs.download != ''");
            if !downloads {
                continue;
            }
        }
        let script = step["run"].as_str().unwrap();
        // What somebody named something must not become a part of the script.
        assert!(!script.contains("${{"), "{script}");
        let file = folder(yard).join(format!("step-{number}.sh"));
        fs::write(&file, script).unwrap();
        let mut command = bare(yard, "bash");
        command.args(["--noprofile", "--norc", "-e", "-o", "pipefail"]).arg(file);
        command.env("RUNNER_TEMP", folder(yard).join("runner"));
        command.env("GITHUB_PATH", folder(yard).join("github-path"));
        command.envs(yard.github_job(0));
        for (name, value) in step["env"].as_object().unwrap() {
            let marks = ("${{ ", " }}");
            command.env(name, filled(value.as_str().unwrap(), marks, &action["inputs"], given));
        }
        commands.push(command);
    }
    commands
}

fn url(yard: &Yard) -> String {
    format!("http://{}", yard.house().control)
}

#[test]
fn the_github_action_runs_its_command_with_access_and_nothing_else() {
    let yard = yard("1m");
    let (url, gate) = (url(&yard), format!("http://{}", yard.house().gate));
    let given = [
        ("url", url.as_str()),
        ("gate", gate.as_str()),
        ("operations", "shop.DELETE\nshop.PUT"),
        ("run", DELETE),
        ("reason", "deploy $(touch pwned) `touch pwned` \"; touch pwned"),
        ("for", "5m"),
        ("wait", "1m"),
        ("connect", "shop"),
    ];
    let mut steps = github(&yard, &given);
    assert_eq!(steps.len(), 1);
    let (code, out, err) = ended(steps.remove(0));
    assert_eq!((code, out.as_str()), (Some(0), "upstream 200"), "{err}");
    assert!(!folder(&yard).join("pwned").exists());
    assert!(err.contains("granted shop.DELETE: "), "{err}");
    // The gate's address is from the environment, where the input says none.
    let given = [("url", url.as_str()), ("run", "echo ran; false; echo on")];
    let (code, out, err) = ended(github(&yard, &given).remove(0));
    assert_eq!((code, out.as_str()), (Some(1), "ran\n"), "bash stops at what fails: {err}");
}

#[test]
fn the_github_action_runs_no_binary_but_the_one_that_was_named() {
    let yard = yard("1m");
    let server = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n#!/bin/sh\necho fetched\n",
    );
    let (url, from) = (url(&yard), server.url());
    let digest = "45e4ba5b4dfc6eea5b2c4d4b5a8f5cd0e5d1ad7b1c5ad8ba5ea1f8ce1a8a8f1e";
    let get = |digest: &str| {
        let given =
            [("url", url.as_str()), ("run", "true"), ("download", &from), ("sha256", digest)];
        let mut steps = github(&yard, &given);
        assert_eq!(steps.len(), 2);
        ended(steps.remove(0))
    };
    let (code, out, err) = get(digest);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("::error::"), "{out}");
    let paths = folder(&yard).join("github-path");
    assert!(!paths.exists());
    let fetched = folder(&yard).join("runner/portcullis-bin/portcullis");
    let sum = Command::new("sha256sum").arg(&fetched).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap();
    let (code, out, err) = get(sum.split(' ').next().unwrap());
    assert_eq!(code, Some(0), "{out}{err}");
    let folder = fs::read_to_string(paths).unwrap();
    let ran = Command::new(PathBuf::from(folder.trim()).join("portcullis")).output().unwrap();
    assert_eq!(ran.stdout, b"fetched\n");
}

#[test]
fn the_gitlab_component_is_a_job_with_an_id_token_and_access() {
    let yard = yard("1m");
    let text = read("gitlab/templates/run.yml");
    let (spec, job) = text.split_once("\n---\n").unwrap();
    let inputs = yaml(spec)["spec"]["inputs"].clone();
    let (url, gate) = (url(&yard), format!("http://{}", yard.house().gate));
    let given = [
        ("image", "deploy:1"),
        ("url", url.as_str()),
        ("gate", gate.as_str()),
        ("operations", "shop.DELETE"),
        ("command", "MARK"),
        ("reason", "REASON"),
    ];
    let job = yaml(&filled(job, ("$[[ ", " ]]"), &inputs, &given));
    let job = &job["portcullis-run"];
    let mut claims = yard.claims("gitlab");
    claims["aud"] = job["id_tokens"]["PORTCULLIS_JOB_TOKEN"]["aud"].clone();
    // The cluster's group may do what is asked for here; GitLab's jobs may read.
    claims["iss"] = format!("http://{}/cluster", yard.issuers).into();
    claims["sub"] = "system:serviceaccount:shop:migrate".into();
    let mut command = bare(&yard, "sh");
    command.args(["-c", job["script"][0].as_str().unwrap()]);
    for (name, value) in job["variables"].as_object().unwrap() {
        let written = value["value"].as_str();
        if written.is_some() {
            assert_eq!(value["expand"], false, "{name}");
        }
        let written = written.or(value.as_str()).unwrap();
        command
            .env(name, written.replace("MARK", DELETE).replace("REASON", "why $CI_JOB_ID; true"));
    }
    command.envs([
        ("CI", "true"),
        ("GITLAB_CI", "true"),
        ("CI_PROJECT_PATH", "shop/cart"),
        ("CI_COMMIT_REF_NAME", "main"),
        ("CI_COMMIT_SHA", "714a629c0b401fdce83e847fc9589983fc6f46bc"),
        ("CI_JOB_URL", "https://gitlab.example.com/shop/cart/-/jobs/302"),
    ]);
    command.env("PORTCULLIS_JOB_TOKEN", yard.mint(&claims, serde_json::json!({})));
    let (code, out, err) = ended(command);
    assert_eq!((code, out.as_str()), (Some(0), "upstream 200"), "{err}");
    let is_request = |event: &&Value| event["type"] == "access_requested";
    let events = yard
        .house()
        .record(&yard.auditor(), |events| events.iter().any(|event| is_request(&event)));
    let asked = events.iter().find(is_request).unwrap().to_string();
    let known = "(shop/cart main@714a629c https://gitlab.example.com/shop/cart/-/jobs/302)";
    assert!(asked.contains(&format!("why $CI_JOB_ID; true {known}")), "{asked}");
}

#[test]
fn the_argo_cd_hook_has_the_identity_of_its_pod() {
    let yard = yard("1m");
    let text = read("argo-cd/presync.yaml").replace("payments.migrate", "shop.DELETE");
    let all: Vec<_> = text.split("\n---\n").map(yaml).collect();
    let find = |kind: &str| all.iter().find(|one| one["kind"] == kind).unwrap();
    let (job, account) = (find("Job"), find("ServiceAccount"));
    for (one, wave) in [(account, Some("-1")), (job, None)] {
        let (name, notes) = (&one["metadata"]["name"], &one["metadata"]["annotations"]);
        assert_eq!(notes["argocd.argoproj.io/hook"], "PreSync");
        // What is deleted before it is made again is found by its name.
        assert_eq!(notes["argocd.argoproj.io/hook-delete-policy"], "BeforeHookCreation");
        assert_eq!(*name, "migrate");
        assert_eq!(notes.get("argocd.argoproj.io/sync-wave").and_then(Value::as_str), wave);
    }
    assert_eq!(job["spec"]["template"]["spec"]["serviceAccountName"], account["metadata"]["name"]);
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let token = &pod["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], "portcullis");
    let file = folder(&yard).join("pod-token");
    fs::write(&file, yard.sound("cluster")).unwrap();
    tool(&yard, "migrate", DELETE);
    std::os::unix::fs::symlink("tools/migrate", folder(&yard).join("migrate.sh")).unwrap();
    let words = |name: &str| {
        let list = container[name].as_array().unwrap().iter();
        list.map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = [words("command"), words("args")].concat();
    let mut command = bare(&yard, &all[0]);
    command.args(&all[1..]);
    let environment: BTreeMap<_, _> = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["value"].as_str().unwrap()))
        .collect();
    assert!(environment.contains_key("PORTCULLIS_URL"));
    let mounted = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let path = format!("{mounted}/{}", token["path"].as_str().unwrap());
    assert_eq!(environment["PORTCULLIS_JOB_TOKEN_FILE"], path);
    command.env("PORTCULLIS_JOB_TOKEN_FILE", &file);
    let (code, out, err) = ended(command);
    assert_eq!((code, out.as_str()), (Some(0), "upstream 200"), "{err}");
    // A token is exchanged once: a pod that is tried again has none.
    let environment = [("PORTCULLIS_JOB_TOKEN_FILE".to_owned(), file.to_str().unwrap().to_owned())];
    let (code, _, err) = ended(run(&yard, &environment, &["--", "echo", "ran"]));
    assert_eq!(code, Some(125), "{err}");
    assert!(err.contains("exchanged already"), "{err}");
}

#[test]
fn the_jenkins_stage_binds_its_id_token_and_nothing_of_groovy_is_in_the_shell() {
    let yard = yard("1m");
    let text = read("jenkins/Jenkinsfile").replace("payments.migrate", "shop.DELETE");
    assert!(text.contains("variable: 'PORTCULLIS_JOB_TOKEN'"), "{text}");
    let (_, script) = text.split_once("sh '''").unwrap();
    let (script, _) = script.split_once("'''").unwrap();
    tool(&yard, "migrate", DELETE);
    std::os::unix::fs::symlink("tools/migrate", folder(&yard).join("migrate.sh")).unwrap();
    // As the step `sh` runs it.
    let mut command = bare(&yard, "sh");
    command.args(["-xe", "-c", script]).envs([
        ("JENKINS_URL", "https://jenkins.example.com/"),
        ("JOB_NAME", "cart"),
        ("GIT_COMMIT", "9f3182c0b401"),
        ("BUILD_URL", "https://jenkins.example.com/job/cart/7/"),
    ]);
    let token = yard.sound("cluster");
    command.env("PORTCULLIS_JOB_TOKEN", &token);
    let (code, out, err) = told(command.output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "upstream 200"), "{err}");
    assert!(!err.contains(&token), "nor in what it shows of itself: {err}");
}

#[test]
fn the_circleci_job_asks_for_its_token_and_runs_its_command() {
    let yard = yard("1m");
    let text = read("circleci/config.yml").replace("payments.migrate", "shop.GET");
    let config = yaml(&text);
    assert_eq!(config["version"], 2.1);
    let job = &config["jobs"]["migrate"];
    assert!(job["docker"][0]["image"].is_string());
    assert!(config["workflows"]["deploy"]["jobs"][0].get("migrate").is_some(), "{config:#}");
    let steps = job["steps"].as_array().unwrap();
    let step = steps.iter().find_map(|step| step.get("run")).unwrap();
    let script = step["command"].as_str().unwrap();
    // What is filled in before the shell reads it could be a part of the script.
    assert!(!script.contains("<<"), "{script}");
    let token = yard.sound("circleci");
    let wanted = r#"run oidc get --claims {"aud":"portcullis"}"#;
    tool(&yard, "circleci", &format!("[ \"$*\" = '{wanted}' ] || exit 9\necho {token}"));
    tool(&yard, "migrate", r#"echo "$PORTCULLIS_SHOP_URL $CIRCLE_SHA1""#);
    std::os::unix::fs::symlink("tools/migrate", folder(&yard).join("migrate.sh")).unwrap();
    // "Configuration reference", `run`: the default shell.
    let mut command = bare(&yard, "bash");
    command.args(["-eo", "pipefail", "-c", script]).envs([
        ("CIRCLECI", "true"),
        ("CI", "true"),
        ("CIRCLE_PROJECT_REPONAME", "cart"),
        ("CIRCLE_BRANCH", "main"),
        ("CIRCLE_SHA1", "9f3182c0b401"),
        ("CIRCLE_BUILD_URL", "https://circleci.com/gh/shop/cart/7"),
    ]);
    for name in job["environment"].as_object().unwrap().keys() {
        assert!(name.starts_with("PORTCULLIS_"), "{name}");
    }
    let (code, out, err) = ended(command);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.starts_with("http://127.0.0.1:") && out.ends_with(" 9f3182c0b401\n"), "{out}");
    assert!(!err.contains(&token), "{err}");
}

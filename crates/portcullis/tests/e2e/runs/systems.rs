//! Each CI system's way to a token, by the variables and programs that its documents name.

use std::fs;

use super::{DELETE, ended, folder, run, tool, yard};

#[test]
fn github_is_asked_for_a_token_and_the_reason_says_what_the_job_is() {
    let yard = yard("1m");
    // The endpoint has trouble of its own at first.
    let github = yard.github_job(1);
    let script = format!("{DELETE}; echo; echo $PORTCULLIS_SHOP_ADDR $PORTCULLIS_JOB_TOKEN");
    let arguments = ["shop.DELETE", "--reason", "deploy", "--", "sh", "-c", &script];
    let (code, out, err) = ended(run(&yard, &github, &arguments));
    assert_eq!(code, Some(0), "{out}{err}");
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("upstream 200"), "{out}{err}");
    assert!(lines.next().unwrap().starts_with("127.0.0.1:"), "{out}");
    assert!(err.contains("granted shop.DELETE: "), "{err}");
    let auditor = yard.auditor();
    let events = yard
        .house()
        .record(&auditor, |events| events.iter().any(|event| event["type"] == "grant_ended"));
    let asked = events.iter().find(|event| event["type"] == "access_requested").unwrap();
    let said = asked.to_string();
    let known = "deploy (shop/cart main@4cf2d1a0 https://github.com/shop/cart/actions/runs/5432)";
    assert!(said.contains(known), "{asked:#}");
    let ended = events.iter().find(|event| event["type"] == "grant_ended").unwrap();
    assert_eq!(ended["decision"], "holder_gone", "given back with the command: {ended:#}");
    let bearer = &github.last().unwrap().1;
    assert!(!err.contains(bearer.as_str()) && !yard.house().log().contains(bearer.as_str()));
}

#[test]
fn d04_a_token_for_another_audience_is_said_to_be_one() {
    let yard = yard("1m");
    let mut github = yard.github_job(0);
    let arguments = ["--audience", "sigstore", "--", "echo", "ran"];
    let (code, out, err) = ended(run(&yard, &github, &arguments));
    assert_eq!((code, out.as_str()), (Some(125), ""), "{err}");
    assert!(err.contains("the job's token is not accepted") && err.contains("sigstore"), "{err}");
    assert!(!err.contains("portcullis login"), "nobody signs in in a job: {err}");
    // Somebody else's request token is no job of theirs.
    github.last_mut().unwrap().1 = "another".to_owned();
    let (code, _, err) = ended(run(&yard, &github, &["--", "echo", "ran"]));
    assert_eq!(code, Some(125), "{err}");
    assert!(err.contains("GitHub gives no identity token") && err.contains("401"), "{err}");
    // It would be sent in clear.
    let url = github.iter_mut().find(|(name, _)| name == "ACTIONS_ID_TOKEN_REQUEST_URL").unwrap();
    url.1 = "http://pipelines.example.com/token?api-version=2.0".to_owned();
    let (code, _, err) = ended(run(&yard, &github, &["--", "echo", "ran"]));
    assert_eq!(code, Some(125), "{err}");
    assert!(err.contains("in clear"), "{err}");
}

#[test]
fn buildkite_circleci_and_files_give_theirs() {
    let yard = yard("1m");
    let prints = |token: &str, wanted: &str| {
        format!("[ \"$*\" = '{wanted}' ] || {{ echo \"$*\" >&2; exit 9; }}\necho {token}")
    };
    let variable = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let ran = |environment: &[(String, String)]| {
        let (code, out, err) = ended(run(
            &yard,
            environment,
            &["--connect", "shop", "--", "sh", "-c", "echo $PORTCULLIS_SHOP_URL"],
        ));
        assert_eq!(code, Some(0), "{err}");
        assert!(out.starts_with("http://127.0.0.1:"), "{out}{err}");
    };
    let token = yard.sound("buildkite");
    tool(&yard, "buildkite-agent", &prints(&token, "oidc request-token --audience portcullis"));
    ran(&variable("BUILDKITE", "true"));
    let token = yard.sound("cluster");
    tool(&yard, "circleci", &prints(&token, r#"run oidc get --claims {"aud":"portcullis"}"#));
    ran(&variable("CIRCLECI", "true"));
    let file = folder(&yard).join("token");
    fs::write(&file, format!("{}\n", yard.sound("cluster"))).unwrap();
    ran(&variable("PORTCULLIS_JOB_TOKEN_FILE", file.to_str().unwrap()));
}

#[test]
fn where_there_is_no_token_it_is_said_what_to_set() {
    let yard = yard("1m");
    let empty = folder(&yard).join("empty");
    fs::write(&empty, " \n").unwrap();
    tool(&yard, "buildkite-agent", "echo 'no such job' >&2; exit 1");
    for (name, value, words) in [
        ("GITHUB_ACTIONS", "true", "permissions: {id-token: write}"),
        ("GITLAB_CI", "true", "id_tokens: {PORTCULLIS_JOB_TOKEN: {aud: portcullis}}"),
        ("CI", "true", "PORTCULLIS_JOB_TOKEN_FILE"),
        ("BUILDKITE", "true", "gave no token"),
        ("CIRCLECI", "true", "`circleci` cannot be run"),
        ("PORTCULLIS_JOB_TOKEN_FILE", empty.to_str().unwrap(), "is empty"),
        ("PORTCULLIS_JOB_TOKEN_FILE", "/no/such/file", "/no/such/file"),
    ] {
        let environment = [(name.to_owned(), value.to_owned())];
        let (code, out, err) = ended(run(&yard, &environment, &["--", "echo", "ran"]));
        assert_eq!((code, out.as_str()), (Some(125), ""), "{name}: {err}");
        assert!(err.contains(words), "{name}: {err}");
        assert_eq!(err.lines().count(), if name == "BUILDKITE" { 2 } else { 1 }, "{name}: {err}");
    }
}

#[test]
fn what_a_command_needs_beyond_what_was_named_is_said_in_the_log() {
    let yard = yard("1m");
    let script = r#"curl -sS -o /dev/null -w '%{http_code} ' -X DELETE -H 'Authorization: Bearer own' "$PORTCULLIS_SHOP_URL/page"
        curl -sS -o /dev/null -w '%{http_code}' -X OPTIONS "$PORTCULLIS_SHOP_URL/page""#;
    let token = yard.sound("github");
    let arguments = ["--connect", "shop", "--", "sh", "-c", script];
    let (code, out, err) = ended(run(&yard, &super::with_token(&token), &arguments));
    assert_eq!((code, out.as_str()), (Some(0), "403 403"), "{err}");
    assert!(err.contains("name it beforehand: portcullis run shop.DELETE"), "{err}");
    assert!(err.contains("shop.OPTIONS refused") || err.contains("shop refused"), "{err}");
    assert!(err.contains("--pass-authorization"), "{err}");
    assert_eq!(yard.upstream.take().len(), 0);
}

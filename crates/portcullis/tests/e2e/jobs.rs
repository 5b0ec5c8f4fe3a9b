//! CI jobs: tokens of each system, minted by `PyJWT`, exchanged for runs.

use std::{
    process::Stdio,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use portcullis_testkit::ambient::machine_time;
use serde_json::{Value, json};

use crate::{
    house::binary,
    people::Person,
    shop::{HOST, Shop},
    upstream::Upstream,
    yard::{Yard, unique},
};

const SYSTEMS: [&str; 4] = ["github", "gitlab", "buildkite", "circleci"];

#[test]
fn a_job_of_every_system_gets_one_run_and_ends_it() {
    let yard = Yard::open();
    for (system, name) in SYSTEMS.into_iter().zip(["shop/cart", "shop/cart", "shop/cart", "7a1f"]) {
        let run = yard.run(&yard.sound(system));
        let who = yard.house().api("GET", "/v1/whoami", Some(&run.control), None).json();
        assert_eq!(who["method"], "run", "{who}");
        assert_eq!(who["name"], name, "{who}");
        assert_eq!(who["principal"]["id"], format!("{system}:{name}#{}", run.id), "{who}");
        assert_eq!(yard.gate("GET", &run.gate), 200, "{system}");
        assert_eq!(yard.gate("POST", &run.gate), 403, "{system}");
        assert_eq!(yard.heartbeat(&run), 200);
        let path = format!("/v1/runs/{}", run.id);
        assert_eq!(yard.house().api("DELETE", &path, Some(&run.control), None).status, 204);
        assert!(yard.is_over(&run), "{system}");
        assert_eq!(yard.heartbeat(&run), 401);
    }
    // Claims are attributes with the preset's types.
    let run = yard.run(&yard.sound("github"));
    assert_eq!(yard.gate("PATCH", &run.gate), 200);
    let other = yard.run(&yard.sound("gitlab"));
    assert_eq!(yard.gate("PATCH", &other.gate), 403);
    let own = yard.run(&yard.sound("circleci"));
    assert_eq!(yard.gate("PATCH", &own.gate), 200, "whatever the names of its claims look like");
    let mut claims = yard.claims("circleci");
    claims["oidc.circleci.com/ssh-rerun"] = json!(true);
    let looked_into = yard.run(&yard.mint(&claims, json!({})));
    assert_eq!(yard.gate("PATCH", &looked_into.gate), 403);
    let path = format!("/v1/runs/{}", run.id);
    let foreign = yard.house().api("DELETE", &path, Some(&other.control), None).status;
    assert_eq!(foreign, 404, "somebody else's run does not exist");
    assert!(!yard.is_over(&run));
}

#[test]
fn d01_to_d07_job_tokens_with_defects_are_not_exchanged() {
    let yard = Yard::open();
    let now = machine_time().as_second();
    let changes = [
        ("repository", json!("evil/cart")),
        ("repository", json!("shop/cart2")),
        ("repository", json!("SHOP/cart")),
        ("repository", json!(["shop/cart", 1, {}])),
        ("repository", json!("shop/*")),
        ("repository", json!(null)),
        ("ref", json!("refs/heads/feature")),
        ("ref", json!("refs/heads/main2")),
        ("ref", json!("refs/heads/release")),
        ("ref", json!("refs/heads/release/1/../../main")),
        ("ref", json!("refs/heads/release-evil/1")),
        ("ref", json!("refs/pull/7/refs/heads/release/1")),
        ("ref", json!("refs/heads/*")),
        ("aud", json!("sigstore")),
        ("aud", json!(["sigstore"])),
        ("aud", json!(null)),
        ("iss", json!("https://token.actions.githubusercontent.com")),
        ("iss", json!(format!("http://{}/github/", yard.issuers))),
        ("exp", json!(now - 31)),
        ("exp", json!((now + 300).to_string())),
        ("exp", json!(now as f64 + 300.5)),
        ("exp", json!(-1)),
        ("exp", json!(null)),
        ("nbf", json!(now + 60)),
        ("iat", json!(now + 60)),
        ("jti", json!(7)),
        ("jti", json!("")),
        ("run_attempt", json!(2)),
        ("nonce", json!("a-persons")),
        ("token_use", json!("id")),
    ];
    for (name, value) in changes {
        let mut claims = yard.claims("github");
        claims[name] = value.clone();
        let answer = yard.exchange(&yard.mint(&claims, json!({})));
        assert_eq!(answer.status, 401, "{name}: {value}: {}", answer.text());
    }
    for missing in ["repository", "ref", "aud", "iss", "exp"] {
        let mut claims = yard.claims("github");
        claims.as_object_mut().unwrap().remove(missing);
        assert_eq!(yard.exchange(&yard.mint(&claims, json!({}))).status, 401, "no {missing}");
    }
    for (system, name, value) in [
        ("gitlab", "ref_protected", "false"),
        ("gitlab", "project_path", "shop/other"),
        ("buildkite", "organization_slug", "evil"),
        ("buildkite", "pipeline_slug", "other"),
        ("circleci", "oidc.circleci.com/project-id", "other"),
        ("circleci", "oidc.circleci.com/vcs-origin", "github.com/fork/cart"),
    ] {
        let mut claims = yard.claims(system);
        claims[name] = json!(value);
        assert_eq!(yard.exchange(&yard.mint(&claims, json!({}))).status, 401, "{system} {name}");
    }
    for defect in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"key": "stranger"}),
        json!({"header": {"kid": "ci-2"}}),
        json!({"header": {"typ": "logout+jwt"}}),
        json!({"header": {"jku": "http://127.0.0.1:9/jwks"}, "key": "stranger"}),
    ] {
        let token = yard.mint(&yard.claims("github"), defect.clone());
        assert_eq!(yard.exchange(&token).status, 401, "{defect}");
    }
    assert_eq!(yard.house().api("POST", "/v1/runs", None, None).status, 401);
    let release = json!("refs/heads/release/1.2");
    let mut claims = yard.claims("github");
    claims["ref"] = release;
    assert_eq!(yard.exchange(&yard.mint(&claims, json!({}))).status, 201, "the glob");
}

#[test]
fn d05_each_credential_is_worth_something_at_its_own_door_only() {
    let yard = Yard::open();
    let token = yard.sound("github");
    let refused = |token: &str, what: &str| {
        let gate = yard.shop.read_as(token);
        assert_eq!(gate.status, 401, "{what} at the gate: {}", gate.text());
        let control = yard.house().api("GET", "/v1/whoami", Some(token), None);
        assert_eq!(control.status, 401, "{what} at control: {}", control.text());
    };
    refused(&token, "a job's token before its exchange");
    let run = yard.run(&token);
    refused(&token, "a job's token after its exchange");
    assert!(yard.upstream.take().is_empty());
    assert_eq!(yard.gate("GET", &run.control), 401, "the run's control token at the gate");
    let gate_at_control = yard.house().api("GET", "/v1/whoami", Some(&run.gate), None).status;
    assert_eq!(gate_at_control, 401);
    // What is no job's token is not exchanged: a service's, a person's sign-in, a run's own.
    let person = yard.house().sign_in(&Person::new("ana", &[]));
    for other in [yard.shop.token.as_str(), &person, &run.control, &run.gate, "x", "a.b.c"] {
        assert_eq!(yard.exchange(other).status, 401, "{other}");
    }
    assert!(!yard.house().log().contains(&token) && !yard.house().log().contains(&run.control));
}

#[test]
fn d05_a_replayed_job_token_is_refused_after_a_restart_too() {
    let mut yard = Yard::open();
    for system in SYSTEMS {
        let token = yard.sound(system);
        let run = yard.run(&token);
        let again = yard.exchange(&token);
        assert_eq!(again.status, 401, "{}", again.text());
        assert!(again.text().contains("exchanged already"), "{}", again.text());
        yard.shop.house.kill();
        yard.shop.house.restart();
        assert_eq!(yard.exchange(&token).status, 401, "{system} after a restart");
        // The run itself goes on.
        assert!(!yard.is_over(&run), "{system}");
        assert_eq!(yard.heartbeat(&run), 200);
        let path = format!("/v1/runs/{}", run.id);
        assert_eq!(yard.house().api("DELETE", &path, Some(&run.control), None).status, 204);
        assert_eq!(yard.exchange(&token).status, 401, "{system} after its run");
    }
    // One `jti` is one token, whatever else it says.
    let mut claims = yard.claims("github");
    yard.run(&yard.mint(&claims, json!({})));
    claims["run_attempt"] = json!("3");
    assert_eq!(yard.exchange(&yard.mint(&claims, json!({}))).status, 401);
}

#[test]
fn d23_of_64_exchanges_at_once_one_wins_and_the_others_are_on_record() {
    let yard = Yard::open();
    let auditor = yard.auditor();
    let token = yard.sound("github");
    let start = Arc::new(Barrier::new(64));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    yard.exchange(&token).status
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 63, "{statuses:?}");
    // A refusal is not lost with the transaction that failed.
    let replays =
        |events: &[Value]| events.iter().filter(|event| event["decision"] == "replayed").count();
    let events = yard.house().record(&auditor, |events| replays(events) >= 63);
    assert_eq!(replays(&events), 63);
    let made =
        |event: &&Value| event["type"] == "signed_in" && event["principal"]["type"] == "Workload";
    assert_eq!(events.iter().filter(made).count(), 1);
}

#[test]
fn n15_a_run_outlives_the_token_that_it_came_from() {
    let yard = Yard::open();
    let mut claims = yard.claims("github");
    // Ten seconds of the leeway are left.
    claims["exp"] = json!(machine_time().as_second() - 20);
    let run = yard.run(&yard.mint(&claims, json!({})));
    let asked = json!({"queries": [{"operation": "shop.DELETE"}], "reason": "clean up"});
    let asked = yard.house().api("POST", "/v1/access-requests", Some(&run.control), Some(asked));
    assert_eq!(asked.json()["state"], "approved", "{}", asked.text());
    let deadline = Instant::now() + Duration::from_secs(30);
    claims["jti"] = json!("another");
    while yard.exchange(&yard.mint(&claims, json!({}))).status == 201 {
        assert!(Instant::now() < deadline, "the token never ends");
        claims["jti"] = json!(unique());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(yard.gate("GET", &run.gate), 200);
    assert_eq!(yard.gate("DELETE", &run.gate), 200, "and so does its grant");
}

#[test]
fn a_run_ends_when_its_heartbeats_stop_and_takes_its_grants_with_it() {
    let yard = Yard::with_heartbeat("10s");
    let (silent, heard) = (yard.run(&yard.sound("github")), yard.run(&yard.sound("github")));
    let asked = json!({"queries": [{"operation": "shop.DELETE"}], "reason": "clean up"});
    let asked = yard.house().api("POST", "/v1/access-requests", Some(&silent.control), Some(asked));
    assert_eq!(asked.json()["state"], "approved", "{}", asked.text());
    assert_eq!(yard.gate("DELETE", &silent.gate), 200);
    assert_eq!(yard.gate("DELETE", &heard.gate), 403, "a grant is one run's");
    let waits = json!({"queries": [{"operation": "shop.POST"}], "reason": "deploy"});
    let waits = yard.house().api("POST", "/v1/access-requests", Some(&silent.control), Some(waits));
    assert_eq!(waits.json()["state"], "pending", "{}", waits.text());
    let begun = Instant::now();
    while !yard.is_over(&silent) {
        assert!(begun.elapsed() < Duration::from_mins(1), "it goes on unheard");
        assert_eq!(yard.heartbeat(&heard), 200);
        std::thread::sleep(Duration::from_millis(300));
    }
    let auditor = yard.auditor();
    let events = yard
        .house()
        .record(&auditor, |events| events.iter().any(|event| event["type"] == "grant_ended"));
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap().clone();
    assert_eq!(of("grant_ended")["decision"], "holder_gone");
    let path = format!("/v1/access-requests/{}", waits.json()["id"].as_str().unwrap());
    let withdrawn = yard.house().api("GET", &path, Some(&auditor), None).json();
    assert_eq!(withdrawn["state"], "withdrawn", "{withdrawn:#}");
    assert_eq!(withdrawn["why"], "the run that asked has ended");
    let ended = events.iter().filter(|event| event["type"] == "sign_in_ended");
    let why: Vec<_> = ended.map(|event| event["decision"].as_str().unwrap()).collect();
    assert!(why.contains(&"silent") && why.contains(&"parent_ended"), "{why:?}");
    assert!(!yard.is_over(&heard), "one that is heard of goes on");
}

#[test]
fn d20_runs_of_one_repository_do_not_lend_each_other_what_their_claims_give() {
    let yard = Yard::open();
    let production = yard.run(&yard.sound("github"));
    let mut claims = yard.claims("github");
    claims["ref"] = json!("refs/heads/release/1");
    let release = yard.run(&yard.mint(&claims, json!({})));
    for _ in 0..3 {
        assert_eq!(yard.gate("PUT", &production.gate), 200);
        assert_eq!(yard.gate("PUT", &release.gate), 403);
        assert_eq!(yard.gate("GET", &release.gate), 200);
    }
    let asked = json!({"queries": [{"operation": "shop.DELETE"}], "reason": "clean up"});
    let asked =
        yard.house().api("POST", "/v1/access-requests", Some(&release.control), Some(asked));
    assert_eq!(asked.status, 403, "{}", asked.text());
}

/// `portcullis run`, and what it printed.
fn cli_run(yard: &Yard, token: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(binary())
        .arg("run")
        .args(arguments)
        .env("PORTCULLIS_HOME", yard.house().dir().join("homes/ci"))
        .env("PORTCULLIS_URL", format!("http://{}", yard.house().control))
        .env("PORTCULLIS_JOB_TOKEN", token)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_command_in_a_job_has_access_as_long_as_it_runs() {
    let yard = Yard::with_heartbeat("6s");
    let gate = format!("http://{}/page", yard.house().gate);
    let curl = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' -X DELETE -H 'Host: {HOST}' \
         -H \"Authorization: Bearer $PORTCULLIS_GATE_TOKEN\" {gate}"
    );
    // Longer than a heartbeat: it is heard of meanwhile.
    let script = format!(
        "test -z \"$PORTCULLIS_JOB_TOKEN\" && sleep 8 && {curl}; echo; echo $PORTCULLIS_GATE_TOKEN; exit 7"
    );
    let token = yard.sound("github");
    let (code, said) = cli_run(&yard, &token, &["shop.DELETE", "--", "sh", "-c", &script]);
    assert_eq!(code, Some(7), "the command's own code: {said}");
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("200"), "{said}");
    let kept = lines.next().unwrap();
    assert!(kept.starts_with("pc_sign_"), "{said}");
    assert_eq!(yard.gate("DELETE", kept), 401, "the run ended with its command");
    // Its own failures are 125, and nothing is run.
    let (code, said) = cli_run(&yard, &token, &["shop.DELETE", "--", "echo", "ran"]);
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("exchanged already") && !said.contains("ran\n"), "{said}");
    let mut claims = yard.claims("github");
    claims["ref"] = json!("refs/heads/release/1");
    let release = yard.mint(&claims, json!({}));
    let (code, said) = cli_run(&yard, &release, &["shop.DELETE", "--", "echo", "ran"]);
    assert_eq!(code, Some(125), "{said}");
    assert!(!said.contains("ran\n") && !said.contains(&release), "{said}");
    let (code, said) = cli_run(&yard, &yard.sound("github"), &["--", "/no/such/program"]);
    assert_eq!(code, Some(125), "{said}");
}

#[test]
fn whoami_says_where_it_comes_from() {
    let yard = Yard::open();
    let explained = |token: &str| {
        let answer = yard.house().api("GET", "/v1/whoami?explain=true", Some(token), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["explain"].clone()
    };
    let run = yard.run(&yard.sound("github"));
    let of_run = explained(&run.control);
    assert_eq!(of_run["scheme"], "a CI job's run of `github`");
    assert_eq!(of_run["issuer"], format!("http://{}/github", yard.issuers));
    assert_eq!(of_run["subject"], "{repository}");
    assert_eq!(of_run["claims"]["ref"], "refs/heads/main");
    let groups = json!({
        "readers": "rule `repository_owner=shop`",
        "deployers": "rule `environment=production and ref=refs/heads/main`",
    });
    assert_eq!(of_run["groups"], groups);
    let of_workload = explained(&yard.shop.token);
    assert_eq!(of_workload["scheme"], "a JWT of `builds`");
    assert_eq!(of_workload["groups"], json!({"readers": "claim `groups`"}));
    let ana = yard.house().sign_in(&Person::new("ana", &["engineering"]));
    let of_ana = explained(&ana);
    assert_eq!(of_ana["scheme"], "a sign-in through `corp`, by OpenID Connect");
    assert_eq!(of_ana["groups"], json!({"engineering": "claim `groups`"}));
    yard.house().profile("ana", &ana);
    let shown = yard.house().cli("ana", &["whoami", "--explain"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("group      engineering, from claim `groups`"), "{shown}");
    let plain = yard.house().api("GET", "/v1/whoami", Some(&ana), None).json();
    assert_eq!(plain.get("explain"), None);
}

#[test]
fn a_persons_claims_are_attributes_with_types() {
    let upstream = Upstream::start();
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.oidc("claims: {department: String, level: Long}").policy(
            "people.cedar",
            r#"
@id("seniors")
permit (principal is User, action == Action::"shop.GET", resource == Service::"shop")
when { principal has department && principal.department == "shop" && principal has level && principal.level > 3 };
"#,
        )
    });
    let status = |claims: Value| {
        let mut person = Person::new("ana", &[]);
        person.more = claims;
        let gate = shop.house.gate_token(&shop.house.sign_in(&person));
        shop.read_as(&gate).status
    };
    assert_eq!(status(json!({"department": "shop", "level": 4})), 200);
    assert_eq!(status(json!({"department": "shop", "level": 3})), 403);
    assert_eq!(status(json!({"department": "other", "level": 4})), 403);
    assert_eq!(status(json!({"department": "shop"})), 403);
}

//! People and workloads of a certified OpenID provider, through the binary.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use portcullis_testkit::{Process, net::free_port};
use serde_json::json;

use crate::{
    browser::Browser,
    desk::{Desk, OWN, PAGE, cookie},
    house::{House, Plan, binary},
    provider_server::{Provider, confirm, sign_in},
    shop::Shop,
    upstream::Upstream,
    wire::Response,
};

/// A provider, and where control is that it knows.
fn provider() -> Option<(Provider, u16)> {
    let port = free_port();
    Some((Provider::start(0, &format!("http://127.0.0.1:{port}"))?, port))
}

/// A person of the provider `oidc` or `oauth2` describes, with `login`, by command line.
fn login(house: &House, login: &str) {
    let mut command = Command::new(binary());
    command
        .args(["login", "--no-browser", "--provider", "outside"])
        .arg(format!("http://{}", house.control))
        .env("PORTCULLIS_HOME", house.dir().join("homes").join(login))
        .stderr(Stdio::null());
    let process = Process::start(&mut command);
    let uri = process.wait_for_line("To sign in, open ", Duration::from_mins(1));
    let code = process.wait_for_line("and see that it shows the code ", Duration::from_secs(20));
    assert!(uri.ends_with(&code), "{uri} has the code {code} filled in");
    confirm(&uri, login, &[]);
    let who = process.wait_for_line("signed in as ", Duration::from_mins(1));
    assert!(who.starts_with(&format!("outside:{login}")), "{who}");
}

fn whoami(house: &House, login: &str) -> String {
    let shown = house.cli(login, &["whoami", "--explain"]);
    String::from_utf8_lossy(&shown.stdout).to_lowercase()
}

#[test]
fn a_person_signs_in_through_a_certified_provider() {
    let Some((provider, port)) = provider() else { return };
    let upstream = Upstream::start();
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.file("secret", "portcullis-secret\n").control_port(port).people(&format!(
            "{{name: outside, oidc: {{issuer: \"{}\", client_id: portcullis, client_secret: {{file: secret}}, \
             groups_claim: groups, scopes: [openid, email, profile, groups]}}}}",
            provider.issuer
        ))
    });
    login(&shop.house, "ana");
    let shown = whoami(&shop.house, "ana");
    for part in ["outside:ana", "ana@example.com", "engineers", "on-call", "openid connect"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

/// The provider as one that speaks OAuth 2.0 only, alone or beside others.
fn plain(provider: &Provider, more: &str) -> String {
    let issuer = &provider.issuer;
    format!(
        "{{name: outside, oauth2: {{issuer: \"{issuer}\", authorization_endpoint: \"{issuer}/auth\", \
         token_endpoint: \"{issuer}/token\", introspection_endpoint: \"{issuer}/token/introspection\", \
         client_id: plain, client_secret: {{file: secret}}, scopes: [email, groups], \
         groups_claim: groups{more}}}}}"
    )
}

/// Desk and shelf, for the engineers of `people`.
fn office(port: u16, upstream: &Upstream, people: &str, secret: &str) -> House {
    let service = format!(
        "name: desk\nhosts: [desk.example.com]\nupstream: {{instances: {{d-1: \"{}\"}}}}",
        upstream.url()
    );
    let policy = r#"@id("engineers")
        permit (principal is User in Group::"engineers", action, resource in Service::"desk");"#;
    let plan = Plan::empty().service(&service).policy("desk.cedar", policy);
    plan.file("secret", &format!("{secret}\n")).control_port(port).only_people(people).start()
}

/// Goes to the desk and lets `login` sign in; where the provider sends the browser back to.
fn returned(house: &House, provider: &str, browser: &mut Browser, login: &str) -> String {
    let sent = browser.open_until(PAGE, |to| to.starts_with(provider));
    let to = sent.header("location").unwrap_or_else(|| panic!("{}", sent.text())).to_owned();
    assert!(to.contains("code_challenge_method=S256"), "{to}");
    sign_in(&to, login, &format!("http://{}/", house.control))
}

fn signed_in(house: &House, provider: &str, login: &str) -> (Browser, Response) {
    let mut browser = Browser::new(house);
    let back = returned(house, provider, &mut browser, login);
    let response = browser.open(&back);
    (browser, response)
}

fn script(house: &House, browser: &Browser) -> Response {
    crate::wire::exchange(
        house.gate,
        format!(
            "GET /data HTTP/1.1\r\nHost: desk.example.com\r\n{}{OWN}Connection: close\r\n\r\n",
            cookie(browser)
        ),
    )
}

#[test]
fn people_of_a_provider_without_id_tokens_sign_in_and_are_asked_about_again() {
    let Some((mut provider, port)) = provider() else { return };
    let upstream = Upstream::start();
    let device = format!(
        ", recheck: 1s, device_authorization_endpoint: \"{}/device/auth\"",
        provider.issuer
    );
    let house = office(port, &upstream, &plain(&provider, &device), "plain-secret");
    let (browser, response) = signed_in(&house, &provider.issuer, "ana");
    assert_eq!(response.status, 200, "{:#?} {}", browser.history, response.text());
    let seen = upstream.take();
    assert_eq!(seen[0].headers("portcullis-principal"), ["outside:ana"]);
    let asked = browser.history.iter().find(|to| to.contains("/sign-in/callback")).unwrap();
    assert!(asked.contains("iss="), "the answer names its issuer: {asked}");
    // n12: who comes without groups is told so.
    let (_, refused) = signed_in(&house, &provider.issuer, "sam");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("groups"), "{}", refused.text());
    // The same by command line.
    login(&house, "ben");
    let shown = whoami(&house, "ben");
    for part in ["outside:ben", "engineers", "oauth 2.0 and introspection", &provider.issuer] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(!shown.contains("ben@example.com"), "d19: an unverified address is none");
    // It goes on while it is asked again and again, and ends with the account.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(script(&house, &browser).status, 200);
    provider.disable("ana");
    Desk::becomes(401, || script(&house, &browser));
}

#[test]
fn d18_an_answer_that_does_not_name_its_issuer_is_another_ones() {
    let Some((provider, port)) = provider() else { return };
    let upstream = Upstream::start();
    let house = office(port, &upstream, &plain(&provider, ""), "plain-secret");
    // There is no device flow: that is said, and nothing is begun.
    let begun = house.api("POST", "/v1/device", None, Some(json!({})));
    assert_eq!(begun.status, 503);
    assert!(begun.text().contains("sign in with a browser"), "{}", begun.text());
    for forged in ["", "&iss=https%3A%2F%2Fevil.example"] {
        let mut browser = Browser::new(&house);
        let back = returned(&house, &provider.issuer, &mut browser, "ana");
        let (without, _) = back.split_once("&iss=").expect("the provider says who it is");
        let response = browser.open(&format!("{without}{forged}"));
        assert_eq!(response.status, 403, "{}", response.text());
        // Another browser has no use for what came back.
        assert_ne!(Browser::new(&house).open(&back).status, 200);
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn opaque_tokens_of_a_certified_provider_open_what_they_are_for() {
    let Some((mut provider, port)) = provider() else { return };
    let upstream = Upstream::start();
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.file("secret", "portcullis-secret\n").control_port(port).workload(&format!(
            "{{name: batch, introspection: {{issuer: \"{}\", client_id: portcullis, \
             client_secret: {{file: secret}}, audience: \"https://shop.example.com/\", \
             scopes: [shop.read], subject: \"{{client_id}}\", claims: {{team: String}}, \
             groups_claim: teams, refresh: 1s}}}}",
            provider.issuer
        ))
    });
    let resource = "resource=https://shop.example.com/";
    let token = provider.batch_token(&[resource, "scope=shop.read shop.list"]);
    for _ in 0..3 {
        let response = shop.read_as(&token);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    let seen = upstream.take();
    assert_eq!(seen[0].headers("portcullis-principal"), ["batch:batch"]);
    let who = shop.house.api("GET", "/v1/whoami", Some(&token), None).json();
    assert_eq!(
        (&who["principal"]["id"], &who["groups"]),
        (&json!("batch:batch"), &json!(["readers"]))
    );
    // D22: the same client, for nobody and for too little.
    let others = [vec!["scope=shop.read"], vec![resource, "scope=shop.list"], vec![resource]];
    for asked in others {
        let refused = shop.read_as(&provider.batch_token(&asked));
        assert_eq!(refused.status, 401, "{asked:?}: {}", refused.text());
    }
    assert_eq!(shop.read_as("nobody-ever-got-this-token").status, 401);
    assert_eq!(shop.read_as(&token).status, 200);
    let next = provider.batch_token(&[resource, "scope=shop.read"]);
    provider.revoke(&token);
    Desk::becomes(401, || shop.read_as(&token));
    provider.kill();
    let away = shop.read_as(&next);
    assert_eq!(away.status, 503, "{}", away.text());
}

#[test]
fn d09_keys_that_change_under_load_and_a_provider_that_goes_refuse_nobody_wrongly() {
    const BROWSERS: usize = 3;
    const ROUNDS: usize = 2;
    let Some((mut provider, port)) = provider() else { return };
    let issuer = provider.issuer.clone();
    let upstream = Upstream::start();
    let people = format!(
        "{{name: outside, oidc: {{issuer: \"{issuer}\", client_id: portcullis, client_secret: {{file: secret}}, \
         groups_claim: groups, scopes: [openid, groups], recheck: 1s}}}}"
    );
    let house = office(port, &upstream, &people, "portcullis-secret");
    let (early, response) = signed_in(&house, &issuer, "ana");
    assert_eq!(response.status, 200, "{}", response.text());
    let done = AtomicUsize::new(0);
    let mut rotations = 0;
    std::thread::scope(|scope| {
        let going: Vec<_> = (0..BROWSERS)
            .map(|at| {
                let (house, issuer, done) = (&house, &issuer, &done);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let (browser, response) = signed_in(house, issuer, ["ana", "ben"][at % 2]);
                        assert_eq!(response.status, 200, "{at}, {round}: {}", response.text());
                        assert_eq!(script(house, &browser).status, 200);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        // A new key for about every sign-in; and whoever is signed in works on meanwhile.
        let mut last = usize::MAX;
        while !going.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            if done.load(Ordering::SeqCst) != last {
                last = done.load(Ordering::SeqCst);
                provider.rotate();
                rotations += 1;
            }
            assert_eq!(script(&house, &early).status, 200);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(rotations >= 2, "{rotations}");
    // A key that is newer than any that could be known, in the very moment of signing in.
    for _ in 0..2 {
        let mut browser = Browser::new(&house);
        let back = returned(&house, &issuer, &mut browser, "ben");
        provider.rotate();
        let response = browser.open(&back);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    goes_away(provider, &house, &early);
}

/// The provider goes away: known sign-ins go on, new ones are told, and another one in its place is found.
fn goes_away(mut provider: Provider, house: &House, early: &Browser) {
    let issuer = provider.issuer.clone();
    let mut late = Browser::new(house);
    let back = returned(house, &issuer, &mut late, "ben");
    provider.kill();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(script(house, early).status, 200, "known sign-ins go on");
        std::thread::sleep(Duration::from_millis(100));
    }
    let response = late.open(&back);
    assert_eq!(response.status, 503, "{}", response.text());
    let begun = house.api("POST", "/v1/device", None, Some(json!({})));
    assert_eq!(begun.status, 503, "{}", begun.text());
    // Another one in its place knows neither its keys nor its people's sessions.
    let port = issuer.rsplit(':').next().unwrap().parse().unwrap();
    let control = format!("http://{}", house.control);
    let _provider = Provider::start(port, &control).expect("it was there before");
    let (_, response) = signed_in(house, &issuer, "ben");
    assert_eq!(response.status, 200, "{}", response.text());
}

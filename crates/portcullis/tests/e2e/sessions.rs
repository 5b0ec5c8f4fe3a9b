//! Groups D and N: what becomes of a browser's sign-in once it is there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    browser::{Browser, TYPED},
    desk::{CONTROL, Desk, GATE, OWN, PAGE, ana, cookie},
    people::Person,
    upstream::Upstream,
    wire::{Response, Wire},
};

/// An upstream whose answer does not end.
const ENDLESS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\ndata: 1\n\n";

fn stream(desk: &Desk, browser: &Browser) -> Wire {
    let mut wire = Wire::connect(desk.house.gate);
    wire.send(format!(
        "GET /stream HTTP/1.1\r\nHost: desk.example.com\r\n{}{OWN}\r\n",
        cookie(browser)
    ));
    assert!(wire.read_until(b"data: 1").starts_with(b"HTTP/1.1 200"));
    wire
}

/// A call of the API by a page of control's own.
fn api(desk: &Desk, browser: &mut Browser, method: &str, path: &str, headers: &str) -> Response {
    let control = desk.house.control;
    let own = format!("Origin: http://{control}\r\nSec-Fetch-Site: same-origin\r\n{headers}");
    browser.send(method, &format!("http://{control}{path}"), &own, "")
}

#[test]
fn d24_what_changes_something_needs_the_own_origin_and_the_token_of_a_page() {
    let desk = Desk::open();
    let mut browser = desk.browser();
    let session = api(&desk, &mut browser, "GET", "/v1/session", "");
    assert_eq!(session.status, 200, "{}", session.text());
    let session = session.json();
    assert_eq!(session["principal"]["id"], "corp:ana");
    let token = session["csrf_token"].as_str().unwrap();
    assert!(!browser.cookie("127.0.0.1", CONTROL).unwrap().contains(token));
    let control = format!("http://{}", desk.house.control);
    let own = format!("Origin: {control}\r\n");
    let carries = format!("Portcullis-CSRF: {token}\r\n");
    for (headers, why) in [
        (own.clone(), "no token"),
        (carries.clone(), "no origin"),
        (format!("{own}Portcullis-CSRF: {}\r\n", "A".repeat(43)), "another token"),
        (format!("Origin: https://evil.example\r\n{carries}"), "another origin"),
        (format!("Origin: null\r\n{carries}"), "no origin to speak of"),
        (format!("{own}Sec-Fetch-Site: cross-site\r\n{carries}"), "another site"),
        (format!("Sec-Fetch-Site: same-origin\r\n{carries}"), "no origin named"),
    ] {
        for path in
            ["/v1/sign-out", "/v1/access-requests", "/v1/grants/01ARZ3NDEKTSV4RRFFQ69G5FAV/revoke"]
        {
            let refused = browser.send("POST", &format!("{control}{path}"), &headers, "");
            assert_eq!(refused.status, 403, "{path}, {why}: {}", refused.text());
        }
        let form = format!("{headers}Content-Type: application/x-www-form-urlencoded\r\n");
        let known = if why == "no token" { "csrf=" } else { "csrf=x" };
        let refused = browser.send("POST", &format!("{control}/sign-out"), &form, known);
        assert_eq!(refused.status, 403, "{why}");
    }
    for headers in ["", "Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let read = browser.send("GET", &format!("{control}/v1/grants"), headers, "");
        assert_eq!(read.status, 403, "{headers}");
    }
    assert_eq!(api(&desk, &mut browser, "GET", "/v1/grants", "").status, 200);
    let gone = api(&desk, &mut browser, "POST", "/v1/sign-out", &carries);
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(api(&desk, &mut browser, "GET", "/v1/grants", "").status, 401);
}

#[test]
fn d25_signing_out_at_the_gate_ends_the_whole_sign_in_and_cuts_its_streams() {
    let desk = Desk::furnished(Upstream::answering(ENDLESS), |plan| plan);
    let mut browser = Browser::new(&desk.house);
    browser.open_until(PAGE, |to| to == PAGE);
    browser.open_until("https://shelf.example.com/", |to| to == "https://shelf.example.com/");
    let mut streaming = stream(&desk, &browser);
    let page = browser.open("https://desk.example.com/.portcullis/sign-out");
    assert!(page.text().contains("<form method=\"post\""), "{}", page.text());
    let address = "https://desk.example.com/.portcullis/sign-out";
    for foreign in ["", "Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(browser.send("POST", address, foreign, "").status, 403, "{foreign}");
    }
    let (gate, shelf) =
        (cookie(&browser), browser.cookie("shelf.example.com", GATE).unwrap().to_owned());
    let begun = Instant::now();
    assert_eq!(browser.send("POST", address, OWN, "").status, 200);
    assert!(streaming.until_closed().is_some(), "the stream is cut");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(browser.cookie("desk.example.com", GATE).is_none());
    assert_eq!(desk.script("GET", &format!("{gate}{OWN}")).status, 401);
    let at_shelf = format!(
        "GET / HTTP/1.1\r\nHost: shelf.example.com\r\nCookie: {GATE}={shelf}\r\nOrigin: https://shelf.example.com\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(crate::wire::exchange(desk.house.gate, at_shelf).status, 401);
    assert_eq!(api(&desk, &mut browser, "GET", "/v1/whoami", "").status, 401);
    let ended = desk.events("sign_in_ended", |events| events.len() >= 3);
    assert!(ended.iter().any(|event| event["decision"] == "signed_out"), "{ended:#?}");
}

#[test]
fn d25_back_channel_logout_ends_what_it_names_and_is_good_once() {
    let desk = Desk::open();
    let browser = desk.browser();
    let headers = format!("{}{OWN}", cookie(&browser));
    let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let issuer = desk.house.people.issuer();
    let sound = || {
        let now = portcullis_testkit::ambient::machine_time();
        issuer
            .token(now)
            .header("typ", "logout+jwt")
            .claim("sub", "ana")
            .claim("sid", "session-of-ana")
            .claim("events", event.clone())
            .claim("jti", "one")
    };
    let stranger = portcullis_testkit::SigningKey::generate("stranger", "ES256");
    let bad = [
        ("no event", sound().without("events").mint()),
        ("another event", sound().claim("events", json!({"x": {}})).mint()),
        ("a nonce", sound().claim("nonce", "x").mint()),
        ("no id", sound().without("jti").mint()),
        ("nobody", sound().without("sub").without("sid").mint()),
        ("another client", sound().claim("aud", "another").mint()),
        ("another issuer", sound().claim("iss", "https://evil.example").mint()),
        ("too old", sound().claim("exp", 1).mint()),
        ("no expiry", sound().without("exp").mint()),
        ("an ID token", sound().header("typ", "at+jwt").mint()),
        ("a stranger's key", sound().signed_by(&stranger)),
        ("nonsense", "x".to_owned()),
    ];
    for (why, token) in bad {
        assert_eq!(log_out(&desk, "corp", &token).status, 400, "{why}");
    }
    let of_another = sound().claim("sub", "ben").claim("jti", "two").mint();
    assert_eq!(log_out(&desk, "corp", &of_another).status, 200);
    let session = sound().claim("sid", "another").claim("jti", "three").mint();
    assert_eq!(log_out(&desk, "corp", &session).status, 200);
    assert_eq!(log_out(&desk, "nobody", &sound().mint()).status, 400);
    assert_eq!(desk.script("GET", &headers).status, 200, "nothing has ended so far");
    let token = sound().mint();
    assert_eq!(log_out(&desk, "corp", &token).status, 200);
    assert_eq!(desk.script("GET", &headers).status, 401);
    let again = desk.browser();
    assert_eq!(log_out(&desk, "corp", &token).status, 400, "a replay");
    assert_eq!(desk.script("GET", &format!("{}{OWN}", cookie(&again))).status, 200);
}

fn log_out(desk: &Desk, provider: &str, token: &str) -> Response {
    let body = format!("logout_token={token}");
    let head = format!(
        "POST /sign-in/{provider}/logged-out HTTP/1.1\r\nHost: control.example.com\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    crate::wire::exchange(desk.house.control, head)
}

#[test]
fn d20_groups_are_read_again_and_what_was_lost_is_lost_here_too() {
    let desk = Desk::furnished(Upstream::answering(ENDLESS), |plan| plan.corp("recheck: 1s"));
    let mut browser = Browser::new(&desk.house);
    browser.open_until(PAGE, |to| to == PAGE);
    let mut streaming = stream(&desk, &browser);
    let headers = format!("{}{OWN}", cookie(&browser));
    desk.house.people.browsers().change(&Person::new("ana", &["visitors"]));
    assert!(streaming.until_closed().is_some(), "the stream is cut");
    // Nothing is permitted to visitors: for them the service is not there.
    assert_eq!(desk.script("GET", &headers).status, 404);
    desk.house.people.browsers().disable("ana");
    Desk::becomes(401, || desk.script("GET", &headers));
    let ended = desk.events("sign_in_ended", |events| !events.is_empty());
    assert!(ended.iter().any(|event| event["decision"] == "provider_refused"), "{ended:#?}");
    assert_eq!(desk.events("person_changed", |events| !events.is_empty()).len(), 1);
}

#[test]
fn d20_a_provider_that_is_away_ends_nothing_and_a_restart_forgets_nothing() {
    let mut desk = Desk::furnished(Upstream::start(), |plan| plan.corp("recheck: 1s"));
    let browser = desk.browser();
    let headers = format!("{}{OWN}", cookie(&browser));
    desk.house.people.issuer().set_fault(Some(portcullis_testkit::Fault::Down));
    desk.house.kill();
    desk.house.restart();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(desk.script("GET", &headers).status, 200, "known sign-ins go on");
    desk.house.people.browsers().disable("ana");
    desk.house.people.issuer().set_fault(None);
    Desk::becomes(401, || desk.script("GET", &headers));
}

#[test]
fn n12_a_groups_claim_that_is_left_out_or_cut_short_is_an_error() {
    let desk = Desk::furnished(Upstream::start(), |plan| plan.corp("recheck: 1s"));
    let provider = desk.house.people.browsers();
    let cut: [Value; 4] = [
        json!({"groups": null}),
        json!({"groups": null, "hasgroups": true}),
        json!({"groups": null, "_claim_names": {"groups": "src1"}}),
        json!({"groups": "staff"}),
    ];
    for claims in &cut {
        provider.claim(claims.clone());
        let mut browser = Browser::new(&desk.house);
        let response = browser.open(PAGE);
        assert_eq!(response.status, 403, "{claims}: {}", response.text());
        assert!(response.text().contains("groups"), "{}", response.text());
    }
    provider.claim(json!({}));
    let browser = desk.browser();
    let headers = format!("{}{OWN}", cookie(&browser));
    provider.claim(cut[2].clone());
    Desk::becomes(401, || desk.script("GET", &headers));
}

#[test]
fn n15_a_sign_in_outlives_the_identity_token_that_it_came_from() {
    let desk = Desk::open();
    let now = portcullis_testkit::ambient::machine_time().as_second();
    // Skew makes a token good for 30 s more at most: this one is in its last ones.
    desk.house.people.browsers().claim(json!({"iat": now - 60, "exp": now - 10}));
    let mut browser = Browser::new(&desk.house);
    assert_eq!(browser.open(PAGE).status, 200);
    std::thread::sleep(Duration::from_secs(22));
    let headers = format!("{}{OWN}", cookie(&browser));
    assert_eq!(desk.script("GET", &headers).status, 200);
}

#[test]
fn a_sign_in_that_nobody_uses_ends_and_one_in_use_does_not() {
    let desk = Desk::furnished(Upstream::start(), |plan| {
        plan.identity("sign_ins: {idle: 10s, absolute: 1h}")
    });
    let (used, idle) = (desk.browser(), desk.browser());
    let headers = |browser: &Browser| format!("{}{OWN}", cookie(browser));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(15) {
        assert_eq!(desk.script("GET", &headers(&used)).status, 200, "{:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(desk.script("GET", &headers(&idle)).status, 401);
    let ended = desk.events("sign_in_ended", |events| !events.is_empty());
    assert!(ended.iter().any(|event| event["decision"] == "idle"), "{ended:#?}");
}

#[test]
fn browsers_sign_ins_are_listed_revocable_and_hashed_at_rest() {
    let desk = Desk::open();
    let mut browser = desk.browser();
    let token = desk.house.sign_in(&ana());
    let listed = desk.house.api("GET", "/v1/sign-ins", Some(&token), None).json();
    let all = listed["sign_ins"].as_array().unwrap();
    let gate =
        all.iter().find(|one| one["origin"] == "https://desk.example.com").expect("it is listed");
    assert_eq!(gate["audience"], "gate");
    let secret = browser.cookie("desk.example.com", GATE).unwrap().to_owned();
    assert!(!listed.to_string().contains(&secret));
    let path = format!("/v1/sign-ins/{}", gate["id"].as_str().unwrap());
    assert_eq!(desk.house.api("DELETE", &path, Some(&token), None).status, 204);
    assert_eq!(desk.script("GET", &format!("Cookie: {GATE}={secret}\r\n{OWN}")).status, 401);
    let control = browser.cookie("127.0.0.1", CONTROL).unwrap().to_owned();
    let begun = browser.cookie("desk.example.com", "__Host-portcullis-begun").unwrap().to_owned();
    assert_eq!(browser.open(PAGE).status, 200, "signed in at control they still are");
    let mut files = vec![desk.house.dir().join("serve.log")];
    for name in ["portcullis.db", "portcullis.db-wal"] {
        files.push(desk.house.dir().join(name));
    }
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for canary in [&secret, &control, &begun] {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} is in {}", file.display());
        }
    }
}

#[test]
fn step_up_asks_the_provider_anew_and_believes_only_what_it_says() {
    let desk = Desk::furnished(Upstream::start(), |plan| {
        plan.corp("step_up: {acr_values: [phr]}").policy(
            "fresh.cedar",
            r#"@id("fresh") forbid (principal is User, action == Action::"desk.DELETE", resource)
               unless { principal.amr.contains("hwk") && context.auth.age < duration("10m") };"#,
        )
    });
    let provider = desk.house.people.browsers();
    let mut browser = desk.browser();
    let headers = format!("{}{OWN}Accept: text/html\r\n", cookie(&browser));
    let refused = desk.script("DELETE", &headers);
    assert_eq!(refused.status, 403);
    let page = refused.text();
    let again = "/.portcullis/sign-in?fresh=true";
    assert!(page.contains(again), "{page}");
    let now = portcullis_testkit::ambient::machine_time().as_second();
    let again = format!("https://desk.example.com{again}");
    for (claims, why) in [
        (json!({"amr": ["hwk"], "acr": "phr", "auth_time": now - 600}), "anew"),
        (json!({"amr": ["hwk"], "acr": "phr", "auth_time": null}), "when"),
        (json!({"amr": ["hwk"], "acr": "pwd"}), "strongly"),
        (json!({"amr": ["hwk"]}), "strongly"),
    ] {
        provider.claim(claims);
        let response = browser.open(&again);
        assert_eq!(response.status, 403, "{}", response.text());
        assert!(response.text().contains(why), "{}", response.text());
    }
    provider.claim(json!({"amr": ["hwk"], "acr": "phr"}));
    assert_eq!(browser.open(&again).status, 200, "{:#?}", browser.history);
    let asked = provider.asked();
    let asked = asked.last().unwrap();
    assert_eq!((asked["max_age"].as_str(), asked["acr_values"].as_str()), ("0", "phr"));
    let headers = format!("{}{OWN}", cookie(&browser));
    assert_eq!(desk.script("DELETE", &headers).status, 200);
}

#[test]
fn several_providers_stand_side_by_side_and_the_person_chooses() {
    let other = crate::people::People::start();
    other.browsers().seat(&Person::new("ana", &["staff"]));
    let yaml = format!(
        "{{name: partners, oidc: {{issuer: \"{}\", client_id: portcullis, groups_claim: groups}}}}",
        other.issuer().url()
    );
    let desk = Desk::furnished(Upstream::start(), |plan| plan.people(&yaml));
    let mut browser = Browser::new(&desk.house);
    let choice = browser.open(PAGE);
    assert_eq!(choice.status, 200);
    let page = choice.text();
    let link =
        page.split("href=\"").find(|part| part.contains("provider=partners")).expect("a link");
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    assert!(page.contains("provider=corp"), "{page}");
    let response = browser.open(&format!("http://{}{link}", desk.house.control));
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "upstream"),
        "{:#?}",
        browser.history
    );
    assert_eq!(desk.upstream.take()[0].headers("portcullis-principal"), ["partners:ana"]);
    // D18: what one provider answers to a sign-in with the other is refused.
    let mut browser = Browser::new(&desk.house);
    let start = link.replace("provider=partners", "provider=corp");
    let start = format!("http://{}{start}", desk.house.control);
    let callback = browser.open_until(&start, |to| to.contains("/sign-in/callback"));
    let callback = callback.header("location").unwrap();
    let forged =
        format!("{}&iss={}", callback.split("&iss=").next().unwrap(), other.issuer().url());
    assert_eq!(browser.send("GET", &forged, TYPED, "").status, 403);
}

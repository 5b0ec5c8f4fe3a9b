//! Groups D and N: people who come with a browser.

use serde_json::json;

use crate::{
    browser::{Browser, TYPED},
    desk::{CONTROL, Desk, GATE, OWN, PAGE, ana, cookie},
    upstream::Upstream,
    wire::exchange,
};

#[test]
fn a_browser_is_sent_to_sign_in_and_back_to_the_page_it_wanted() {
    let desk = Desk::open();
    let mut browser = Browser::new(&desk.house);
    let response = browser.open(PAGE);
    assert_eq!((response.status, response.text().as_str()), (200, "upstream"));
    let steps: Vec<_> =
        browser.history.iter().map(|step| step.split('?').next().unwrap()).collect();
    let control = format!("http://{}", desk.house.control);
    assert_eq!(steps[0], "https://desk.example.com/page");
    assert_eq!(steps[1], format!("{control}/sign-in"));
    assert!(steps[2].ends_with("/authorize"), "{steps:#?}");
    assert_eq!(steps[3], format!("{control}/sign-in/callback"));
    assert_eq!(steps[4], "https://desk.example.com/.portcullis/signed-in");
    assert_eq!(browser.history.last().unwrap(), PAGE);
    let seen = desk.upstream.take();
    assert_eq!(seen.len(), 1, "nothing but the page went upstream: {seen:#?}");
    assert_eq!(seen[0].headers("portcullis-principal"), ["corp:ana"]);
    assert!(seen[0].headers("cookie").is_empty(), "n01: {}", seen[0].head);
    let asked = &desk.house.people.browsers().asked()[0];
    assert_eq!(
        (asked["code_challenge_method"].as_str(), asked["response_type"].as_str()),
        ("S256", "code")
    );
    assert!(!asked["state"].contains("page"), "the provider learns nothing of the page");
    // Another service: no question is asked again.
    let response = browser.open("https://shelf.example.com/");
    assert_eq!(response.status, 200);
    assert_eq!(desk.house.people.browsers().asked().len(), 1);
    let held: Vec<_> = browser.cookies.iter().filter(|((_, name), _)| name == GATE).collect();
    assert_eq!(held.len(), 2);
    assert_ne!(held[0].1, held[1].1, "each origin has a sign-in of its own");
}

#[test]
fn only_pages_are_led_away_and_scripts_are_told() {
    let desk = Desk::open();
    for (headers, wanted) in [
        ("Accept: application/json\r\n", 401),
        ("Accept: text/html\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n", 401),
        ("Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n", 401),
        ("Accept: text/html\r\n", 303),
    ] {
        assert_eq!(desk.script("GET", headers).status, wanted, "{headers}");
    }
    assert_eq!(desk.script("POST", "Accept: text/html\r\n").status, 401);
    let unknown = "GET / HTTP/1.1\r\nHost: nowhere.example.com\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(desk.house.gate, unknown).status, 303, "hosts are not told apart");
    let mut browser = desk.browser();
    assert_eq!(browser.open("https://nowhere.example.com/").status, 404);
    assert!(desk.upstream.take().is_empty());
}

#[test]
fn n01_a_cookie_of_ours_never_reaches_an_upstream_and_others_do() {
    let desk = Desk::open();
    let mut browser = desk.browser();
    for name in ["mine", "portcullis-control", "__Host-portcullis-control"] {
        browser.cookies.insert(("desk.example.com".into(), name.into()), "x".into());
    }
    assert_eq!(browser.open(PAGE).status, 200);
    let seen = desk.upstream.take();
    assert_eq!(seen[0].headers("cookie"), ["mine=x"]);
    // Nor when a header says who asks.
    let token = desk.house.gate_token(&desk.house.sign_in(&ana()));
    let headers = format!("Authorization: Bearer {token}\r\n{}", cookie(&browser));
    assert_eq!(desk.script("GET", &headers).status, 200);
    let seen = desk.upstream.take();
    assert!(seen[0].headers("cookie").is_empty() && seen[0].headers("authorization").is_empty());
}

#[test]
fn n01_a_browsers_sign_in_is_good_in_its_cookie_at_its_origin_only() {
    let desk = Desk::open();
    let mut browser = desk.browser();
    assert_eq!(browser.open("https://shelf.example.com/").status, 200);
    let at_desk = browser.cookie("desk.example.com", GATE).unwrap().to_owned();
    let as_header = format!("Authorization: Bearer {at_desk}\r\n{OWN}");
    assert_eq!(desk.script("GET", &as_header).status, 401);
    let elsewhere = format!(
        "GET / HTTP/1.1\r\nHost: shelf.example.com\r\nCookie: {GATE}={at_desk}\r\nOrigin: https://shelf.example.com\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(exchange(desk.house.gate, elsewhere).status, 401);
    assert_eq!(desk.house.api("GET", "/v1/whoami", Some(&at_desk), None).status, 401);
    // What a command line holds is no cookie.
    let token = desk.house.gate_token(&desk.house.sign_in(&ana()));
    assert_eq!(desk.script("GET", &format!("Cookie: {GATE}={token}\r\n{OWN}")).status, 401);
    // A failed header never falls through to a cookie that is good.
    let both = format!("Authorization: Bearer pc_sign_wrong\r\n{}{OWN}", cookie(&browser));
    assert_eq!(desk.script("GET", &both).status, 401);
    let before = desk.upstream.take().len();
    assert_eq!(desk.script("GET", &format!("{}{OWN}", cookie(&browser))).status, 200);
    assert_eq!((before, desk.upstream.take().len()), (1, 1));
}

#[test]
fn n13_a_cookie_used_by_a_page_of_another_origin_is_refused() {
    let desk = Desk::open();
    let browser = desk.browser();
    let with = |method: &str, headers: &str| {
        desk.script(method, &format!("{}{headers}", cookie(&browser))).status
    };
    for method in ["GET", "POST", "PUT", "DELETE"] {
        assert_eq!(with(method, OWN), 200, "{method}");
        for other in [
            "",
            "Origin: https://evil.example\r\n",
            "Origin: null\r\n",
            "Origin: http://desk.example.com\r\n",
            "Origin: https://shelf.example.com\r\nSec-Fetch-Site: same-site\r\n",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
            "Sec-Fetch-Site: same-site\r\n",
        ] {
            assert_eq!(with(method, other), 403, "{method} {other}");
        }
    }
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let handshake = |origin: &str| {
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: desk.example.com\r\n{}{upgrade}{origin}\r\n",
            cookie(&browser)
        );
        exchange(desk.house.gate, head).status
    };
    desk.upstream.take();
    for other in ["", "Origin: https://evil.example\r\n", "Sec-Fetch-Site: same-origin\r\n"] {
        assert_eq!(handshake(other), 403, "{other}");
    }
    assert!(desk.upstream.take().is_empty());
    assert_ne!(handshake("Origin: https://desk.example.com\r\n"), 403);
    assert_eq!(desk.upstream.take().len(), 1);
}

#[test]
fn c11_d11_d12_damaged_and_doubled_cookies_are_refused() {
    let desk = Desk::open();
    let browser = desk.browser();
    let good = cookie(&browser);
    let value = browser.cookie("desk.example.com", GATE).unwrap();
    for damaged in
        ["", "x", "pc_sign_", "pc_sign_!!!", "%00", &value[..value.len() - 1], "pc_code_x"]
    {
        let headers = format!("Cookie: {GATE}={damaged}\r\n{OWN}");
        assert_eq!(desk.script("GET", &headers).status, 401, "{damaged}");
        let page = desk.script("GET", &format!("Accept: text/html\r\n{headers}"));
        assert_eq!(page.status, 401, "{damaged}");
        assert!(page.header("set-cookie").unwrap().contains("Max-Age=0"), "and is taken away");
    }
    let unknown = format!("pc_sign_{}", "A".repeat(43));
    let headers = format!("Cookie: {GATE}={unknown}\r\n{OWN}");
    assert_eq!(desk.script("GET", &headers).status, 401);
    let twice = good.trim_end().to_owned() + &format!("; {GATE}={value}\r\n{OWN}");
    assert_eq!(desk.script("GET", &twice).status, 400);
    assert_eq!(desk.script("GET", &format!("{good}{good}{OWN}")).status, 400);
    // A sibling domain can set neither of the names; without the prefix it is another cookie.
    assert_eq!(desk.script("GET", &format!("Cookie: portcullis={value}\r\n{OWN}")).status, 401);
    assert!(desk.upstream.take().is_empty());
}

#[test]
fn c14_an_upstream_cannot_set_a_cookie_of_ours() {
    let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: __Host-portcullis=x; Path=/; Secure\r\nSet-Cookie: mine=1\r\n\
                  Set-Cookie: =__Host-portcullis=y\r\nset-cookie: __HOST-Portcullis-begun=z\r\nContent-Length: 0\r\n\r\n";
    let desk = Desk::furnished(Upstream::answering(answer), |plan| plan);
    let browser = desk.browser();
    let response = desk.script("GET", &format!("{}{OWN}", cookie(&browser)));
    let set: Vec<_> = response
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .collect();
    assert_eq!(set.len(), 1, "{set:?}");
    assert_eq!(set[0].1, "mine=1");
}

#[test]
fn d13_signing_in_again_rotates_both_cookies_and_ends_the_old_ones() {
    let desk = Desk::open();
    let mut browser = desk.browser();
    let control_host = "127.0.0.1";
    let old = (
        browser.cookie("desk.example.com", GATE).unwrap().to_owned(),
        browser.cookie(control_host, CONTROL).unwrap().to_owned(),
    );
    let again = format!("http://{}/sign-in?fresh=true", desk.house.control);
    assert_eq!(browser.open(&again).status, 200);
    assert_eq!(browser.open(PAGE).status, 200);
    let new = (
        browser.cookie("desk.example.com", GATE).unwrap(),
        browser.cookie(control_host, CONTROL).unwrap(),
    );
    assert!(new.0 != old.0 && new.1 != old.1);
    let headers = format!("Cookie: {GATE}={}\r\n{OWN}", old.0);
    assert_eq!(desk.script("GET", &headers).status, 401);
    browser.cookies.insert((control_host.into(), CONTROL.into()), old.1);
    let who = format!("http://{}/v1/whoami", desk.house.control);
    assert_eq!(browser.send("GET", &who, TYPED, "").status, 401);
}

#[test]
fn d14_a_sign_in_leads_back_to_the_same_origin_only() {
    let desk = Desk::open();
    for page in [
        "//evil.example/",
        "/%5Cevil.example",
        "/%09/evil.example",
        "https:evil.example",
        "https://evil.example/",
    ] {
        let mut browser = Browser::new(&desk.house);
        let response = browser.open_until(PAGE, |to| to.contains("/.portcullis/signed-in"));
        let back = response.header("location").unwrap().to_owned();
        let (start, _) = back.split_once("&page=").unwrap();
        let forged = format!("{start}&page={}", page.replace('%', "%25").replace('/', "%2F"));
        let response = browser.send("GET", &forged, TYPED, "");
        assert_eq!(response.status, 303);
        assert_eq!(response.header("location"), Some("https://desk.example.com/"), "{page}");
        let own =
            format!("http://{}/sign-in?page={}", desk.house.control, page.replace('/', "%2F"));
        let response = browser.open_until(&own, |to| !to.contains("authorize"));
        let location = response.header("location").unwrap();
        assert!(location.starts_with(&format!("http://{}/", desk.house.control)), "{location}");
    }
}

#[test]
fn d15_a_state_is_good_once_and_in_its_own_browser() {
    let desk = Desk::open();
    let mut browser = Browser::new(&desk.house);
    let to_callback = |to: &str| to.contains("/sign-in/callback");
    let callback = browser.open_until(PAGE, to_callback).header("location").unwrap().to_owned();
    // Another person's browser, in the middle of a sign-in of its own.
    let mut other = Browser::new(&desk.house);
    other.open_until(PAGE, to_callback);
    let response = other.send("GET", &callback, TYPED, "");
    assert_eq!(response.status, 401, "{}", response.text());
    assert!(other.cookie("127.0.0.1", CONTROL).is_none());
    let mut nobody = Browser::new(&desk.house);
    assert_eq!(nobody.send("GET", &callback, TYPED, "").status, 401);
    assert_eq!(browser.send("GET", &callback, TYPED, "").status, 303);
    let again = browser.clone().send("GET", &callback, TYPED, "");
    assert!([401, 403].contains(&again.status), "{}", again.text());
    assert!(desk.upstream.take().is_empty());
}

#[test]
fn d15_a_gates_code_is_good_once_at_its_origin_and_in_its_own_browser() {
    let desk = Desk::open();
    let back = |browser: &mut Browser| {
        let response = browser.open_until(PAGE, |to| to.contains("/.portcullis/signed-in"));
        response.header("location").unwrap().to_owned()
    };
    let mut victim = Browser::new(&desk.house);
    let mut attacker = Browser::new(&desk.house);
    let stolen = back(&mut victim);
    back(&mut attacker);
    assert_eq!(attacker.send("GET", &stolen, TYPED, "").status, 401);
    // Wrong once is gone for ever.
    assert_eq!(victim.send("GET", &stolen, TYPED, "").status, 401);
    let other_host = back(&mut victim).replace("desk.", "shelf.");
    let begun = victim.cookie("desk.example.com", "__Host-portcullis-begun").unwrap().to_owned();
    victim.cookies.insert(("shelf.example.com".into(), "__Host-portcullis-begun".into()), begun);
    assert_eq!(victim.send("GET", &other_host, TYPED, "").status, 401);
    let good = back(&mut victim);
    assert_eq!(victim.send("GET", &good, TYPED, "").status, 303);
    assert_eq!(victim.send("GET", &good, TYPED, "").status, 401);
    // A gate that is none of ours gets no code.
    for origin in [
        "https://evil.example",
        "http://desk.example.com",
        "https://desk.example.com:9",
        "https://desk.example.com@evil.example",
    ] {
        let challenge = "A".repeat(43);
        let address =
            format!("http://{}/sign-in?gate={origin}&challenge={challenge}", desk.house.control);
        let response = victim.open(&address);
        assert_eq!(response.status, 404, "{origin}: {}", response.text());
    }
}

#[test]
fn d16_d18_answers_for_another_sign_in_or_of_another_provider_are_refused() {
    let desk = Desk::open();
    let to_callback = |to: &str| to.contains("/sign-in/callback");
    let provider = desk.house.people.browsers();
    for claims in
        [json!({"nonce": "of-another-sign-in"}), json!({"nonce": null}), json!({"aud": "another"})]
    {
        provider.claim(claims.clone());
        let mut browser = Browser::new(&desk.house);
        let response = browser.open(PAGE);
        assert_eq!(response.status, 403, "{claims}: {}", response.text());
        assert!(browser.cookie("127.0.0.1", CONTROL).is_none());
    }
    provider.claim(json!({}));
    for change in [
        |to: &str| to.split("&iss=").next().unwrap().to_owned(),
        |to: &str| to.split("&iss=").next().unwrap().to_owned() + "&iss=https%3A%2F%2Fevil.example",
        |to: &str| {
            to.split("&iss=").next().unwrap().replace("code=", "error=access_denied&c=")
                + "&iss=https%3A%2F%2Fevil.example"
        },
    ] {
        let mut browser = Browser::new(&desk.house);
        let callback = browser.open_until(PAGE, to_callback).header("location").unwrap().to_owned();
        let response = browser.send("GET", &change(&callback), TYPED, "");
        assert_eq!(response.status, 403, "{}", response.text());
        assert!(response.text().contains("another provider"), "{}", response.text());
    }
    let refused = desk.events("sign_in_refused", |events| events.len() >= 6);
    assert!(refused.iter().all(|event| event["detail"].is_string()), "{refused:#?}");
}

#[test]
fn d17_a_code_without_its_verifier_is_worth_nothing() {
    let desk = Desk::open();
    let mut browser = Browser::new(&desk.house);
    let callback = browser.open_until(PAGE, |to| to.contains("/sign-in/callback"));
    let callback = callback.header("location").unwrap().to_owned();
    let code = |address: &str| {
        let (_, rest) = address.split_once("code=").unwrap();
        rest.split('&').next().unwrap().to_owned()
    };
    // Code injection (RFC 9700, 4.5): a stolen code in a sign-in of the attacker's own.
    let mut attacker = Browser::new(&desk.house);
    let own = attacker.open_until(PAGE, |to| to.contains("/sign-in/callback"));
    let own = own.header("location").unwrap().to_owned();
    let injected = own.replace(&code(&own), &code(&callback));
    assert_eq!(attacker.send("GET", &injected, TYPED, "").status, 403);
    for asked in desk.house.people.browsers().asked() {
        assert_eq!(
            (asked["code_challenge_method"].as_str(), asked["code_challenge"].len()),
            ("S256", 43)
        );
    }
}

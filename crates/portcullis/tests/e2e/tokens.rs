//! Group D: tokens that are not what they say.

use std::time::{Duration, Instant};

use portcullis_testkit::{Issuer, TokenDraft, ambient::machine_time};
use serde_json::{Value, json};

use crate::{people::Person, shop::Shop, upstream::Upstream};

/// How long to wait for what will be: a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(40);

/// The shop, and tokens to try at its gate.
pub(crate) struct Door {
    pub(crate) shop: Shop,
    pub(crate) upstream: Upstream,
}

impl Door {
    pub(crate) fn open() -> Self {
        let upstream = Upstream::start();
        Self { shop: Shop::before(&upstream.url()), upstream }
    }

    /// Asks its issuer for keys every second.
    pub(crate) fn attentive() -> Self {
        let upstream = Upstream::start();
        let shop = Shop::furnished(&upstream.url(), |plan| plan.jwt("refresh: 1s"));
        Self { shop, upstream }
    }

    /// A sound token of now.
    pub(crate) fn sound(&self) -> TokenDraft {
        draft(&self.shop.house.workloads)
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.shop.house.workloads
    }

    pub(crate) fn status(&self, token: &str) -> u16 {
        self.shop.read_as(token).status
    }

    /// 401, and nothing arrived.
    #[track_caller]
    pub(crate) fn refuses(&self, token: &str, what: &str) {
        let response = self.shop.read_as(token);
        assert_eq!(response.status, 401, "{what}: {}", response.text());
        assert!(!response.text().contains(token), "an answer repeats the token");
        assert!(self.upstream.take().is_empty(), "{what} reached the upstream");
    }

    #[track_caller]
    pub(crate) fn admits(&self, token: &str, what: &str) {
        let response = self.shop.read_as(token);
        assert_eq!(response.status, 200, "{what}: {}", response.text());
        assert_eq!(self.upstream.take().len(), 1, "{what}");
    }

    /// Presents `token` until it is answered with `status`; how long that took.
    #[track_caller]
    pub(crate) fn becomes(&self, token: &str, status: u16) -> Duration {
        let begun = Instant::now();
        while self.status(token) != status {
            assert!(begun.elapsed() < PATIENCE, "it is {} after all", self.status(token));
            std::thread::sleep(Duration::from_millis(50));
        }
        self.upstream.take();
        begun.elapsed()
    }
}

fn draft(issuer: &Issuer) -> TokenDraft {
    issuer.token(machine_time()).claim("groups", vec!["readers"])
}

fn now() -> i64 {
    machine_time().as_second()
}

#[test]
fn d01_d02_d03_a_header_chooses_neither_algorithm_nor_key() {
    let door = Door::open();
    door.admits(&door.sound().mint(), "a sound token");
    for alg in ["none", "nOnE", "NONE", "None", ""] {
        let draft = door.sound().header("alg", alg);
        door.refuses(&draft.unsigned(), alg);
        door.refuses(&draft.mint(), alg);
        door.refuses(&draft.clone().without_header("kid").unsigned(), alg);
    }
    door.refuses(&door.sound().unsigned(), "an empty signature");
    door.refuses(&door.sound().without_header("alg").mint(), "no algorithm");
    // D02: the public key is no shared secret, in whatever form.
    let key = door.issuer().key();
    let x = key.jwk()["x"].as_str().unwrap().to_owned();
    for secret in [key.public_bytes(), x.into_bytes(), key.jwk().to_string().into_bytes()] {
        for alg in ["HS256", "HS384", "ES256"] {
            door.refuses(&door.sound().header("alg", alg).hmac_signed(&secret), alg);
        }
    }
    // D03: names of keys are opaque, and addresses of keys are not read.
    let theirs = Issuer::start();
    let forger = theirs.key();
    let kids = [
        "../../../../dev/null",
        "/etc/passwd",
        "' OR '1'='1",
        "key-1' --",
        "key-1\0",
        "KEY-1",
        "",
        &format!("{}/jwks", theirs.url()),
    ];
    for kid in kids {
        door.refuses(&door.sound().header("kid", kid).signed_by(&forger), kid);
    }
    for (name, value) in [
        ("jwk", forger.jwk()),
        ("jku", json!(format!("{}/jwks", theirs.url()))),
        ("x5u", json!(format!("{}/jwks", theirs.url()))),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("kid", json!(["key-1"])),
    ] {
        door.refuses(&door.sound().header(name, value).signed_by(&forger), name);
    }
    assert_eq!((theirs.key_fetches(), theirs.discoveries()), (0, 0), "nobody follows a header");
    door.admits(&door.sound().header("jku", theirs.url()).mint(), "a parameter that nobody reads");
}

#[test]
fn d04_d05_a_token_is_for_us_and_for_this() {
    let door = Door::open();
    let audiences = [
        json!("payments"),
        json!("Portcullis"),
        json!("portcullis "),
        json!(["payments", "stock"]),
        json!([]),
        json!(["portcullis", 1]),
        json!([["portcullis"]]),
        json!({"portcullis": true}),
        json!(null),
        json!(1),
    ];
    for audience in audiences {
        let what = audience.to_string();
        door.refuses(&door.sound().claim("aud", audience).mint(), &what);
    }
    door.refuses(&door.sound().without("aud").mint(), "no audience");
    door.admits(
        &door.sound().claim("aud", vec!["stock", "portcullis"]).mint(),
        "an array with ours",
    );
    // Other purposes, other issuers.
    let others = ["logout+jwt", "secevent+jwt", "id_token+jwt", "dpop+jwt"];
    for typ in others {
        door.refuses(&door.sound().header("typ", typ).mint(), typ);
    }
    for claim in ["nonce", "at_hash", "events"] {
        door.refuses(&door.sound().claim(claim, "x").mint(), claim);
    }
    door.refuses(&door.sound().claim("token_use", "id").mint(), "an ID token");
    let people = door.shop.house.people.issuer();
    door.refuses(&draft(people).mint(), "a person's ID token");
    door.refuses(&draft(people).claim("iss", door.issuer().url()).mint(), "another issuer's key");
    let stranger = Issuer::start();
    for issuer in [stranger.url().to_owned(), format!("{}/", door.issuer().url()), String::new()] {
        door.refuses(&draft(&stranger).claim("iss", issuer.as_str()).mint(), &issuer);
    }
    door.refuses(&door.sound().without("iss").mint(), "no issuer");
    // Each of the product's own tokens opens one door.
    let control = door.shop.house.sign_in(&Person::new("ana", &["readers"]));
    let gate = door.shop.house.gate_token(&control);
    door.refuses(&control, "a control token at the gate");
    let house = &door.shop.house;
    assert_eq!(house.api("GET", "/v1/grants", Some(&gate), None).status, 401);
    let mine = house.api("GET", "/v1/grants", Some(&door.sound().claim("sub", "x").mint()), None);
    assert!([200, 401, 403].contains(&mine.status), "{}", mine.text());
    assert_ne!(house.api("GET", "/v1/grants", Some(&draft(people).mint()), None).status, 200);
}

#[test]
fn d06_times_are_whole_numbers_of_seconds() {
    let door = Door::open();
    let wrong = [
        json!("never"),
        json!((now() + 300).to_string()),
        json!(true),
        json!(null),
        json!([]),
        json!({}),
        json!(-1),
        json!(1.5),
        json!(4_102_444_800.5),
        json!(i64::MAX),
        json!(u64::MAX),
    ];
    for name in ["exp", "nbf", "iat"] {
        for value in &wrong {
            let draft = door.sound().claim(name, value.clone());
            door.refuses(&draft.mint(), &format!("{name}: {value}"));
        }
        for raw in
            ["1e300", "-1e300", "1e400", "99999999999999999999", "NaN", "Infinity", "0x7fffffff"]
        {
            let mut claims: Value = serde_json::from_str(&door.sound().claims_json()).unwrap();
            claims[name] = json!("RAW");
            let text = claims.to_string().replace("\"RAW\"", raw);
            door.refuses(&door.sound().raw_claims(&text).mint(), &format!("{name}: {raw}"));
        }
    }
    door.refuses(&door.sound().without("exp").mint(), "no expiry");
    let text = door.sound().claims_json();
    let twice = text.replacen('{', &format!("{{\"exp\": {},", now() + 300), 1);
    door.refuses(&door.sound().claim("exp", now() - 300).raw_claims(&twice).mint(), "two expiries");
    door.admits(&door.sound().without("nbf").without("iat").mint(), "only an expiry");
}

#[test]
fn d07_thirty_seconds_of_leeway_on_both_sides_and_no_more() {
    let door = Door::open();
    door.refuses(&door.sound().claim("exp", now() - 31).mint(), "1 s past expiry and leeway");
    // Some seconds off the edge: a busy machine may take them before the gate looks.
    door.refuses(&door.sound().claim("nbf", now() + 38).mint(), "before its time");
    door.refuses(&door.sound().claim("iat", now() + 38).mint(), "made in the future");
    door.admits(&door.sound().claim("exp", now() - 20).mint(), "inside the leeway");
    door.admits(&door.sound().claim("nbf", now() + 25).mint(), "inside the leeway");
    // A token that was accepted, and is remembered, ends like any other.
    let ending = door.sound().claim("exp", now() - 22).mint();
    door.admits(&ending, "eight seconds left");
    assert!(door.becomes(&ending, 401) < Duration::from_secs(15));
}

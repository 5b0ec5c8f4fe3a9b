//! Group D: opaque tokens, about which their issuer is asked (RFC 7662).

use std::time::{Duration, Instant};

use portcullis_testkit::{Fault, Issuer, ambient::machine_time};
use serde_json::{Value, json};

use crate::{
    mesh::eventually,
    people::Person,
    secrecy::handed_out,
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::Wire,
};

const PAGE: &str = "/introspect";
/// An upstream whose answer does not end.
const ENDLESS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\ndata: 1\n\n";

const POLICIES: &str = r#"
@id("auditors") permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
@id("by-method") permit (principal == Workload::"batch:batch-1", action in Action::"shop.write", resource == Service::"shop")
when { context.auth.method == "introspection" };
"#;

/// A shop, and the issuer of the opaque tokens that it accepts.
struct Kiosk {
    shop: Shop,
    upstream: Upstream,
    issuer: Issuer,
}

/// What an issuer says of a sound token.
fn active(issuer: &Issuer) -> Value {
    json!({
        "active": true, "token_type": "Bearer", "client_id": "batch-1", "scope": "shop.read",
        "iss": issuer.url(), "exp": machine_time().as_second() + 600, "teams": ["readers"],
    })
}

/// An entry of `identity.workloads`.
fn entry(name: &str, issuer: &Issuer, more: &str) -> String {
    format!(
        "{{name: {name}, introspection: {{endpoint: \"{0}{PAGE}\", issuer: \"{0}\", client_id: portcullis, \
         client_secret: {{file: secret}}, subject: \"{{client_id}}\", groups_claim: teams{more}}}}}",
        issuer.url()
    )
}

/// An issuer that vouches for every token.
fn vouching() -> Issuer {
    let issuer = Issuer::start();
    issuer.set_page(PAGE, 200, active(&issuer));
    issuer
}

/// A token that nobody else has.
fn token(name: &str) -> String {
    let token = format!("{name}.{:-<48}", "opaque-token-of-the-tests");
    handed_out(&token);
    token
}

/// The tokens that `issuer` was asked about, in their order.
fn asked(issuer: &Issuer) -> Vec<String> {
    let calls = issuer.calls().into_iter().filter(|call| call.path == PAGE);
    let token = |body: String| {
        let pairs: Vec<_> = body.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert!(pairs.contains(&("token_type_hint", "access_token")), "{body}");
        pairs.iter().find(|(name, _)| *name == "token").expect("a token").1.to_owned()
    };
    calls.map(|call| token(call.body)).collect()
}

impl Kiosk {
    fn open(more: &str) -> Self {
        Self::before(Upstream::start(), more)
    }

    fn before(upstream: Upstream, more: &str) -> Self {
        let issuer = vouching();
        let entry = entry("batch", &issuer, more);
        let shop = Shop::furnished(&upstream.url(), |plan| {
            plan.file("secret", "a-client-secret-of-the-tests\n")
                .policy("kiosk.cedar", POLICIES)
                .workload(&entry)
        });
        Self { shop, upstream, issuer }
    }

    fn status(&self, token: &str) -> u16 {
        self.shop.read_as(token).status
    }

    #[track_caller]
    fn becomes(&self, token: &str, status: u16) -> Duration {
        let begun = Instant::now();
        while self.status(token) != status {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is {}", self.status(token));
            std::thread::sleep(Duration::from_millis(50));
        }
        self.upstream.take();
        begun.elapsed()
    }
}

#[test]
fn an_opaque_token_opens_what_its_issuer_vouches_for_and_is_asked_about_once() {
    let kiosk = Kiosk::open("");
    let token = token("one");
    for _ in 0..20 {
        let response = kiosk.shop.read_as(&token);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!(asked(&kiosk.issuer), [token.as_str()]);
    let basic = kiosk.issuer.calls()[0].authorization.clone().expect("we say who we are");
    assert!(basic.starts_with("Basic "), "{basic}");
    let seen = kiosk.upstream.take();
    assert_eq!(seen[0].headers("portcullis-principal"), ["batch:batch-1"]);
    assert!(seen.iter().all(|request| !request.head.contains(&token)), "it stays at the gate");
    // Control believes the same, and says how.
    let who = kiosk.shop.house.api("GET", "/v1/whoami?explain=true", Some(&token), None).json();
    assert_eq!(who["principal"]["id"], "batch:batch-1");
    assert_eq!(who["explain"]["scheme"], "an opaque token of `batch`", "{who:#}");
    assert_eq!(who["explain"]["groups"]["readers"], "claim `teams`");
    assert_eq!(asked(&kiosk.issuer).len(), 1, "one answer is enough for gate and control");
}

#[test]
fn workloads_are_listed_and_explained_once_a_gate_saw_them() {
    let kiosk = Kiosk::open("");
    let house = &kiosk.shop.house;
    let auditor = house.sign_in(&Person::new("sam", &["auditors"]));
    let list = || house.api("GET", "/v1/principals", Some(&auditor), None).json();
    assert!(!list().to_string().contains("Workload"), "{}", list());
    // Many requests, some at the same time: it is told once.
    let token = token("seen");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| assert_eq!(kiosk.status(&token), 200)));
        }
    });
    assert_eq!(kiosk.status(&kiosk.shop.token), 200);
    eventually("both are listed", || {
        let listed = list();
        let all = listed["principals"].as_array().unwrap();
        let has = |id: &str| {
            all.iter().any(|one| {
                one["principal"] == json!({"type": "Workload", "id": id})
                    && one["groups"] == json!(["readers"])
            })
        };
        has("batch:batch-1") && has("builds:reader")
    });
    let events = house.record(&auditor, |events| {
        events.iter().filter(|event| event["type"] == "workload_seen").count() >= 2
    });
    let seen = events.iter().filter(|event| event["type"] == "workload_seen");
    assert_eq!(seen.count(), 2, "{events:#?}");
    let who = json!({"type": "Workload", "id": "batch:batch-1"});
    let question = json!({"principal": who, "operation": "shop.PUT"});
    let explained = house.api("POST", "/v1/policy/explain", Some(&auditor), Some(question)).json();
    assert_eq!(explained["auth_method"], "introspection", "{explained:#}");
    let own = json!({"operation": "shop.PUT"});
    let explained = house.api("POST", "/v1/policy/explain", Some(&token), Some(own)).json();
    assert_eq!(explained["auth_method"], "introspection", "{explained:#}");
    // And the gate decides by it.
    let written = house.gate(HOST, "PUT", "/page", Some(&token), None);
    assert_eq!(written.status, 200, "{}", written.text());
    let jwt = house.workload_token("batch-1", &["readers"]);
    assert_eq!(house.gate(HOST, "PUT", "/page", Some(&jwt), None).status, 403);
}

#[test]
fn d22_an_answer_is_good_for_its_own_question_only() {
    let (first, second, upstream) = (vouching(), vouching(), Upstream::start());
    let entries = [
        entry("first", &first, ", prefix: one_"),
        entry("second", &second, ", prefix: two_"),
        entry("strict", &first, ", prefix: three_, scopes: [shop.read, shop.list]"),
        entry("narrow", &first, ", prefix: four_, audience: portcullis"),
    ];
    let shop = Shop::furnished(&upstream.url(), |plan| {
        let plan = plan.file("secret", "a-client-secret-of-the-tests\n");
        entries.iter().fold(plan, |plan, entry| plan.workload(entry))
    });
    // They end alike, and differ in what says whose they are.
    let of = |prefix: &str| token(&format!("{prefix}same"));
    assert_eq!(shop.read_as(&of("one_")).status, 200);
    assert_eq!(upstream.take()[0].headers("portcullis-principal"), ["first:batch-1"]);
    // Asked again at another issuer, and named by it.
    assert_eq!(shop.read_as(&of("two_")).status, 200);
    assert_eq!(upstream.take()[0].headers("portcullis-principal"), ["second:batch-1"]);
    // The same issuer's word, for other scopes and another audience.
    for refused in ["three_", "four_"] {
        assert_eq!(shop.read_as(&of(refused)).status, 401, "{refused}");
    }
    assert_eq!(asked(&first), [of("one_"), of("three_"), of("four_")]);
    assert_eq!(asked(&second), [of("two_")], "no issuer sees the tokens of another");
    // All are remembered by now, and each for itself.
    for (token, status) in
        [("one_", 200), ("two_", 200), ("three_", 401), ("four_", 401), ("one_", 200)]
    {
        assert_eq!(shop.read_as(&of(token)).status, status, "{token}");
    }
    // Whose token it is cannot be said by the token's answer, nor be left open.
    second.set_page(PAGE, 200, active(&first));
    assert_eq!(shop.read_as(&token("two_other")).status, 401, "another issuer's answer");
    let before = (first.calls().len(), second.calls().len());
    assert_eq!(shop.read_as(&token("five_same")).status, 401, "nobody's prefix");
    assert_eq!((first.calls().len(), second.calls().len()), before);
    // What fits the question of one opens that one only.
    first.set_page(PAGE, 200, {
        let mut more = active(&first);
        more["scope"] = json!("shop.list shop.read");
        more["aud"] = json!(["portcullis"]);
        more
    });
    for fits in ["three_fits", "four_fits"] {
        assert_eq!(shop.read_as(&token(fits)).status, 200, "{fits}");
    }
}

#[test]
fn d01_what_is_a_jwt_or_ours_is_never_asked_about() {
    let kiosk = Kiosk::open("");
    let sound = kiosk.shop.house.workloads.token(machine_time()).claim("groups", vec!["readers"]);
    let jwt = sound.mint();
    let cut = jwt.rsplit_once('.').unwrap().0;
    for not_opaque in [
        &sound.unsigned(),
        &sound.clone().claim("iss", kiosk.issuer.url()).mint(),
        &sound.claim("aud", "other").mint(),
        &format!("{jwt}x"),
        &format!("{cut}."),
        &format!("{cut}.a.b"),
        "e30.e30.",
        "pc_sign_not-one-that-was-ever-issued-by-anybody",
        "pc_once_not-one-that-was-ever-issued-by-anybody",
        "pc_",
    ] {
        handed_out(not_opaque);
        assert_eq!(kiosk.status(not_opaque), 401, "{not_opaque}");
        let at_control = kiosk.shop.house.api("GET", "/v1/grants", Some(not_opaque), None);
        assert_eq!(at_control.status, 401, "{not_opaque}");
    }
    for malformed in ["a=b", "a\"b", "a,b", &"a".repeat(5000)] {
        assert_eq!(kiosk.status(malformed), 401, "{malformed}");
    }
    assert_eq!(kiosk.status(&jwt), 200);
    assert!(asked(&kiosk.issuer).is_empty());
    assert_eq!(kiosk.upstream.take().len(), 1);
}

#[test]
fn d20_a_revoked_token_opens_nothing_after_the_bound_and_its_streams_are_cut() {
    let kiosk = Kiosk::before(Upstream::answering(ENDLESS), ", refresh: 2s");
    let token = token("revoked");
    let mut wire = Wire::connect(kiosk.shop.house.gate);
    wire.send(format!(
        "GET /stream HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    assert!(wire.read_until(b"data: 1").starts_with(b"HTTP/1.1 200"));
    // For as long as the issuer vouches, the stream outlives any one answer.
    let enough = Instant::now();
    while asked(&kiosk.issuer).len() < 3 {
        assert!(enough.elapsed() < Duration::from_mins(1), "it is asked again and again");
        std::thread::sleep(Duration::from_millis(100));
    }
    kiosk.issuer.set_page(PAGE, 200, json!({"active": false}));
    assert!(wire.until_closed().is_some(), "the stream is cut");
    kiosk.becomes(&token, 401);
}

#[test]
fn d10_an_issuer_that_is_away_lets_nobody_in_and_is_found_again() {
    let kiosk = Kiosk::open(", refresh: 20s");
    let (known, unknown) = (token("known"), token("unknown"));
    assert_eq!(kiosk.status(&known), 200);
    let theirs = vouching();
    let faults = [
        Fault::Down,
        Fault::InternalError,
        Fault::Html,
        Fault::TenMegabytes,
        Fault::Redirect(format!("{}{PAGE}", theirs.url())),
    ];
    let begun = Instant::now();
    for fault in faults {
        kiosk.issuer.set_fault(Some(fault.clone()));
        let response = kiosk.shop.read_as(&unknown);
        assert_eq!(response.status, 503, "{fault:?}: {}", response.text());
        let at_control = kiosk.shop.house.api("GET", "/v1/grants", Some(&unknown), None);
        assert_eq!(at_control.status, 503, "{fault:?}: {}", at_control.text());
        // What is remembered goes on, to its bound.
        let status = kiosk.status(&known);
        if begun.elapsed() < Duration::from_secs(20) {
            assert_eq!(status, 200, "{fault:?}");
        }
    }
    kiosk.becomes(&known, 503);
    assert!(theirs.calls().is_empty(), "no redirect is followed");
    kiosk.issuer.set_fault(None);
    kiosk.becomes(&known, 200);
    kiosk.becomes(&unknown, 200);
}

#[test]
fn f12_an_issuer_that_is_slow_or_answers_with_garbage_lets_nobody_in() {
    let kiosk = Kiosk::open("");
    // 200, and no answer: each shape of it, each for a token of its own.
    let garbage = [
        json!([]),
        json!("active"),
        json!(true),
        json!(null),
        json!({}),
        json!({"active": "true"}),
        json!({"active": [true]}),
        json!({"error": "server_error"}),
        json!({"active": true}),
        json!({"Active": true, "sub": "job"}),
    ];
    for (at, answer) in garbage.iter().enumerate() {
        kiosk.issuer.set_page(PAGE, 200, answer.clone());
        let status = kiosk.status(&token(&format!("garbage-{at}")));
        assert!([401, 503].contains(&status), "{answer}: {status}");
    }
    kiosk.issuer.set_page(PAGE, 200, active(&kiosk.issuer));
    kiosk.becomes(&token("sound"), 200);
    // An answer that comes too late is none, however good it is.
    kiosk.issuer.set_fault(Some(Fault::Slow(Duration::from_secs(12))));
    let begun = Instant::now();
    assert_eq!(kiosk.status(&token("late")), 503);
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    assert!(kiosk.upstream.take().is_empty(), "something was forwarded");
}

#[test]
fn d08_i14_unknown_tokens_cause_a_bounded_rate_of_questions() {
    let kiosk = Kiosk::open(", refresh: 1s");
    let known = token("known");
    assert_eq!(kiosk.status(&known), 200);
    kiosk.issuer.set_page(PAGE, 200, json!({"active": false}));
    let before = asked(&kiosk.issuer).len();
    let begun = Instant::now();
    let mut wire = Wire::connect(kiosk.shop.house.gate);
    let mut seen = [0_usize; 2];
    for at in 0..1500 {
        let token = format!("made-up-{at}");
        wire.send(format!(
            "GET /page HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        let response = wire.response().expect("an answer");
        match response.status {
            401 => seen[0] += 1,
            429 => {
                assert_eq!(response.header("retry-after"), Some("1"));
                seen[1] += 1;
            }
            other => panic!("{other}: {}", response.text()),
        }
    }
    // However quick or slow the machine is: a burst, and a rate.
    let allowed = 256 + 100 * (1 + usize::try_from(begun.elapsed().as_secs()).unwrap());
    let questions = asked(&kiosk.issuer).len() - before;
    assert!(questions <= allowed, "{questions} questions in {:?}", begun.elapsed());
    assert_eq!(seen[0] + seen[1], 1500);
    assert_eq!(kiosk.upstream.take().len(), 1, "the known one's");
    // One that the issuer does not vouch for is not asked about again and again either.
    let again = token("asked-once");
    kiosk.becomes(&again, 401);
    let before = asked(&kiosk.issuer).len();
    for _ in 0..50 {
        assert_eq!(kiosk.status(&again), 401);
    }
    assert!(asked(&kiosk.issuer).len() <= before + 10);
}

#[test]
fn d08_many_who_present_one_token_cause_one_question() {
    let kiosk = Kiosk::open("");
    kiosk.issuer.set_fault(Some(Fault::Slow(Duration::from_secs(2))));
    let token = token("together");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(kiosk.status(&token), 200));
        }
    });
    assert_eq!(asked(&kiosk.issuer), [token.as_str()]);
}

#[test]
fn d04_what_the_answer_says_decides_and_not_that_there_is_one() {
    let kiosk = Kiosk::open("");
    let sound = active(&kiosk.issuer);
    let now = machine_time().as_second();
    let defects: [(&str, Value, u16); 12] = [
        ("active", json!("true"), 503),
        ("active", json!(1), 503),
        ("active", json!(null), 503),
        ("token_type", json!(null), 401),
        ("token_type", json!("DPoP"), 401),
        ("token_use", json!("refresh_token"), 401),
        ("cnf", json!({"jkt": "x"}), 401),
        ("iss", json!("https://evil.example"), 401),
        ("exp", json!(now - 60), 401),
        ("exp", json!("never"), 401),
        ("client_id", json!(["batch-1"]), 401),
        ("teams", json!("readers"), 401),
    ];
    for (at, (name, value, status)) in defects.into_iter().enumerate() {
        let mut answer = sound.clone();
        answer[name] = value.clone();
        kiosk.issuer.set_page(PAGE, 200, answer);
        // After no answer at all, the issuer is left alone for a moment, and that is a 503 too.
        assert!([status, 503].contains(&kiosk.status(&token(&format!("defect-{at}")))), "{name}");
        kiosk.becomes(&token(&format!("again-{at}")), status);
    }
    assert!(kiosk.upstream.take().is_empty());
    kiosk.issuer.set_page(PAGE, 200, sound);
    kiosk.becomes(&token("sound"), 200);
}

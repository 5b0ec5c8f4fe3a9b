//! The life of an access request, whole: several operations at once, reviewers who narrow, extensions,
//! grants that lie unused, who is told, and how others got it wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    house::{House, Plan},
    payments::{POLICIES, Payments, Visitor, ana, ben, grant, id, lea, leo},
    people::Person,
    streams::ticking_upstream,
    upstream::Upstream,
    wire::{Response, Wire},
};

/// More rules beside the usual ones.
fn furnished(policies: &str) -> Payments {
    Payments::furnished(Upstream::start(), |plan| plan.policy("more.cedar", policies))
}

fn ask(visitor: &Visitor<'_>, operations: &[&str], more: Value) -> Response {
    let queries: Vec<_> = operations.iter().map(|name| json!({"operation": name})).collect();
    let mut body = json!({"queries": queries, "reason": "month's end"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    visitor.call("POST", "/v1/access-requests", Some(body))
}

fn review(visitor: &Visitor<'_>, request: &Value, body: Value) -> Response {
    let path = format!("/v1/access-requests/{}/reviews", id(request));
    visitor.call("POST", &path, Some(body))
}

fn look(visitor: &Visitor<'_>, request: &Value) -> Value {
    visitor.call("GET", &format!("/v1/access-requests/{}", id(request)), None).json()
}

/// Looks until `done`.
fn until<T>(what: &str, mut look: impl FnMut() -> T, done: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let begun = Instant::now();
    loop {
        let seen = look();
        if done(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {seen:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn several_operations_wait_for_the_most_reviews_and_say_what_is_still_to_be_checked() {
    let payments = Payments::open();
    let (ben, lea, leo) = (payments.enter(&ben()), payments.enter(&lea()), payments.enter(&leo()));
    let wanted = ["payments.createRefund", "payments.createPayout", "payments.events"];
    let asked = ask(&ben, &wanted, json!({}));
    assert_eq!(asked.status, 201, "{}", asked.text());
    let asked = asked.json();
    assert_eq!((&asked["reviews_needed"], &asked["duration"]), (&json!(2), &json!("10m")));
    assert_eq!(
        asked["queries"][0]["way"]["to_be_checked"],
        json!(["body.amount is at most 50000 (payments.refund.reviewed)"]),
        "{asked:#}"
    );
    assert_eq!(asked["reviewers"], json!(["lea", "leo"]));
    assert_eq!(lea.approve(&asked).json()["state"], "pending");
    assert_eq!(ben.send("GET", "/v1/events", None).status, 403, "one of them needs two");
    let approved = leo.approve(&asked).json();
    assert_eq!(approved["grants"].as_array().map(Vec::len), Some(3), "{approved:#}");
    assert_eq!(ben.send("GET", "/v1/events", None).status, 200);
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200);
    assert_eq!(ben.refund(50_001).status, 403, "what was to be checked is checked");
    assert_eq!(ben.refund(50_000).status, 200);
    let again = ask(&ben, &wanted[1..], json!({})).json();
    assert_eq!(again["id"], approved["id"], "what is held is not asked for again");
    let refused = ask(&ben, &["payments.cancelRefund"], json!({}));
    assert_eq!(refused.status, 403);
    assert!(refused.json()["detail"].as_str().unwrap().contains("payments.cancelRefund"));
}

#[test]
fn reviewers_narrow_and_only_what_all_of_them_approve_is_issued() {
    let payments = Payments::open();
    let (ben, lea, leo) = (payments.enter(&ben()), payments.enter(&lea()), payments.enter(&leo()));
    let asked = ask(&ben, &["payments.createPayout", "payments.events"], json!({})).json();
    let only = |name: &str| json!({"decision": "approve", "scope": {"operations": [name]}});
    assert_eq!(review(&lea, &asked, only("payments.createRefund")).status, 400, "was not asked");
    let narrowed = json!({"decision": "approve", "duration": "5m",
                          "scope": {"operations": ["payments.events"], "instance": "p-1"}});
    assert_eq!(review(&lea, &asked, narrowed).json()["state"], "pending");
    let apart = review(&leo, &asked, only("payments.createPayout"));
    assert_eq!(apart.status, 409, "{}", apart.text());
    assert!(apart.text().contains("nothing would be left"), "{}", apart.text());
    let approved = leo.approve(&asked).json();
    let granted = grant(&approved);
    let grant = ben.call("GET", &format!("/v1/grants/{granted}"), None).json();
    assert_eq!(
        (&grant["operation"], &grant["instance"], &grant["reviews"]),
        (&json!("payments.events"), &json!("p-1"), &json!(2))
    );
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 403);
    assert_eq!(ben.send("GET", "/v1/events", None).status, 403, "only on the instance");
    let addressed = payments.house.gate(
        "payments--p-1.example.com",
        "GET",
        "/v1/events",
        Some(&ben.gate),
        None,
    );
    assert_eq!(addressed.status, 200, "{}", addressed.text());
}

#[test]
fn e11_an_access_request_cannot_be_edited() {
    let payments = Payments::open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let asked = ask(&ben, &["payments.events"], json!({"duration": "5m"})).json();
    let path = format!("/v1/access-requests/{}", id(&asked));
    for method in ["PUT", "PATCH", "DELETE", "POST"] {
        let edited = ben.call(method, &path, Some(json!({"duration": "15m"})));
        assert_eq!(edited.status, 405, "{method}: {}", edited.text());
    }
    let other = ask(&ben, &["payments.events"], json!({"duration": "15m"})).json();
    assert_ne!(other["id"], asked["id"], "asked otherwise, it is another");
    assert_eq!(look(&ben, &asked)["duration"], "5m");
    assert_eq!(lea.approve(&asked).json()["state"], "approved");
    assert_eq!(look(&ben, &other)["reviews"], json!([]));
}

#[test]
fn i17_e36_what_waits_is_bounded_and_the_same_is_joined() {
    let payments = Payments::open();
    let ben = payments.enter(&ben());
    let first = ask(&ben, &["payments.createPayout"], json!({"duration": "1s"})).json();
    let same = ask(&ben, &["payments.createPayout"], json!({"duration": "1s"})).json();
    assert_eq!(same["id"], first["id"]);
    for seconds in 2..=32 {
        let duration = format!("{seconds}s");
        let asked = ask(&ben, &["payments.createPayout"], json!({"duration": duration}));
        assert_eq!(asked.status, 201, "{seconds}: {}", asked.text());
    }
    let limited = ask(&ben, &["payments.createPayout"], json!({"duration": "33s"}));
    assert_eq!(limited.status, 429, "{}", limited.text());
    let wait: u32 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[test]
fn m07_what_nobody_answers_expires_and_says_so() {
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.setting("access_requests: {expire_after: 2s}")
    });
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let asked = ask(&ben, &["payments.events"], json!({})).json();
    let ended = |seen: &Value| seen["state"] == "expired";
    let seen = until("it expires", || look(&ben, &asked), ended);
    assert!(seen["ended_at"].is_string() && seen["grants"].is_null(), "{seen:#}");
    assert_eq!(lea.approve(&asked).status, 409);
    payments.event("access_request_ended", |event| event["decision"] == "expired");
}

#[test]
fn e09_n16_what_was_approved_is_decided_by_the_policies_and_groups_of_the_moment() {
    let payments = Payments::open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let asked = ask(&ben, &["payments.events"], json!({})).json();
    let moved = Person { groups: vec!["engineering".into()], ..crate::payments::lea() };
    let lea_moved = payments.enter(&moved);
    assert_eq!(lea_moved.approve(&asked).status, 404, "no reviewer any more");
    assert_eq!(lea.approve(&asked).status, 404, "nor by the sign-in of before");
    let changed = POLICIES.replace("payments.events.reviewed", "payments.events.renamed");
    payments.house.write_policy("payments.cedar", &changed);
    payments.house.signal("HUP");
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == 2);
    let declined = payments.enter(&leo()).approve(&asked).json();
    assert_eq!(declined["state"], "declined", "{declined:#}");
    assert!(declined["why"].as_str().unwrap().contains("payments.events.reviewed"));
    assert_eq!(ben.send("GET", "/v1/events", None).status, 403);
}

#[test]
fn e28_e29_who_lost_what_made_them_eligible_has_nothing_of_their_grant() {
    let payments = Payments::open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let asked = ask(&ben, &["payments.events"], json!({})).json();
    grant(&lea.approve(&asked).json());
    assert_eq!(ben.send("GET", "/v1/events", None).status, 200);
    let waiting = ask(&ben, &["payments.createPayout"], json!({})).json();
    payments.enter(&Person { groups: vec!["sales".into()], ..crate::payments::ben() });
    assert_ne!(ben.send("GET", "/v1/events", None).status, 200, "before its use");
    lea.approve(&waiting);
    let late = payments.enter(&leo()).approve(&waiting).json();
    assert_eq!(late["state"], "declined", "before its start: {late:#}");
}

#[test]
fn e26_two_grants_are_not_added_up() {
    let floor = r#"
@id("floor")
forbid (principal is User, action == Action::"payments.events", resource in Service::"payments")
when { context has http && context.http.path == "/v1/events" }
unless { context has grant && context.grant.reviews >= 2 };
"#;
    let payments = Payments::open();
    let (ben, lea, leo) = (payments.enter(&ben()), payments.enter(&lea()), payments.enter(&leo()));
    let light = ask(&ben, &["payments.events"], json!({})).json();
    grant(&lea.approve(&light).json());
    let heavy = ask(&ben, &["payments.createPayout"], json!({})).json();
    lea.approve(&heavy);
    grant(&leo.approve(&heavy).json());
    assert_eq!(ben.send("GET", "/v1/events", None).status, 200);
    payments.house.write_policy("floor.cedar", floor);
    payments.house.signal("HUP");
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == 2);
    let refused = ben.send("GET", "/v1/events", None);
    assert_eq!(refused.status, 403, "two people stand behind the other grant only");
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200);
}

/// A stream of ticks that one lead reviews, in a house of its own.
fn ticking() -> House {
    let service = format!(
        "name: ticks\nhosts: [ticks.example.com]\nupstream: {{instances: {{t-1: \"http://{}\"}}}}\nmax_grant: 1h",
        ticking_upstream()
    );
    let policies = r#"
@id("ticks.reviewed") @reviews("1") @max_duration("10m")
permit (principal is User in Group::"engineering", action == Action::"ticks.GET", resource in Service::"ticks")
when { context has grant };
@id("ticks.leads")
permit (principal is User in Group::"leads", action in [Action::"review"], resource is AccessRequest);
@id("ticks.revokers")
permit (principal is User in Group::"leads", action == Action::"revoke", resource == Service::"ticks");
"#;
    Plan::empty().service(&service).policy("ticks.cedar", policies).start()
}

#[test]
fn e27_an_extension_moves_the_end_of_a_grant_and_its_stream_lives_on() {
    let house = ticking();
    let (ben, lea) = (house.sign_in(&ben()), house.sign_in(&leo()));
    let gate = house.gate_token(&ben);
    let call = |who: &str, path: &str, body: Value| {
        let answer = house.api("POST", path, Some(who), Some(body));
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer.json()
    };
    let approve = |request: &Value| {
        let path = format!("/v1/access-requests/{}/reviews", id(request));
        call(&lea, &path, json!({"decision": "approve"}))
    };
    let queries = json!([{"operation": "ticks.GET"}]);
    let body = json!({"queries": queries, "reason": "watching", "duration": "10s"});
    let asked = call(&ben, "/v1/access-requests", body);
    let approved_at = Instant::now();
    let granted = grant(&approve(&asked));
    let mut wire = Wire::connect(house.gate);
    wire.send(format!(
        "GET /tail HTTP/1.1\r\nHost: ticks.example.com\r\nAuthorization: Bearer {gate}\r\n\r\n"
    ));
    wire.read_until(b"data: tick");
    let path = format!("/v1/grants/{granted}/extend");
    let more = call(&ben, &path, json!({"reason": "still watching", "duration": "10m"}));
    assert_eq!((&more["state"], &more["extends"]), (&json!("pending"), &json!(granted)));
    assert_eq!(grant(&approve(&more)), granted, "the same grant");
    while approved_at.elapsed() < Duration::from_secs(12) {
        wire.read_until(b"data: tick");
    }
    let held = house.api("GET", &format!("/v1/grants/{granted}"), Some(&ben), None).json();
    assert_eq!(held["in_force"], json!(true), "{held:#}");
    let revoke = format!("/v1/grants/{granted}/revoke");
    assert_eq!(house.api("POST", &revoke, Some(&lea), None).status, 200);
    wire.until_closed().expect("the end that it has now is its end");
    let late = house.api("POST", &path, Some(&ben), Some(json!({"reason": "more"})));
    assert_eq!(late.status, 409, "{}", late.text());
}

#[test]
fn a_grant_that_nobody_uses_ends_unused() {
    let payments = furnished(
        r#"
@id("payments.payout.idle") @reviews("0") @max_duration("5m") @idle("3s")
permit (principal is User in Group::"oncall", action == Action::"payments.createPayout", resource in Service::"payments")
when { context has grant };
"#,
    );
    let ana = payments.enter(&ana());
    let rule = json!({"rule": "payments.payout.idle"});
    let asked = ask(&ana, &["payments.createPayout"], rule).json();
    assert_eq!(asked["queries"][0]["way"]["idle"], "3s");
    let granted = grant(&asked);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(ana.send("POST", "/v1/payouts", None).status, 200, "it is in use");
        std::thread::sleep(Duration::from_millis(500));
    }
    let ended = payments.event("grant_ended", |event| event["grant"] == granted.as_str());
    assert_eq!(ended["decision"], "idle");
    assert_eq!(ana.send("POST", "/v1/payouts", None).status, 403);
}

#[test]
fn webhooks_are_told_and_reviewers_who_may_after_a_while_may_then() {
    let hook = Upstream::start();
    let policies = format!(
        r#"
@id("payments.told") @reviews("1") @notify("webhook:{}/secret-path")
permit (principal is User in Group::"engineering", action == Action::"payments.listRefunds", resource in Service::"payments")
when {{ context has grant }};
@id("payments.escalated")
permit (principal is User in Group::"managers", action == Action::"review", resource is AccessRequest)
when {{ resource.waited >= duration("3s") }};
"#,
        hook.url()
    );
    let payments = furnished(&policies);
    let (ben, mia) = (payments.enter(&ben()), payments.enter(&Person::new("mia", &["managers"])));
    let asked = ask(&ben, &["payments.listRefunds"], json!({})).json();
    let told = until("the webhook is told", || hook.received(), |told| !told.is_empty());
    assert_eq!(told[0].target(), "POST /secret-path");
    assert_eq!(told[0].headers("portcullis-notice").len(), 1);
    let message: Value = serde_json::from_slice(&told[0].body).unwrap();
    assert_eq!(message["access_request"]["id"], asked["id"]);
    assert_eq!(message["access_request"]["reason"], "month's end");
    let event = payments.event("notice_delivered", |_| true);
    assert!(!event.to_string().contains("secret-path"), "{event:#}");
    let to_review = || mia.call("GET", "/v1/access-requests?filter=to-review", None).json();
    let listed = |seen: &Value| seen["access_requests"][0]["id"] == asked["id"];
    until("the manager may", to_review, listed);
    assert_eq!(look(&ben, &asked)["reviewers"], json!(["mia"]), "and the requester sees it");
    assert_eq!(mia.approve(&asked).json()["state"], "approved");
    assert_eq!(hook.received().len(), 1, "once");
}

#[test]
fn the_command_line_asks_narrows_and_extends() {
    let payments = Payments::open();
    let (ben, lea, leo) = (payments.enter(&ben()), payments.enter(&lea()), payments.enter(&leo()));
    for (home, visitor) in [("ben", &ben), ("lea", &lea), ("leo", &leo)] {
        payments.house.profile(home, &visitor.control);
    }
    let said = |home: &str, args: &[&str], code: i32| {
        let (exited, text) = payments.house.says(home, args);
        assert_eq!(exited, Some(code), "{args:?}: {text}");
        text
    };
    let both = ["ask", "payments.createPayout", "payments.events", "--reason", "month's end"];
    let asked = said("ben", &both, 0);
    assert!(asked.contains("0 of 2 reviews by lea, leo"), "{asked}");
    let short = asked.split("access request ").nth(1).unwrap().split(':').next().unwrap();
    let listed = said("lea", &["requests", "--to-review"], 0);
    assert!(listed.contains(short) && listed.contains("payments.events"), "{listed}");
    let narrowed = [
        "review",
        short,
        "approve",
        "--only",
        "payments.events",
        "--for",
        "2m",
        "--note",
        "no payouts",
    ];
    assert!(said("lea", &narrowed, 0).contains("1 of 2 are given"));
    let whole = said("leo", &["requests", short], 0);
    for word in ["month's end", "2 reviews", "approved by  lea, for 2m, only payments.events"] {
        assert!(whole.contains(word), "{word}: {whole}");
    }
    let silent = said("leo", &["review", short, "decline"], 2);
    assert!(silent.contains("--note"), "errors say what to do: {silent}");
    assert!(said("leo", &["review", short, "approve"], 0).contains("is approved"));
    let grants = said("ben", &["grants"], 0);
    assert!(grants.contains("payments.events") && !grants.contains("payments.createPayout"));
    let grant = ben.call("GET", "/v1/grants", None).json()["grants"][0]["id"].clone();
    let more = ["extend", grant.as_str().unwrap(), "--for", "15m", "--reason", "not done yet"];
    let more = said("ben", &more, 0);
    assert!(more.contains("0 of 2 reviews"), "{more}");
    let refused = said("ben", &["ask", "payments.cancelRefund", "--reason", "x"], 1);
    assert!(refused.contains("no policy would open `payments.cancelRefund`"), "{refused}");
}

const LIMITED: &str = r#"
@id("payments.sales.list") @rate_limit("3/1m")
permit (principal is User in Group::"sales", action == Action::"payments.listRefunds", resource in Service::"payments");
@id("payments.sales.get")
permit (principal is User in Group::"sales", action == Action::"payments.getRefund", resource in Service::"payments");
@id("payments.sales.events") @rate_limit("5000/1m")
permit (principal is User in Group::"sales", action == Action::"payments.events", resource in Service::"payments");
"#;

#[test]
fn what_a_permit_admits_so_often_is_admitted_exactly_so_often() {
    let payments = furnished(LIMITED);
    let sal = payments.enter(&Person::new("sal", &["sales"]));
    let statuses = std::thread::scope(|scope| {
        let send = || sal.send("GET", "/v1/refunds", None).status;
        let racing: Vec<_> = (0..12).map(|_| scope.spawn(send)).collect();
        racing.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let of = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((of(200), of(429)), (3, 9), "{statuses:?}");
    assert_eq!(payments.upstream.take().len(), 3);
    let limited = sal.send("GET", "/v1/refunds", None);
    let wait: u32 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    payments.event("attempt", |event| event["status"] == 429);
    assert_eq!(sal.send("GET", "/v1/refunds/7", None).status, 200, "another action");
    assert_eq!(sal.send("GET", "/v1/events", None).status, 200, "a large rate is far from full");
    let sid = payments.enter(&Person::new("sid", &["sales"]));
    assert_eq!(sid.send("GET", "/v1/refunds", None).status, 200, "another principal");
    // A permit without a limit admits without one.
    let sue = payments.enter(&Person::new("sue", &["sales", "oncall"]));
    for _ in 0..6 {
        assert_eq!(sue.send("GET", "/v1/refunds", None).status, 200);
    }
}

//! Instances that fail, are gone, come back, have enough to do: what clients see of it.

mod connections;
mod handshakes;
mod moody;
pub(crate) mod names;
mod refused;
mod standing;

use std::time::{Duration, Instant};

use portcullis_testkit::net::free_port;

use crate::{
    mesh::eventually,
    shop::{HOST, Shop},
    wire::{Response, Wire},
};
use moody::{Mood, Moody};

/// Instances by their names, too.
const NAMED: &str = r#"
@id("named")
permit (principal is Workload in Group::"readers", action in Action::"shop.read", resource in Service::"shop");
"#;

const OK: Mood = Mood::Says(200);

/// A shop with these instances, `s-0` and so on, and further settings of its upstream.
fn shop(instances: &[&Moody], settings: &str) -> Shop {
    let named = instances.iter().enumerate();
    let named: Vec<_> = named.map(|(at, it)| format!("s-{at}: \"{}\"", it.url())).collect();
    let comma = if settings.is_empty() { "" } else { ", " };
    Shop::with(&format!("{{instances: {{{}}}{comma}{settings}}}", named.join(", ")))
}

fn read(shop: &Shop) -> Response {
    shop.read_as(&shop.token)
}

/// The value of a metric of the gate, with its labels as they are written.
#[track_caller]
fn metric(shop: &Shop, name: &str) -> u64 {
    let text = shop.house.api("GET", "/metrics", None, None).text();
    let start = format!("portcullis_gate_{name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}in\n{text}")).parse().unwrap()
}

#[test]
fn requests_spread_over_all_instances() {
    let all = [Moody::start(OK), Moody::start(OK), Moody::start(OK)];
    let shop = shop(&all.iter().collect::<Vec<_>>(), "");
    for _ in 0..90 {
        assert_eq!(read(&shop).status, 200);
    }
    let counts: Vec<_> = all.iter().map(Moody::requests).collect();
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
    assert_eq!(metric(&shop, "upstream_up{service=\"shop\",instance=\"s-2\"}"), 1);
}

#[test]
fn an_instance_that_answers_for_nobody_is_left_out() {
    let (good, bad) = (Moody::start(OK), Moody::start(Mood::Says(503)));
    let upstream = format!(
        "{{instances: {{s-0: \"{}\", s-1: \"{}\"}}, ejection: {{failures: 3, time: 1h, max_time: 1h}}}}",
        good.url(),
        bad.url()
    );
    let shop = Shop::unready_with(&upstream, |plan| plan.policy("named.cedar", NAMED));
    shop.house.wait_ready();
    let mut failed = 0;
    while bad.requests() < 3 {
        failed += usize::from(read(&shop).status == 503);
    }
    assert_eq!(failed, 3, "the answer is passed on");
    for _ in 0..40 {
        assert_eq!(read(&shop).status, 200);
    }
    assert_eq!(bad.requests(), 3);
    assert_eq!(metric(&shop, "upstream_ejections_total{service=\"shop\",instance=\"s-1\"}"), 1);
    assert_eq!(metric(&shop, "upstream_up{service=\"shop\",instance=\"s-1\"}"), 0);
    // Who names it means it, whatever is known of it.
    let head = shop.head("GET", "/page").replace(HOST, "shop--s-1.example.com");
    let answer = shop.answers(format!("{head}\r\n")).remove(0);
    assert_eq!((answer.status, bad.requests()), (503, 4));
    // An error of the service itself says nothing about the instance.
    good.becomes(Mood::Says(500));
    for _ in 0..20 {
        assert_eq!(read(&shop).status, 500);
    }
    assert_eq!(metric(&shop, "upstream_ejections_total{service=\"shop\",instance=\"s-0\"}"), 0);
}

#[test]
fn a_lone_instance_is_asked_whatever_it_did() {
    let only = Moody::start(Mood::HangsUp);
    let shop =
        shop(&[&only], "ejection: {failures: 1, time: 1h, max_time: 1h}, retries: {attempts: 0}");
    for _ in 0..5 {
        assert_eq!(read(&shop).status, 502);
    }
    only.becomes(OK);
    assert_eq!(read(&shop).status, 200);
}

#[test]
fn an_instance_that_is_gone_costs_no_request_and_comes_back() {
    let good = Moody::start(OK);
    let port = free_port();
    let shop = Shop::with(&format!(
        "{{instances: {{s-0: \"{}\", s-1: \"http://127.0.0.1:{port}\"}}, ejection: {{time: 1s}}, slow_start: never}}",
        good.url()
    ));
    for _ in 0..30 {
        assert_eq!(read(&shop).status, 200);
    }
    assert!(metric(&shop, "upstream_ejections_total{service=\"shop\",instance=\"s-1\"}") >= 1);
    assert!(metric(&shop, "upstream_retries_total{service=\"shop\",what=\"made\"}") >= 1);
    let back = Moody::at(&format!("127.0.0.1:{port}"), OK);
    eventually("it is picked again", || {
        assert_eq!(read(&shop).status, 200);
        back.requests() > 0
    });
}

#[test]
fn an_instance_that_flaps_is_left_out_longer_each_time() {
    let (good, flapping) = (Moody::start(OK), Moody::start(Mood::Says(502)));
    let shop = shop(&[&good, &flapping], "ejection: {failures: 1, time: 1s}, slow_start: never");
    let ejections = || metric(&shop, "upstream_ejections_total{service=\"shop\",instance=\"s-1\"}");
    let begun = Instant::now();
    eventually("it is ejected three times", || {
        read(&shop);
        ejections() >= 3
    });
    // One second, then two: the third cannot have come before.
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn health_checks_take_an_instance_out_and_bring_it_back() {
    let (good, ill) = (Moody::start(OK), Moody::start(OK));
    let shop = shop(
        &[&good, &ill],
        "health: {path: /healthz, interval: 1s, timeout: 5s, unhealthy_after: 2, healthy_after: 1}, \
         ejection: {failures: 0}, slow_start: never",
    );
    let up = || metric(&shop, "upstream_up{service=\"shop\",instance=\"s-1\"}");
    ill.becomes(Mood::Says(500));
    eventually("it is seen to be ill", || up() == 0);
    // Each core looks at what has changed before it picks.
    let before = ill.requests();
    for _ in 0..30 {
        assert_eq!(read(&shop).status, 200);
    }
    assert_eq!(ill.requests(), before);
    ill.becomes(OK);
    eventually("it is seen to be well", || up() == 1);
    eventually("it is picked again", || {
        assert_eq!(read(&shop).status, 200);
        ill.requests() > before
    });
    // One process asks, however many cores it has: an interval apart, and a few of each.
    let (asked, since) = (good.checks(), Instant::now());
    eventually("three more checks", || good.checks() >= asked + 3);
    assert!(since.elapsed() >= Duration::from_millis(1500), "{:?}", since.elapsed());
}

#[test]
fn what_is_too_much_is_refused_at_once_and_says_when_to_come_back() {
    let slow = Moody::start(Mood::Waits);
    let shop = shop(&[&slow], "limits: {instance: {requests: 2}}");
    let request = format!("{}\r\n", shop.head("GET", "/page"));
    let mut waiting: Vec<Wire> = (0..2)
        .map(|_| {
            let mut wire = Wire::connect(shop.house.gate);
            wire.send(&request);
            wire
        })
        .collect();
    eventually("both are under way", || slow.requests() == 2);
    assert_eq!(metric(&shop, "upstream_requests{service=\"shop\",instance=\"s-0\"}"), 2);
    let refused = read(&shop);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("limits") && detail.contains("nothing was sent"), "{detail}");
    let limit = "upstream_overloads_total{service=\"shop\",limit=\"requests\"}";
    assert_eq!(metric(&shop, limit), 1);
    slow.becomes(OK);
    for wire in &mut waiting {
        assert_eq!(wire.response().unwrap().status, 200);
    }
    assert_eq!(read(&shop).status, 200);
    eventually("nothing is under way", || {
        metric(&shop, "upstream_requests{service=\"shop\",instance=\"s-0\"}") == 0
    });
}

#[test]
fn connections_are_limited_too() {
    let slow = Moody::start(Mood::Waits);
    let shop = shop(&[&slow], "limits: {service: {connections: 1}}");
    let mut first = Wire::connect(shop.house.gate);
    first.send(format!("{}\r\n", shop.head("GET", "/page")));
    eventually("it is under way", || slow.requests() == 1);
    let refused = read(&shop);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    slow.becomes(OK);
    assert_eq!(first.response().unwrap().status, 200);
    // The pooled connection is the one that there may be: on this core. The other has none.
    first.send(format!("{}\r\n", shop.head("GET", "/page")));
    assert_eq!(first.response().unwrap().status, 200);
}

#[test]
fn an_answer_has_its_time_and_an_instance_that_takes_longer_is_left_out() {
    let (good, slow) = (Moody::start(OK), Moody::start(Mood::Waits));
    let shop = shop(
        &[&good, &slow],
        "timeouts: {request: 5s}, ejection: {failures: 1, time: 1h, max_time: 1h}",
    );
    let mut timed_out = 0;
    while slow.requests() == 0 || timed_out == 0 {
        timed_out += usize::from(read(&shop).status == 504);
    }
    assert_eq!((timed_out, slow.requests()), (1, 1), "it is not sent again: it may have been done");
    for _ in 0..20 {
        assert_eq!(read(&shop).status, 200);
    }
}

#[test]
fn a_second_try_that_takes_too_long_is_held_against_its_instance() {
    let (good, bad) = (Moody::start(OK), Moody::start(Mood::HangsUpThenWaits));
    let upstream = format!(
        "{{instances: {{s-0: \"{}\", s-1: \"{}\"}}, timeouts: {{request: 2s}}, ejection: {{failures: 2, time: 1h, max_time: 1h}}}}",
        good.url(),
        bad.url()
    );
    let shop = Shop::unready_with(&upstream, |plan| plan.policy("named.cedar", NAMED));
    shop.house.wait_ready();
    let head = shop.head("GET", "/page").replace(HOST, "shop--s-1.example.com");
    let answer = shop.answers(format!("{head}\r\n")).remove(0);
    assert_eq!((answer.status, bad.requests()), (504, 2));
    assert_eq!(metric(&shop, "upstream_ejections_total{service=\"shop\",instance=\"s-1\"}"), 1);
}

#[test]
fn an_answer_to_an_upload_has_its_time_from_the_end_of_the_upload() {
    let slow = Moody::start(Mood::Waits);
    let mut shop = shop(&[&slow], "timeouts: {request: 2s}, ejection: {failures: 0}");
    shop.token = shop.writer();
    let head = shop.head("POST", "/page");
    for (framing, body) in [
        ("Content-Length: 5\r\n\r\n", ["he", "llo"]),
        ("Transfer-Encoding: chunked\r\n\r\n", ["2\r\nhe\r\n", "3\r\nllo\r\n0\r\n\r\n"]),
    ] {
        let mut wire = Wire::connect(shop.house.gate);
        wire.send(format!("{head}{framing}{}", body[0]));
        // For longer than an answer may take.
        std::thread::sleep(Duration::from_millis(2500));
        let sent = Instant::now();
        wire.send(body[1]);
        assert_eq!(wire.response().expect("an answer").status, 504, "{framing}");
        assert!(sent.elapsed() >= Duration::from_secs(2), "{:?}", sent.elapsed());
    }
    assert_eq!(slow.requests(), 2);
}

#[test]
fn a_request_that_a_rested_connection_swallowed_is_sent_again_if_it_may_be_done_twice() {
    let moody = Moody::start(OK);
    let shop = shop(&[&moody], "ejection: {failures: 0}");
    let writer = shop.writer();
    let mut wire = Wire::connect(shop.house.gate);
    let ask = |wire: &mut Wire, method: &str| {
        let head = shop.head(method, "/page").replace(&shop.token, &writer);
        wire.send(format!("{head}Content-Length: 0\r\n\r\n"));
        wire.response().unwrap().status
    };
    let rest = || {
        // Long enough for the gate to see that the connection rests.
        std::thread::sleep(Duration::from_millis(2100));
    };
    assert_eq!(ask(&mut wire, "GET"), 200);
    rest();
    moody.becomes(Mood::HangsUpOnce);
    assert_eq!((ask(&mut wire, "GET"), moody.requests()), (200, 3));
    let made = "upstream_retries_total{service=\"shop\",what=\"made\"}";
    assert_eq!(metric(&shop, made), 1);
    rest();
    // What may not be done twice is not.
    moody.becomes(Mood::HangsUpOnce);
    assert_eq!((ask(&mut wire, "POST"), moody.requests()), (502, 4));
    assert_eq!(metric(&shop, made), 1);
}

#[test]
fn retries_end_with_their_budget() {
    let moody = Moody::start(Mood::HangsUp);
    let settings = "ejection: {failures: 0}, retries: {attempts: 2, share: 0%, floor: 0}";
    let shop = shop(&[&moody], settings);
    for _ in 0..5 {
        assert_eq!(read(&shop).status, 502);
    }
    assert_eq!(moody.requests(), 5, "each was sent once");
    assert_eq!(metric(&shop, "upstream_retries_total{service=\"shop\",what=\"made\"}"), 0);
    assert_eq!(metric(&shop, "upstream_retries_total{service=\"shop\",what=\"over_budget\"}"), 5);
}

#[test]
fn instances_in_the_gates_zone_are_preferred_while_enough_of_them_are_up() {
    let (here, there) = (Moody::start(OK), Moody::start(OK));
    let upstream = format!(
        "{{instances: {{s-0: {{url: \"{}\", zone: a}}, s-1: {{url: \"{}\", zone: b}}}}, ejection: {{failures: 1, time: 1h, max_time: 1h}}}}",
        here.url(),
        there.url()
    );
    let shop = Shop::unready_with(&upstream, |plan| plan.setting("zone: a"));
    shop.house.wait_ready();
    for _ in 0..30 {
        assert_eq!(read(&shop).status, 200);
    }
    assert_eq!((here.requests(), there.requests()), (30, 0));
    here.becomes(Mood::Says(503));
    assert_eq!(read(&shop).status, 503);
    assert_eq!(read(&shop).status, 200);
    assert_eq!(there.requests(), 1);
}

#[test]
fn j03_a_redirect_of_an_upstream_is_the_clients_affair() {
    let elsewhere = Moody::start(OK);
    let to: &'static str = Box::leak(format!("{}/secret", elsewhere.url()).into_boxed_str());
    let upstream = Moody::start(Mood::Redirects(to));
    let shop = shop(&[&upstream], "");
    let answer = read(&shop);
    assert_eq!((answer.status, answer.header("location")), (302, Some(to)));
    assert_eq!((upstream.requests(), elsewhere.requests()), (1, 0));
}

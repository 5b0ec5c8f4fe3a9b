//! Clocks: windows in time zones, turns that configuration keeps, and a wall clock that is set.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use portcullis_testkit::ambient::machine_time;
use serde_json::json;

use crate::{
    house::Plan,
    payments::{Payments, Visitor, ana, ben, grant, lea},
    streams::ticking_upstream,
    upstream::Upstream,
    wire::Wire,
};

/// What the linker has to load for a wall clock that can be set.
pub(crate) fn library() -> String {
    let mut said = String::new();
    // It refuses where a process of the same id was killed and left its shared memory behind.
    for _ in 0..5 {
        let asked = Command::new("faketime").args(["-f", "+0", "env"]).output();
        let asked = asked.expect("faketime is there; ./scripts/test installs it");
        let env = String::from_utf8_lossy(&asked.stdout).into_owned();
        if let Some(library) = env.lines().find_map(|line| line.strip_prefix("LD_PRELOAD=")) {
            return library.to_owned();
        }
        said += &String::from_utf8_lossy(&asked.stderr);
    }
    panic!("faketime preloads nothing: {said}")
}

/// Minutes since midnight in Kolkata, which is half an hour off everybody else's hours.
fn minute(now: Timestamp) -> i16 {
    let there = now.to_zoned(TimeZone::get("Asia/Kolkata").unwrap());
    i16::from(there.hour()) * 60 + i16::from(there.minute())
}

/// A condition that holds from `from` to `to`, across midnight if need be.
fn window(from: i16, to: i16) -> String {
    let (from, to) = (from.rem_euclid(1440), to.rem_euclid(1440));
    let word = if from < to { "&&" } else { "||" };
    format!("context.clock.far.minute >= {from} {word} context.clock.far.minute < {to}")
}

#[test]
fn m08_windows_are_in_their_own_time_zone_and_turns_are_taken_by_configuration() {
    let minute = minute(machine_time());
    let policies = format!(
        r#"
@id("open") permit (principal is User in Group::"engineering", action == Action::"payments.listRefunds", resource in Service::"payments")
when {{ {} }};
@id("shut") permit (principal is User in Group::"engineering", action == Action::"payments.createRefund", resource in Service::"payments")
when {{ {} }};
@id("turn") permit (principal is User, action == Action::"payments.createPayout", resource in Service::"payments")
when {{ principal has onCall && principal.onCall.contains(Schedule::"primary") }};
@id("managers") permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);
"#,
        window(minute - 120, minute + 120),
        window(minute + 120, minute - 120),
    );
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.policy("clocks.cedar", &policies).setting("clocks: {far: Asia/Kolkata}").setting(
            "schedules: {primary: {people: [\"corp:ben\"], zone: Asia/Kolkata, \
             from: \"2026-01-05T09:00\", every: 7d}}",
        )
    });
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    assert_eq!(ben.send("GET", "/v1/refunds", None).status, 200, "within its window");
    assert_eq!(ben.refund(1).status, 403, "outside of its window");
    assert_eq!(ben.send("POST", "/v1/payouts", None).status, 200, "it is his turn");
    assert_eq!(lea.send("POST", "/v1/payouts", None).status, 403, "and not hers");
    let listed = ben.call("GET", "/v1/schedules", None).json();
    assert_eq!(listed["schedules"][0]["people"], json!(["corp:ben"]), "{listed:#}");
    assert_eq!(listed["schedules"][0]["source"], "config");
    let said = lea.call("PUT", "/v1/schedules/primary", Some(json!({"people": ["corp:lea"]})));
    assert_eq!(said.status, 409, "{}", said.text());
}

pub(crate) fn with_a_clock_that_can_be_set() -> Payments {
    Payments::furnished(Upstream::start(), |plan: Plan| {
        let service = format!(
            "name: sse\nhosts: [sse.example.com]\nupstream: {{instances: {{i-1: \"http://{}\"}}}}",
            ticking_upstream()
        );
        let rule = r#"@id("watch") @reviews("0") @max_duration("10m")
            permit (principal is User in Group::"oncall", action == Action::"sse.GET", resource)
            when { context has grant };"#;
        plan.service(&service).policy("watch.cedar", rule).file("faketime", "+0")
    })
}

/// An event stream under a grant of a few seconds, which has begun.
fn watching(payments: &Payments, ana: &Visitor<'_>) -> (Wire, Instant) {
    let ask =
        json!({"queries": [{"operation": "sse.GET"}], "reason": "watching", "duration": "6s"});
    let asked = ana.call("POST", "/v1/access-requests", Some(ask));
    grant(&asked.json());
    let granted = Instant::now();
    let mut wire = Wire::connect(payments.house.gate);
    wire.send(format!(
        "GET /tail HTTP/1.1\r\nHost: sse.example.com\r\nAuthorization: Bearer {}\r\n\
         Accept: text/event-stream\r\n\r\n",
        ana.gate
    ));
    let begun = String::from_utf8_lossy(&wire.read_until(b"data: tick")).into_owned();
    assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
    (wire, granted)
}

#[test]
fn e32_a_wall_clock_that_is_set_back_makes_nothing_live_longer() {
    let payments = with_a_clock_that_can_be_set();
    let ana = payments.enter(&ana());
    let (mut wire, granted) = watching(&payments, &ana);
    payments.house.set_clock("-1h");
    assert!(wire.until_closed().is_some(), "the stream ends with its grant");
    assert!(granted.elapsed() < Duration::from_mins(1), "{:?}", granted.elapsed());
    payments.house.set_clock("+0");
    payments.event("grant_ended", |event| event["decision"] == "expired");
}

#[test]
fn e32_a_wall_clock_that_is_set_forward_ends_and_opens_nothing() {
    let payments = with_a_clock_that_can_be_set();
    let (ana, ben) = (payments.enter(&ana()), payments.enter(&ben()));
    grant(&ana.ask(&ana.refund(1), json!({})).json());
    assert_eq!(ana.refund(1).status, 200);
    let waiting = ben.ask(&ben.refund(2), json!({})).json();
    assert_eq!(waiting["state"], "pending");
    payments.house.set_clock("+2h");
    let over = Instant::now() + Duration::from_secs(20);
    while ana.refund(1).status == 200 {
        assert!(Instant::now() < over, "the grant outlives its end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_ne!(ben.refund(2).status, 200, "nobody has approved it");
}

//! What lasts: a system that is away, one that wants rest, and what it answers wrongly of one thing.

use serde_json::{Value, json};

use super::{
    Told,
    pagerduty::{asked_every, on_call, told, trigger},
};
use crate::{
    payments::{Visitor, ana, grant},
    wire::Response,
};

/// Gets access for an incident, and gives it back.
fn given_and_ended(ana: &Visitor<'_>, incident: &str) {
    let granted = granted(ana, incident);
    let back = ana.call("POST", &format!("/v1/grants/{granted}/give-back"), None);
    assert_eq!(back.status, 200, "{}", back.text());
}

fn granted(ana: &Visitor<'_>, incident: &str) -> String {
    let ask =
        json!({"queries": [{"operation": "sse.GET"}], "reason": "looking", "incident": incident});
    grant(&ana.call("POST", "/v1/access-requests", Some(ask)).json())
}

fn notes_of(written: &Value, number: u32) -> Vec<String> {
    let all = written["notes"].as_array().cloned().unwrap_or_default();
    let its = all.iter().filter(|note| note["number"] == number);
    its.map(|note| note["content"].as_str().unwrap().to_owned()).collect()
}

fn open(told: &Told, ana: &Visitor<'_>, numbers: &[u32]) {
    for number in numbers {
        told.order(&trigger(*number, "PSSE", json!({})));
        told.incident(ana, &format!("PD-{number}"), |it| it["state"] == "open");
    }
}

#[test]
fn what_gathered_over_an_outage_and_a_restart_becomes_one_note_for_each_incident() {
    let mut told = told("5m", |plan| plan);
    {
        let ana = told.payments.enter(&ana());
        on_call(&told, &ana);
        open(&told, &ana, &[1, 2]);
        told.order(&json!({"do": "down"}));
        given_and_ended(&ana, "PD-1");
        // More than a page of the record is about something else.
        for _ in 0..300 {
            assert_eq!(ana.refund(1).status, 403);
        }
        given_and_ended(&ana, "PD-2");
        given_and_ended(&ana, "PD-1");
    }
    let ended = |all: &[Value]| all.iter().filter(|one| one["type"] == "grant_ended").count();
    told.payments.record(|all| ended(all) >= 2);
    told.payments.house.kill();
    told.payments.house.restart();
    told.order(&json!({"do": "up"}));
    let written = told.written(|it| !notes_of(it, 1).is_empty() && !notes_of(it, 2).is_empty());
    for (number, grants) in [(1, 2), (2, 1)] {
        let notes = notes_of(&written, number);
        assert_eq!(notes.len(), 1, "nobody is flooded: {notes:#?}");
        let count = |what: &str| notes[0].lines().filter(|line| line.starts_with(what)).count();
        assert_eq!(count("Access given: corp:ana may sse.GET, until "), grants, "{notes:#?}");
        assert_eq!(count("Access ended, "), grants, "{notes:#?}");
        let evidence = format!("/v1/evidence/PD-{number}");
        assert!(notes[0].ends_with(&evidence), "{notes:#?}");
    }
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn an_incident_that_takes_no_more_notes_keeps_no_other_from_having_theirs() {
    let told = told("5m", |plan| plan);
    let ana = told.payments.enter(&ana());
    on_call(&told, &ana);
    open(&told, &ana, &[1, 2]);
    told.order(&json!({"do": "notes_at_most", "number": 1, "notes": 1}));
    given_and_ended(&ana, "PD-1");
    told.written(|it| notes_of(it, 1).len() == 1);
    given_and_ended(&ana, "PD-1");
    given_and_ended(&ana, "PD-2");
    let written = told.written(|it| notes_of(it, 2).concat().contains("Access ended"));
    assert_eq!(notes_of(&written, 1).len(), 1);
    // And nothing waits behind what is refused.
    told.no_note_waits("pagerduty");
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn an_incident_whose_notes_always_go_wrong_keeps_no_other_from_having_theirs() {
    let told = told("5m", |plan| plan);
    let ana = told.payments.enter(&ana());
    on_call(&told, &ana);
    open(&told, &ana, &[1, 2]);
    for (round, status) in [(1, 403), (2, 500)] {
        told.order(&json!({"do": "refuse_notes", "number": 1, "status": status}));
        given_and_ended(&ana, "PD-1");
        given_and_ended(&ana, "PD-2");
        let ended = |it: &Value| notes_of(it, 2).concat().matches("Access ended").count();
        told.written(|it| ended(it) == round);
        // And nothing waits behind what goes wrong.
        told.no_note_waits("pagerduty");
        let written = told.written(|_| true);
        assert!(notes_of(&written, 1).is_empty(), "{status}: {written:#}");
        assert_eq!(ended(&written), round, "nobody is told twice: {written:#}");
    }
    told.order(&json!({"do": "refuse_notes", "number": 1, "status": null}));
    given_and_ended(&ana, "PD-1");
    told.written(|it| notes_of(it, 1).concat().contains("Access ended"));
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn while_nobody_may_write_there_no_note_is_given_up() {
    let told = told("5m", |plan| plan);
    let ana = told.payments.enter(&ana());
    on_call(&told, &ana);
    open(&told, &ana, &[1, 2]);
    for number in [1, 2] {
        told.order(&json!({"do": "refuse_notes", "number": number, "status": 403}));
    }
    given_and_ended(&ana, "PD-1");
    given_and_ended(&ana, "PD-2");
    // More often than any one incident is tried that refuses.
    let tries = || {
        let calls = told.order(&json!({"do": "seen"}))["calls"].clone();
        let calls = calls.as_array().cloned().unwrap_or_default();
        calls.iter().filter(|call| *call == "POST /incidents/Q1X/notes").count()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while tries() < 5 {
        assert!(std::time::Instant::now() < deadline, "{}", told.payments.house.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for number in [1, 2] {
        told.order(&json!({"do": "refuse_notes", "number": number, "status": null}));
    }
    told.written(|it| {
        [1, 2].iter().all(|number| notes_of(it, *number).concat().contains("Access ended"))
    });
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn a_system_that_wants_rest_gets_it_from_whoever_would_ask_or_tell_it() {
    let told = told("5m", |plan| plan);
    let ana = told.payments.enter(&ana());
    on_call(&told, &ana);
    open(&told, &ana, &[1]);
    let granted = granted(&ana, "PD-1");
    told.written(|it| !notes_of(it, 1).is_empty());
    told.order(&json!({"do": "limit", "calls": 1}));
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while told.order(&json!({"do": "seen"}))["limited"] != true {
        assert!(std::time::Instant::now() < deadline, "nobody asks");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // While it rests a note is due, and messages say that there is something to be looked at.
    let back = ana.call("POST", &format!("/v1/grants/{granted}/give-back"), None);
    assert_eq!(back.status, 200, "{}", back.text());
    told.order(&json!({"do": "join", "number": 1, "user": "PBEN"}));
    told.incident(&ana, "PD-1", |it| it["responders"] == json!(["corp:ben"]));
    told.written(|it| notes_of(it, 1).concat().contains("Access ended"));
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn what_is_answered_wrongly_of_one_incident_keeps_no_other_from_being_known() {
    let told = told("5m", |plan| plan);
    let ana = told.payments.enter(&ana());
    told.order(&json!({"do": "user", "id": "PBAD", "email": "ana@example.com"}));
    told.order(&json!({"do": "break_user", "id": "PBAD"}));
    for (number, who) in [(1, "PBAD"), (2, "PANA"), (3, "PANA")] {
        told.order(&trigger(number, "PSSE", json!({"hook": false, "users": [who]})));
    }
    told.incident(&ana, "PD-2", |it| it["state"] == "open");
    told.incident(&ana, "PD-3", |it| it["state"] == "open");
    on_call(&told, &ana);
    assert_eq!(ana.call("GET", "/v1/incidents/PD-1", None).status, 404);
    // One that is over is over, whatever else cannot be learned.
    told.order(&json!({"do": "resolve", "number": 2, "hook": false}));
    told.incident(&ana, "PD-2", |it| it["state"] == "closed");
    told.order(&json!({"do": "break_user", "id": "PBAD", "broken": false}));
    told.incident(&ana, "PD-1", |it| it["responders"] == json!(["corp:ana"]));
    assert_eq!(told.vendor.faults(), json!([]));
}

/// Nothing is asked for all of it meanwhile: what shows is the look at the one that a message told of.
#[test]
fn a_look_at_one_incident_that_fails_shows_how_the_system_is() {
    let told = asked_every("1h", "2h", |plan| plan);
    let ana = told.payments.enter(&ana());
    // Who is on call was asked for already, perhaps before anybody had entered.
    told.schedule(&ana, |it| it["known"] == true);
    told.order(&trigger(1, "PPAY", json!({"users": ["PANA"]})));
    told.incident(&ana, "PD-1", |it| it["responders"] == json!(["corp:ana"]));
    let auditor = told.payments.auditor();
    let state = |answer: &Response| {
        let all = answer.json()["connectors"].clone();
        let found = all.as_array().unwrap().iter().find(|one| one["name"] == "pagerduty").cloned();
        found.unwrap_or_else(|| panic!("{all:#}"))
    };
    let asks = || told.payments.house.api("GET", "/v1/connectors", Some(&auditor), None);
    assert_eq!(state(&asks())["state"], "working");
    told.order(&json!({"do": "down"}));
    told.order(&json!({"do": "join", "number": 1, "user": "PBEN"}));
    let failing = told.until(asks, |answer| state(answer)["state"] == "failing");
    let failing = state(&failing);
    assert!(failing["trouble"].to_string().contains("503"), "{failing:#}");
    assert!(failing["answered_at"].is_string(), "what it said before is known still: {failing:#}");
}

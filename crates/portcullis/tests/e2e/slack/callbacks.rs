//! Callbacks that are not genuine, not new or not ours do nothing, and are on record.

use serde_json::{Value, json};

use super::{Mode, Office, text};
use crate::payments::{ben, lea};

/// An office in which something waits, what it is, its message, and its requester's token.
fn waiting(mode: Mode) -> (Office, Value, Value, String) {
    let mut office = Office::open(mode);
    office.token(&lea());
    let ben = office.token(&ben());
    let asked = office.ask(&ben, "for callbacks");
    let message = office.in_channel(&asked);
    (office, asked, message, ben)
}

#[test]
fn e05_a_callback_that_is_unsigned_forged_or_not_of_now_is_401_and_on_record() {
    let (mut office, asked, message, ben) = waiting(Mode::Http);
    for (spoilt, why) in [
        (json!({"unsigned": true}), "it is not signed"),
        (json!({"secret": "of somebody else"}), "its signature does not fit"),
        (json!({"late": -360}), "it was signed more than 300 seconds ago, or from now"),
        (json!({"late": 360}), "it was signed more than 300 seconds ago, or from now"),
    ] {
        let done = office.press("lea", &message, "approve", spoilt.clone());
        assert_eq!(done["status"], 401, "{spoilt}: {done}");
        let refused = office.is_refused(why);
        assert_eq!(refused["source"], "127.0.0.1", "{refused:#}");
    }
    assert_eq!(office.get(&ben, &asked)["state"], "pending");
    let commanded = office.slack.order(json!({
        "do": "type", "by": "lea", "text": "payments events why", "unsigned": true,
    }));
    assert_eq!(commanded["status"], 401);
}

#[test]
fn e06_a_callback_that_comes_twice_does_something_once() {
    let (mut office, asked, message, ben) = waiting(Mode::Http);
    // The first does nothing either, and would if it were looked at again.
    office.press("lea", &message, "decline", json!({}));
    office.slack.until("answered", |got| got["to"] == "lea");
    let done = office.press("lea", &message, "decline", json!({"as_before": true}));
    assert_eq!(done["status"], 200);
    office.is_refused("it came before");
    assert_eq!(office.slack.count(|got| got["what"] == "answered"), 1);
    office.press("lea", &message, "approve", json!({}));
    office.becomes(&message, "Access is granted: payments");
    let done = office.press("lea", &message, "approve", json!({"as_before": true}));
    assert_eq!(done["status"], 200);
    assert_eq!(office.get(&ben, &asked)["reviews"].as_array().unwrap().len(), 1);
}

#[test]
fn e06_an_envelope_that_comes_twice_does_something_once() {
    let (mut office, asked, message, ben) = waiting(Mode::Socket);
    for _ in 0..2 {
        let done = office.press("lea", &message, "decline", json!({"envelope": "the-same"}));
        assert_eq!(done["acknowledged"], true);
    }
    office.is_refused("it came before");
    assert_eq!(office.get(&ben, &asked)["state"], "pending");
}

#[test]
fn e07_the_same_in_other_bytes_is_forged() {
    let (mut office, asked, message, ben) = waiting(Mode::Http);
    let done = office.press("lea", &message, "approve", json!({"rewritten": true}));
    assert_eq!(done["status"], 401);
    office.is_refused("its signature does not fit");
    assert_eq!(office.get(&ben, &asked)["state"], "pending");
}

#[test]
fn e08_what_a_button_carries_says_nothing_and_is_good_where_it_is_shown_and_once() {
    let (mut office, asked, message, ben) = waiting(Mode::Http);
    let id = asked["id"].as_str().unwrap();
    let carried = message["blocks"].to_string();
    let values: Vec<&str> = carried.split("\"value\":\"").skip(1).collect();
    assert!(values.len() >= 3 && values.iter().all(|value| !value.starts_with(id)), "{carried}");
    for spoilt in [
        json!({"value": id}),
        json!({"value": format!("approve {id}")}),
        json!({"value": "pc_button_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}),
        json!({"other_ts": "1.2"}),
    ] {
        let done = office.press("lea", &message, "approve", spoilt.clone());
        assert_eq!(done["status"], 200, "{spoilt}");
        let told = office.slack.until("answered", |got| got["to"] == "lea");
        assert!(text(&told["message"]).contains("this button is spent"), "{spoilt}: {told:#}");
        assert_eq!(office.get(&ben, &asked)["state"], "pending", "{spoilt}");
    }
    office.is_refused("ULEA00000 pressed a button: this button is spent");
    // A true one of somebody else: who presses counts, not what it says.
    office.press("ben", &message, "approve", json!({"called": "lea"}));
    office.slack.until("answered", |got| got["to"] == "ben");
    assert_eq!(office.get(&ben, &asked)["state"], "pending");
    office.press("lea", &message, "approve", json!({}));
    office.becomes(&message, "Access is granted: payments");
}

#[test]
fn what_is_of_another_workspace_or_app_does_nothing() {
    for mode in [Mode::Http, Mode::Socket] {
        let (mut office, asked, message, ben) = waiting(mode);
        for (spoilt, why) in [
            (json!({"workspace": "T0STRANGER"}), "it is of workspace T0STRANGER"),
            (json!({"members_of": "T1STRANGER"}), "it is of workspace T1STRANGER"),
            (json!({"app": "A0STRANGER"}), "it is for app A0STRANGER"),
        ] {
            office.press("lea", &message, "approve", spoilt);
            office.is_refused(why);
        }
        assert_eq!(office.get(&ben, &asked)["state"], "pending");
    }
}

#[test]
fn e10_a_get_changes_nothing() {
    let (mut office, asked, message, ben) = waiting(Mode::Http);
    let done = office.press("lea", &message, "approve", json!({"verb": "GET"}));
    assert_eq!(done["status"], 405);
    // Whoever unfurls links opens the page of the message as nobody.
    let page = format!("/requests/{}", asked["id"].as_str().unwrap());
    let house = &office.payments.house;
    assert_eq!(house.api("GET", &page, None, None).status, 303);
    assert_eq!(office.get(&ben, &asked)["state"], "pending");
}

#[test]
fn without_a_signing_secret_there_is_no_door() {
    let mut office = Office::open(Mode::Socket);
    office.slack.order(json!({"do": "callbacks", "port": office.payments.house.control.port()}));
    let done = office.slack.order(json!({"do": "type", "by": "lea", "text": "help"}));
    assert_eq!(done["status"], 404);
}

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
fn e06_an_envelope_whose_press_counted_counts_once() {
    let mut office = Office::open(Mode::Socket);
    office.token(&lea());
    let ben = office.token(&ben());
    let body = json!({"queries": [{"operation": "payments.createPayout"}], "reason": "two look"});
    let asked = office.payments.house.api("POST", "/v1/access-requests", Some(&ben), Some(body));
    assert_eq!(asked.status, 201, "{}", asked.text());
    let asked = asked.json();
    let message = office.in_channel(&asked);
    for _ in 0..2 {
        let done = office.press("lea", &message, "approve", json!({"envelope": "it-counted"}));
        assert_eq!(done["acknowledged"], true);
    }
    office.is_refused("it came before");
    office.payments.event("reviewed", |event| event["access_request"] == asked["id"]);
    let now = office.get(&ben, &asked);
    assert_eq!(now["state"], "pending", "it takes two: {now:#}");
    assert_eq!(now["reviews"].as_array().unwrap().len(), 1, "{now:#}");
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

#[test]
fn what_strangers_send_fills_no_record_and_keeps_nothing_genuine_out() {
    let (mut office, asked, message, ben) = waiting(Mode::Http);
    let begun = std::time::Instant::now();
    for n in 0..150 {
        let spoilt = match n % 3 {
            0 => json!({"unsigned": true}),
            1 => json!({"secret": "of somebody else"}),
            _ => json!({"late": -360}),
        };
        let done = office.press("lea", &message, "approve", spoilt);
        assert_eq!(done["status"], 401);
    }
    let refused = |event: &&Value| event["type"] == "control_refused";
    let before = office.payments.record(|_| true).iter().filter(refused).count();
    let most = 61 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&before), "60 and one a second more: {before}");
    assert_eq!(office.get(&ben, &asked)["state"], "pending");
    // What Slack vouches for counts apart: it is on record, however much strangers sent.
    office.press("lea", &message, "approve", json!({"value": "pc_button_none"}));
    office.is_refused("this button is spent");
    office.press("lea", &message, "approve", json!({}));
    office.becomes(&message, "Access is granted: payments");
}

#[test]
fn a_press_before_it_is_written_down_where_the_message_is_counts() {
    for mode in [Mode::Http, Mode::Socket] {
        let mut office = Office::open(mode);
        office.token(&lea());
        let ben = office.token(&ben());
        // On whichever message is posted first.
        office.slack.order(json!({"do": "eager", "press": {"by": "lea", "action": "approve"}}));
        let asked = office.ask(&ben, "pressed at once");
        let message = office.in_channel(&asked);
        office.slack.until("eager", |_| true);
        // Where it was the direct message, the channel's may be posted as granted.
        let granted = "Access is granted: payments";
        if message["blocks"][0]["text"]["text"] != granted {
            office.becomes(&message, granted);
        }
        let now = office.get(&ben, &asked);
        assert_eq!(
            (&now["state"], now["reviews"].as_array().unwrap().len()),
            (&json!("approved"), 1)
        );
    }
}

#[test]
fn a_press_that_meets_a_crash_counts_once_when_slack_brings_it_again() {
    let (mut office, asked, message, ben) = waiting(Mode::Socket);
    // It is written down where the message is: what is posted twice has other buttons.
    office.payments.event("notice_delivered", |event| event["detail"] == "slack:#payments");
    office.slack.begin(json!({
        "do": "press", "by": "lea", "channel": message["channel"], "ts": message["ts"],
        "action": "approve", "envelope": "through-a-crash",
    }));
    // Wherever between its coming and its acknowledgement that is.
    office.slack.until("sent", |got| got["envelope"] == "through-a-crash");
    office.payments.house.kill();
    office.payments.house.restart();
    let done = office.slack.until("done", |got| got["do"] == "press");
    assert_eq!(done["acknowledged"], true, "{done}");
    office.becomes(&message, "Access is granted: payments");
    let now = office.get(&ben, &asked);
    assert_eq!(now["reviews"].as_array().unwrap().len(), 1, "{now:#}");
    let reviewed = |event: &&Value| event["type"] == "reviewed";
    assert_eq!(office.payments.record(|_| true).iter().filter(reviewed).count(), 1);
}

//! Operators see how Slack is: whether it takes messages, whether it can call back, and what waits.

use serde_json::{Value, json};

use super::{Mode, Office};
use crate::{
    mesh::eventually,
    payments::{ben, leo},
    people::Person,
};

fn slack(office: &Office) -> Value {
    let house = &office.payments.house;
    let auditor = office.payments.auditor();
    let all = house.api("GET", "/v1/connectors", Some(&auditor), None).json();
    let all = all["connectors"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{all:#?}");
    all[0].clone()
}

#[test]
fn slack_that_is_down_is_failing_and_says_what_waits_until_it_is_back() {
    let mut office = Office::open(Mode::Socket);
    let (ben, _leo) = (office.token(&ben()), office.token(&leo()));
    let asked = office.ask(&ben, "before it went");
    let message = office.in_channel(&asked);
    eventually("it works", || {
        slack(&office)["state"] == "working" && slack(&office)["waiting"] == 0
    });
    let works = slack(&office);
    assert_eq!((&works["name"], &works["kind"]), (&json!("slack"), &json!("slack")));
    assert!(works["place"].as_str().unwrap().contains("T024BE7LD"), "{works:#}");
    assert_eq!(works["heard_at"], Value::Null, "{works:#}");
    office.press("leo", &message, "decline", json!({"note": "not now"}));
    eventually("it was heard", || slack(&office)["heard_at"].is_string());
    office.slack.order(json!({"do": "down", "down": true}));
    // The socket alone says it: nobody has anything to say to Slack.
    eventually("the socket is gone", || {
        let trouble = slack(&office)["trouble"].to_string();
        slack(&office)["state"] == "failing" && trouble.contains("Socket Mode is not connected")
    });
    let mia = office.token(&Person::new("mia", &["engineering"]));
    office.ask(&mia, "while it is away");
    eventually("it was tried, and waits", || {
        let down = slack(&office);
        down["waiting"].as_u64() > Some(0)
            && down["failures"].as_u64() > Some(0)
            && down["trouble"].to_string().contains("Slack answered 503")
    });
    assert!(slack(&office)["failing_since"].is_string());
    office.slack.order(json!({"do": "down", "down": false}));
    eventually("it is back", || {
        slack(&office)["state"] == "working" && slack(&office)["waiting"] == 0
    });
    let back = slack(&office);
    assert_eq!(
        (&back["trouble"], &back["failing_since"]),
        (&Value::Null, &Value::Null),
        "{back:#}"
    );
}

#[test]
fn what_is_forged_in_slacks_name_is_shown_and_says_nothing_of_slack() {
    let office = Office::open(Mode::Http);
    let house = &office.payments.house;
    let forged = house.api("POST", "/connectors/slack/commands", None, Some(json!({"text": "x"})));
    assert_eq!(forged.status, 401, "{}", forged.text());
    let seen = slack(&office);
    assert_eq!((&seen["state"], &seen["heard_at"]), (&json!("unknown"), &Value::Null), "{seen:#}");
    assert!(seen["refused"]["why"].is_string() && seen["refused"]["at"].is_string(), "{seen:#}");
}

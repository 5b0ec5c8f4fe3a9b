//! While Slack is away, slow or refuses, nothing is lost, nobody is flooded, and nothing else waits.

use serde_json::{Value, json};

use super::{Mode, Office, text};
use crate::{
    payments::{ben, lea, leo},
    people::Person,
};

fn about(request: &Value) -> String {
    format!("/requests/{}", request["id"].as_str().unwrap())
}

#[test]
fn after_an_outage_and_a_crash_each_message_says_once_how_things_are() {
    let mut office = Office::open(Mode::Http);
    let (lea, ben) = (office.token(&lea()), office.token(&ben()));
    let mia = office.token(&Person::new("mia", &["engineering"]));
    office.token(&leo());
    let seen = office.ask(&ben, "seen before it went");
    let message = office.in_channel(&seen);
    office.slack.order(json!({"do": "down", "down": true}));
    let withdrawn = office.ask(&mia, "over before it is back");
    let path = |request: &Value, what: &str| {
        format!("/v1/access-requests/{}/{what}", request["id"].as_str().unwrap())
    };
    let house = &office.payments.house;
    let done = house.api("POST", &path(&withdrawn, "withdraw"), Some(&mia), None);
    assert!(done.status < 300, "{}", done.text());
    let waits = office.ask(&mia, "still waits when it is back");
    // Decided meanwhile: the gate does not wait for Slack.
    let body = Some(json!({"decision": "approve"}));
    let done = house.api("POST", &path(&seen, "reviews"), Some(&lea), body);
    assert_eq!(done.json()["state"], "approved", "{}", done.text());
    office.payments.house.kill();
    office.payments.house.restart();
    office.slack.order(json!({"do": "down", "down": false}));
    let posted = office.in_channel(&waits);
    office.becomes(&message, "Access is granted: payments");
    // The button of a message from before a crash is good, and so is one from after it.
    office.press("leo", &posted, "approve", json!({}));
    office.becomes(&posted, "Access is granted: payments");
    let count = |what: &str, part: &str| {
        office.slack.count(|got| {
            got["what"] == what && got["place"] == "#payments" && got.to_string().contains(part)
        })
    };
    assert_eq!(count("posted", &about(&waits)), 1);
    assert_eq!(count("posted", &about(&withdrawn)), 0, "nobody needs to hear of it any more");
}

#[test]
fn what_slack_takes_no_more_of_waits_as_long_as_it_says_and_is_said_once() {
    let mut office = Office::open(Mode::Http);
    let (lea, ben) = (office.token(&lea()), office.token(&ben()));
    let asked = office.ask(&ben, "changes often");
    let message = office.in_channel(&asked);
    office.slack.until("posted", |got| got["place"] == "ULEA00000");
    office.slack.order(json!({"do": "limit", "method": "chat.update", "seconds": 3}));
    let path = format!("/v1/access-requests/{}/reviews", asked["id"].as_str().unwrap());
    let body = Some(json!({"decision": "approve"}));
    let house = &office.payments.house;
    let done = house.api("POST", &path, Some(&lea), body).json();
    office.slack.until("limited", |_| true);
    let grant = done["grants"][0].as_str().unwrap();
    let back = office.payments.house.api(
        "POST",
        &format!("/v1/grants/{grant}/give-back"),
        Some(&ben),
        None,
    );
    assert!(back.status < 300, "{}", back.text());
    let last = office.becomes(&message, "Access has ended: payments");
    assert!(text(&last).contains("was given back"), "{last:#}");
    let limited = office.slack.count(|got| got["what"] == "limited");
    assert_eq!(limited, 1, "it was told how long to wait");
    let between = |got: &Value| {
        got["what"] == "updated"
            && got["message"]["ts"] == message["ts"]
            && got["message"]["channel"] == message["channel"]
    };
    assert_eq!(office.slack.count(between), 1, "what came in between is not said any more");
}

#[test]
fn a_place_that_slack_refuses_is_on_record_and_holds_no_other_up() {
    let rule = r#"
@id("payments.notified")
@reviews("1") @max_duration("12m") @notify("slack:#archived, slack:@ULEO00000")
permit (principal is User in Group::"engineering", action == Action::"payments.getRefund", resource in Service::"payments")
when { context has grant };
"#;
    let mut office = Office::furnished(Mode::Http, super::BY_CHAT, "email: verified", |plan| {
        plan.policy("notified.cedar", rule)
    });
    let ben = office.token(&ben());
    let body = json!({"queries": [{"operation": "payments.getRefund"}], "reason": "to one person"});
    let asked = office.payments.house.api("POST", "/v1/access-requests", Some(&ben), Some(body));
    assert!(asked.status < 300, "{}", asked.text());
    let asked = asked.json();
    office.payments.event("notice_failed", |event| {
        event["detail"].as_str().unwrap().starts_with("slack:#archived: Slack says `")
    });
    let page = about(&asked);
    office
        .slack
        .until("posted", |got| got["place"] == "ULEO00000" && got.to_string().contains(&page));
    let in_general = office.slack.count(|got| got["place"] == "#payments");
    assert_eq!(in_general, 0, "policy named another place");
}

#[test]
fn a_socket_that_broke_is_opened_again_and_the_next_press_counts() {
    let mut office = Office::open(Mode::Socket);
    office.slack.order(json!({"do": "down", "down": true}));
    office.slack.order(json!({"do": "down", "down": false}));
    office.slack.until("connected", |_| true);
    office.token(&lea());
    let ben = office.token(&ben());
    let asked = office.ask(&ben, "over a new connection");
    let message = office.in_channel(&asked);
    office.press("lea", &message, "approve", json!({}));
    office.becomes(&message, "Access is granted: payments");
}

//! An hour without Slack, many who ask at once, and emergencies: nothing is lost, and nobody is flooded.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{BY_CHAT, Mode, Office, actions, text};
use crate::{
    browser::Browser,
    mesh::eventually,
    payments::{ben, lea, leo},
    people::Person,
};

/// The id of the access request that a message is about.
fn about(message: &Value) -> String {
    let text = message.to_string();
    let (_, rest) = text.split_once("/requests/").unwrap();
    rest.split(['"', '\\', '?']).next().unwrap().to_owned()
}

/// How often each access request was posted to the channel.
fn posted(office: &Office) -> BTreeMap<String, usize> {
    let mut posted = BTreeMap::new();
    for got in &office.slack.all {
        if got["what"] == "posted" && got["place"] == "#payments" {
            *posted.entry(about(&got["message"])).or_default() += 1;
        }
    }
    posted
}

fn id(request: &Value) -> String {
    request["id"].as_str().unwrap().to_owned()
}

fn review(office: &Office, lea: &str, request: &Value, body: Value) -> Value {
    let path = format!("/v1/access-requests/{}/reviews", id(request));
    let done = office.payments.house.api("POST", &path, Some(lea), Some(body));
    assert!(done.status < 300, "{}", done.text());
    done.json()
}

/// Sixteen people ask, some are answered, and the process crashes in between: what is open now, and what is over.
fn meanwhile(office: &mut Office, lea: &str) -> (Vec<Value>, Vec<Value>) {
    let (mut open, mut over) = (Vec::new(), Vec::new());
    for n in 0..16 {
        let token = office.token(&Person::new(&format!("eng-{n}"), &["engineering"]));
        let asked = office.ask(&token, "while Slack is away");
        match n % 4 {
            // Still waits; is granted, and open; is granted and given back; is declined.
            0 => open.push(asked),
            1 => {
                review(office, lea, &asked, json!({"decision": "approve"}));
                open.push(asked);
            }
            2 => {
                let done = review(office, lea, &asked, json!({"decision": "approve"}));
                let path = format!("/v1/grants/{}/give-back", done["grants"][0].as_str().unwrap());
                assert!(office.payments.house.api("POST", &path, Some(&token), None).status < 300);
                over.push(asked);
            }
            _ => {
                review(office, lea, &asked, json!({"decision": "decline", "note": "not now"}));
                over.push(asked);
            }
        }
        if n == 8 {
            office.payments.house.kill();
            office.payments.house.restart();
        }
    }
    (open, over)
}

#[test]
fn an_hour_without_slack_loses_nothing_that_is_open_and_floods_nobody() {
    let mut office = Office::furnished(Mode::Http, BY_CHAT, "email: verified", |plan| {
        plan.setting("access_requests: {expire_after: 2h}").file("faketime", "+0")
    });
    let lea = office.token(&lea());
    let seen = office.ask(&office.token(&ben()), "seen before it went");
    let message = office.in_channel(&seen);
    office.slack.order(json!({"do": "down", "down": true}));
    let (open, over) = meanwhile(&mut office, &lea);
    review(&office, &lea, &seen, json!({"decision": "approve"}));
    office.payments.house.set_clock("+5m");
    office.slack.order(json!({"do": "down", "down": false}));
    // What was there before says how things are now, in one change.
    office.becomes(&message, "Access is granted: payments");
    let wanted: BTreeMap<String, usize> = open.iter().map(|one| (id(one), 1)).collect();
    for request in &open {
        let message = office.in_channel(request);
        let title = message["blocks"][0]["text"]["text"].as_str().unwrap();
        let now = office.get(&lea, request);
        let expected =
            if now["state"] == "pending" { "Access request" } else { "Access is granted" };
        assert_eq!(title, format!("{expected}: payments"));
    }
    // A last one behind all others: whatever was to come before it has come.
    let last = office.ask(&office.token(&Person::new("mia", &["engineering"])), "the last");
    office.in_channel(&last);
    let mut all = posted(&office);
    all.remove(&id(&seen));
    all.remove(&id(&last));
    assert_eq!(all, wanted, "each once, and nothing of what is over: {over:#?}");
    let throttled = office.slack.count(|got| got["what"] == "throttled");
    assert_eq!(throttled, 0, "no faster than Slack takes it");
    let updates = office.slack.count(|got| {
        got["what"] == "updated"
            && got["message"]["channel"] == message["channel"]
            && got["message"]["ts"] == message["ts"]
    });
    assert_eq!(updates, 1, "what came in between is not said any more");
    // What came and went is on record all the same.
    for request in over {
        office.payments.event("access_requested", |event| event["access_request"] == request["id"]);
    }
}

#[test]
fn e36_fifty_identical_requests_are_one_message_and_many_different_ones_are_limited() {
    let mut office = Office::open(Mode::Http);
    office.token(&lea());
    let token = office.token(&ben());
    let ask = |office: &Office, operation: &str, n: usize| {
        let body = json!({"queries": [{"operation": operation}], "reason": format!("please, {n}")});
        office.payments.house.api("POST", "/v1/access-requests", Some(&token), Some(body))
    };
    let first = ask(&office, "payments.events", 0);
    assert_eq!(first.status, 201, "{}", first.text());
    let first = first.json();
    let message = office.in_channel(&first);
    for n in 1..50 {
        let again = ask(&office, "payments.events", n);
        assert!(again.status < 300, "{}", again.text());
        assert_eq!(again.json()["id"], first["id"], "the same, joined");
    }
    // By a command of the chat it is the same one, too.
    office.slack.order(json!({"do": "type", "by": "ben", "text": "payments events 15m please"}));
    office.slack.until("answered", |got| got["to"] == "ben");
    office.press("lea", &message, "decline", json!({"note": "ask me"}));
    office.becomes(&message, "Declined: payments");
    assert_eq!(posted(&office), [(id(&first), 1)].into());
    let to_lea = office.slack.count(|got| got["what"] == "posted" && got["place"] == "ULEA00000");
    assert_eq!(to_lea, 1, "and one direct message");
    // Asked, declined and asked again: that is limited.
    let mut limited = None;
    for n in 0..50 {
        let asked = ask(&office, "payments.events", n);
        if asked.status == 429 {
            limited = Some(asked);
            break;
        }
        let path = format!("/v1/access-requests/{}/withdraw", asked.json()["id"].as_str().unwrap());
        let gone = office.payments.house.api("POST", &path, Some(&token), None);
        assert!(gone.status < 300, "{}", gone.text());
    }
    let limited = limited.expect("it is limited");
    assert!(limited.header("retry-after").is_some(), "{}", limited.text());
}

const EMERGENCIES: &str = r#"
@id("payments.emergency") @emergency("true") @max_duration("5m")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant && context.grant.kind == "emergency" };
"#;

#[test]
fn e34_an_emergency_is_announced_in_the_channel_and_its_review_is_one_link_away() {
    let mut office = Office::furnished(Mode::Http, BY_CHAT, "email: verified", |plan| {
        plan.policy("emergency.cedar", EMERGENCIES)
    });
    office.token(&leo());
    let (lea_token, ben) = (office.token(&lea()), office.token(&ben()));
    let body = json!({"queries": [{"operation": "payments.*"}], "reason": "payouts are stuck"});
    let opened = office.payments.house.api("POST", "/v1/access-requests", Some(&ben), Some(body));
    assert_eq!(opened.status, 201, "{}", opened.text());
    let opened = opened.json();
    let message = office.in_channel(&opened);
    let said = text(&message);
    assert_eq!(message["blocks"][0]["text"]["text"], "Emergency: payments");
    for part in ["ben (corp:ben)", "payouts are stuck", "nobody has reviewed this emergency yet"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(actions(&message), [""; 0], "it is never reviewed by chat");
    for who in ["ULEA00000", "ULEO00000"] {
        let direct = office.slack.until("posted", |got| got["place"] == who)["message"].clone();
        assert_eq!(about(&direct), id(&opened));
    }
    // The link leads to where it is reviewed, for whoever signs in.
    let house = &office.payments.house;
    house.people.browsers().seat(&lea());
    let page = format!("http://{}/requests/{}", house.control, about(&message));
    let shown = Browser::new(house).open(&page);
    assert_eq!(shown.status, 200, "{}", shown.text());
    for part in ["payouts are stuck", "name=\"decision\""] {
        assert!(shown.text().contains(part), "{part}: {}", shown.text());
    }
    let path = format!("/v1/access-requests/{}/reviews", id(&opened));
    let body = Some(json!({"decision": "decline", "note": "this was no emergency"}));
    let reviewed = office.payments.house.api("POST", &path, Some(&lea_token), body);
    assert_eq!(reviewed.status, 201, "{}", reviewed.text());
    let last = office.becomes(&message, "Access has ended: payments");
    let said = text(&last);
    assert!(said.contains("declined by lea") && said.contains("this was no emergency"), "{said}");
    assert!(!said.contains("nobody has reviewed"), "{said}");
}

#[test]
fn e34_an_emergency_while_slack_is_away_is_announced_when_it_is_back_though_all_is_over() {
    let mut office = Office::furnished(Mode::Http, BY_CHAT, "email: verified", |plan| {
        plan.policy("emergency.cedar", EMERGENCIES)
    });
    let (lea, ben) = (office.token(&lea()), office.token(&ben()));
    office.slack.order(json!({"do": "down", "down": true}));
    let body = json!({"queries": [{"operation": "payments.*"}], "reason": "payouts are stuck"});
    let opened =
        office.payments.house.api("POST", "/v1/access-requests", Some(&ben), Some(body)).json();
    let path = format!("/v1/access-requests/{}/reviews", id(&opened));
    let body = Some(json!({"decision": "decline", "note": "no"}));
    assert_eq!(office.payments.house.api("POST", &path, Some(&lea), body).status, 201);
    eventually("its grant has ended", || {
        let grant = opened["grants"][0].as_str().unwrap();
        let shown =
            office.payments.house.api("GET", &format!("/v1/grants/{grant}"), Some(&ben), None);
        shown.json()["state"] == "ended"
    });
    office.payments.house.kill();
    office.payments.house.restart();
    office.slack.order(json!({"do": "down", "down": false}));
    let message = office.in_channel(&opened);
    assert_eq!(message["blocks"][0]["text"]["text"], "Access has ended: payments");
    assert!(text(&message).contains("declined by lea"), "{}", text(&message));
}

//! What Slack refuses in the end waits for somebody, as what others did not take does, and is sent again as things are by then.

use serde_json::{Value, json};

use super::{BY_CHAT, Mode, Office, text};
use crate::{
    house::Plan,
    mesh::eventually,
    outgoing::ADMINS,
    payments::{ben, lea},
    people::Person,
};

fn furnished(furnish: impl FnOnce(Plan) -> Plan) -> Office {
    Office::furnished(Mode::Http, BY_CHAT, "email: verified", |plan| {
        furnish(plan.policy("admins.cedar", ADMINS))
    })
}

/// Somebody who may see the list and send again.
fn root(office: &Office) -> String {
    let root = office.token(&Person::new("root", &["admins", "auditors"]));
    office.payments.house.profile("root", &root);
    root
}

fn listed(office: &Office, root: &str) -> Vec<Value> {
    let all = office.payments.house.api("GET", "/v1/deliveries", Some(root), None).json();
    all["deliveries"].as_array().unwrap().clone()
}

/// The only one of this receiver on the list, once it is there.
fn one_of(office: &Office, root: &str, receiver: &str) -> Value {
    let of_it = || {
        let mut all = listed(office, root);
        all.retain(|one| one["receiver"] == receiver);
        all
    };
    eventually("it is set aside", || !of_it().is_empty());
    let [one] = of_it().try_into().unwrap();
    one
}

fn redeliver(office: &Office, root: &str, one: &Value) -> u16 {
    let path = format!("/v1/deliveries/{}/redeliver", one["id"].as_str().unwrap());
    office.payments.house.api("POST", &path, Some(root), None).status
}

fn failures(office: &Office) -> usize {
    let failed = |event: &&Value| {
        let detail = event["detail"].as_str().unwrap_or_default();
        event["type"] == "notice_failed" && detail.starts_with("slack:#payments")
    };
    office.payments.record(|_| true).iter().filter(failed).count()
}

#[test]
fn what_slack_refuses_for_good_is_set_aside_and_posted_when_it_is_sent_again() {
    let mut office = furnished(|plan| plan);
    let archive =
        |archived: bool| json!({"do": "archive", "channel": "#payments", "archived": archived});
    office.slack.order(archive(true));
    // Who could review and has no account there is on record, and nothing that anybody could send again.
    office.token(&Person::new("zoe", &["leads"]));
    let token = office.token(&ben());
    let asked = office.ask(&token, "into an archived channel");
    let root_token = root(&office);
    let one = one_of(&office, &root_token, "slack:#payments");
    assert_eq!((&one["kind"], &one["about"]), (&json!("notice"), &asked["id"]), "{one:#}");
    assert_eq!(one["why"], "Slack says `is_archived`");
    office.payments.event("notice_failed", |event| {
        event["detail"].as_str().unwrap().starts_with("slack:@corp:zoe: ")
    });
    assert_eq!(listed(&office, &root_token).len(), 1);
    // It outlives the process, and Slack may refuse it again.
    office.payments.house.kill();
    office.payments.house.restart();
    let root_token = root(&office);
    let before = failures(&office);
    assert_eq!(redeliver(&office, &root_token, &one), 202);
    eventually("it is refused again", || failures(&office) > before);
    let one = one_of(&office, &root_token, "slack:#payments");
    let auditor = office.payments.auditor();
    assert_eq!(redeliver(&office, &auditor, &one), 403);
    office.slack.order(archive(false));
    let (code, said) = office.payments.house.says("root", &["deliveries", "redeliver", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("0 arrived, 1 on its way again"), "{said}");
    let message = office.in_channel(&asked);
    office.payments.event("delivery_redelivered", |event| {
        event["principal"]["id"] == "corp:root" && event["access_request"] == asked["id"]
    });
    assert!(listed(&office, &root_token).is_empty());
    // It is a message like any other from now on.
    office.token(&lea());
    office.press("lea", &message, "approve", json!({}));
    office.becomes(&message, "Access is granted: payments");
}

#[test]
fn a_message_that_cannot_be_changed_any_more_is_posted_anew_and_says_how_things_are() {
    let mut office = furnished(|plan| plan);
    let (lea, token) = (office.token(&lea()), office.token(&ben()));
    let asked = office.ask(&token, "its message is fixed");
    let first = office.in_channel(&asked);
    office.slack.until("posted", |got| got["place"] == "ULEA00000");
    for code in ["cant_update_message", "is_inactive"] {
        office.slack.order(
            json!({"do": "error", "method": "chat.update", "code": code, "of": first["channel"]}),
        );
        let request = office.get(&token, &asked);
        if request["state"] == "pending" {
            let path = format!("/v1/access-requests/{}/reviews", asked["id"].as_str().unwrap());
            let body = Some(json!({"decision": "approve"}));
            let done = office.payments.house.api("POST", &path, Some(&lea), body);
            assert!(done.status < 300, "{}", done.text());
        } else {
            let grant = request["grants"][0].as_str().unwrap();
            let path = format!("/v1/grants/{grant}/give-back");
            let back = office.payments.house.api("POST", &path, Some(&token), None);
            assert!(back.status < 300, "{}", back.text());
        }
        let root = root(&office);
        let one = one_of(&office, &root, "slack:#payments");
        assert_eq!(one["why"], format!("Slack says `{code}`"));
        assert_eq!(redeliver(&office, &root, &one), 202);
        if code == "cant_update_message" {
            let anew = office.in_channel(&asked);
            assert_ne!(anew["ts"], first["ts"]);
            assert!(text(&anew).contains("approved by lea"), "{}", text(&anew));
        } else {
            // What may be changed again is changed where it is.
            let last = office.slack.until("updated", |got| {
                got["message"]["channel"] == first["channel"]
                    && got["message"]["blocks"][0]["text"]["text"] == "Access has ended: payments"
            });
            assert_ne!(last["message"]["ts"], first["ts"], "the second one");
        }
    }
}

#[test]
fn what_waited_until_nobody_answered_is_set_aside_and_can_still_be_told() {
    let mut office = furnished(|plan| plan.setting("access_requests: {expire_after: 2s}"));
    office.slack.order(json!({"do": "down", "down": true}));
    let token = office.token(&ben());
    let asked = office.ask(&token, "while Slack is away");
    office.payments.event("notice_failed", |event| {
        event["detail"].as_str().unwrap().contains("#payments: it did not answer as long as")
    });
    let root = root(&office);
    let one = one_of(&office, &root, "slack:#payments");
    office.slack.order(json!({"do": "down", "down": false}));
    assert_eq!(redeliver(&office, &root, &one), 202);
    let message = office.in_channel(&asked);
    assert_eq!(message["blocks"][0]["text"]["text"], "Nobody answered: payments");
    assert!(listed(&office, &root).iter().all(|one| one["receiver"] != "slack:#payments"));
}

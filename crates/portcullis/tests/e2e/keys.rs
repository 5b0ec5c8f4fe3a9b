//! `Idempotency-Key`: what is sent twice under one key is done once, and a call that cannot promise
//! that refuses the key.

use serde_json::{Value, json};

use crate::{
    payments::{Payments, Visitor, ana, ben, grant, lea},
    wire::{Response, exchange},
};

fn post(payments: &Payments, who: &Visitor<'_>, path: &str, key: &str, body: &Value) -> Response {
    let (token, body) = (&who.control, body.to_string());
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: control.example.com\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(payments.house.control, head)
}

/// How many of `name` the caller has.
fn count(who: &Visitor<'_>, path: &str, name: &str) -> usize {
    who.call("GET", path, None).json()[name].as_array().unwrap().len()
}

/// Sends the same eight times at once, then again; all get one answer.
fn once(payments: &Payments, who: &Visitor<'_>, path: &str, key: &str, body: &Value) -> Value {
    let answers = std::thread::scope(|scope| {
        let send = || post(payments, who, path, key, body);
        let racing: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        racing.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let first = answers[0].json();
    for answer in answers.iter().chain([&post(payments, who, path, key, body)]) {
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.json()["id"], first["id"]);
    }
    first
}

#[test]
fn what_is_asked_twice_under_one_key_is_asked_once() {
    let payments = Payments::open();
    let (ana, ben, lea) = (payments.enter(&ana()), payments.enter(&ben()), payments.enter(&lea()));
    let path = "/v1/access-requests";
    // One that waits for a reviewer, and one that is granted at once.
    let waits = json!({"queries": [{"operation": "payments.events"}], "reason": "month's end"});
    let asked = once(&payments, &ben, path, "k-1", &waits);
    assert_eq!(count(&ben, "/v1/access-requests?filter=mine", "access_requests"), 1);
    let brief = json!({"queries": [{"operation": "payments.createRefund"}], "rule": "payments.refund.oncall",
        "reason": "stuck", "duration": "5m"});
    let granted = grant(&once(&payments, &ana, path, "k-1", &brief));
    assert_eq!(count(&ana, "/v1/grants", "grants"), 1, "a key is its caller's own");

    // Something else under the same key is a conflict, and nothing happens.
    let other =
        json!({"queries": [{"operation": "payments.createPayout"}], "reason": "month's end"});
    let refused = post(&payments, &ben, path, "k-1", &other);
    assert!(
        refused.status == 409 && refused.text().contains("take a new one"),
        "{}",
        refused.text()
    );
    let longer = json!({"queries": [{"operation": "payments.events"}], "reason": "month's end", "duration": "1m"});
    assert_eq!(post(&payments, &ben, path, "k-1", &longer).status, 409);
    assert_eq!(count(&ben, "/v1/access-requests?filter=mine", "access_requests"), 1);
    // The answer is what was asked, as it is now.
    assert_eq!(lea.approve(&asked).status, 201);
    let again = post(&payments, &ben, path, "k-1", &waits).json();
    assert_eq!((&again["id"], &again["state"]), (&asked["id"], &json!("approved")));
    assert_eq!(count(&ben, "/v1/grants", "grants"), 1);

    // Extending is asking.
    let path = format!("/v1/grants/{granted}/extend");
    let more = json!({"reason": "not done yet", "duration": "20m"});
    once(&payments, &ana, &path, "k-2", &more);
    let refused = post(&payments, &ana, &path, "k-1", &more);
    assert_eq!(refused.status, 409, "{}", refused.text());
    let asked = count(&ana, "/v1/access-requests?filter=mine", "access_requests");
    assert_eq!((asked, count(&ana, "/v1/grants", "grants")), (2, 1));
}

#[test]
fn a_call_that_takes_no_key_refuses_it_and_does_nothing() {
    let payments = Payments::open();
    let lea = payments.enter(&lea());
    let document = payments.house.api("GET", "/v1/openapi.json", None, None).json();
    let takes = |post: &Value| {
        let mut params = post["parameters"].as_array().into_iter().flatten();
        params.any(|param| param["name"] == "Idempotency-Key")
    };
    let (mut taking, mut refusing) = (Vec::new(), 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(post_of) = item.get("post") else { continue };
        if takes(post_of) {
            taking.push(path.as_str());
            continue;
        }
        let path = path.replace("{id}", "01KB000000AAAAAAAAAAABCDEF");
        let answer = post(&payments, &lea, &path, "k-1", &json!({"title": "x"}));
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(
            answer.text().contains("Idempotency-Key: this call takes none"),
            "{path}: {}",
            answer.text()
        );
        refusing += 1;
    }
    assert_eq!(taking, ["/v1/access-requests", "/v1/grants/{id}/extend"]);
    assert!(refusing > 15, "{refusing}");
    assert_eq!(lea.call("GET", "/v1/whoami", None).status, 200, "not even signed out");
}

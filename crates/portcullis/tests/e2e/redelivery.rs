//! What was set aside, sent again: one by one or all together, in order, and never past what a receiver says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    outgoing::ADMINS,
    payments::{Payments, ben, id},
    people::Person,
    sink_peer::{SECRET, SinkPeer},
    upstream::Upstream,
};

/// A house with two webhooks that refuse what they are told, until each has this much set aside.
fn refused(count: usize) -> (Payments, [SinkPeer; 2]) {
    let mut peers = [SinkPeer::http(), SinkPeer::http()];
    let hook = |name: &str, peer: &SinkPeer| {
        format!(
            "{name}: {{url: \"http://127.0.0.1:{}/in\", secret: {{file: key}}, events: [access_requested]}}",
            peer.port
        )
    };
    let setting = format!(
        "connectors: {{webhooks: {{{}, {}}}}}",
        hook("tickets", &peers[0]),
        hook("audits", &peers[1])
    );
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.setting(&setting).file("key", SECRET).policy("admins.cedar", ADMINS)
    });
    for peer in &mut peers {
        peer.now("answer 400");
    }
    for n in 0..count {
        let visitor = payments.enter(&Person::new(&format!("eng-{n}"), &["engineering"]));
        let body = json!({"queries": [{"operation": "payments.events"}], "reason": "x"});
        assert_eq!(visitor.call("POST", "/v1/access-requests", Some(body)).status, 201);
    }
    let set_aside = |event: &&Value| event["type"] == "delivery_set_aside";
    payments.record(|events| events.iter().filter(set_aside).count() == 2 * count);
    payments.house.profile("root", &root(&payments));
    (payments, peers)
}

fn root(payments: &Payments) -> String {
    payments.house.sign_in(&Person::new("root", &["admins", "auditors"]))
}

/// What waits on the list of a receiver, oldest first.
fn waiting(payments: &Payments, receiver: &str) -> Vec<Value> {
    let all = payments.house.api("GET", "/v1/deliveries", Some(&root(payments)), None).json();
    let all = all["deliveries"].as_array().unwrap().iter().rev();
    all.filter(|one| one["receiver"] == receiver).cloned().collect()
}

fn messages(all: &[Value], member: &str) -> Vec<String> {
    all.iter().map(|one| one[member].as_str().unwrap().to_owned()).collect()
}

#[test]
fn all_of_one_receiver_or_of_all_are_sent_again_in_the_order_in_which_they_were_set_aside() {
    let (payments, [mut tickets, mut audits]) = refused(2);
    let before = waiting(&payments, "lifecycle tickets");
    assert_eq!(before.len(), 2);
    let again = |arguments: &[&str]| {
        let all = [&["deliveries", "redeliver"], arguments].concat();
        payments.house.says("root", &all)
    };
    // Whoever does not answer is not asked for the rest.
    tickets.now("answer 503");
    let asked = tickets.got.len();
    let (code, said) = again(&["--receiver", "lifecycle tickets"]);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("1 were not taken, and 1 behind them were not sent"), "{said}");
    tickets.next();
    tickets.now("answer 400");
    assert_eq!(tickets.got.len(), asked + 1, "{:#?}", tickets.got);
    // What is refused for good holds no other up.
    let (code, said) = again(&["--receiver", "lifecycle tickets"]);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("2 were not taken"), "{said}");
    tickets.now("answer 200");
    let (code, said) = again(&["--receiver", "lifecycle tickets"]);
    assert_eq!((code, said.contains("2 arrived")), (Some(0), true), "{said}");
    while tickets.taken().len() < 2 {
        tickets.next();
    }
    let taken: Vec<Value> =
        tickets.got.iter().filter(|got| got["answer"] == 200).cloned().collect();
    assert!(taken.iter().all(|got| got["verified"] == true), "{taken:#?}");
    assert_eq!(messages(&taken, "id"), messages(&before, "message"), "in order, each once");
    // Of the other one nothing was asked yet.
    assert_eq!(waiting(&payments, "lifecycle audits").len(), 2);
    audits.now("answer 200");
    let auditor = payments.auditor();
    let path = "/v1/deliveries/redeliver";
    assert_eq!(payments.house.api("POST", path, Some(&auditor), Some(json!({}))).status, 403);
    let (code, said) = again(&["--all"]);
    assert_eq!((code, said.contains("2 arrived")), (Some(0), true), "{said}");
    let redelivered = |event: &&Value| event["type"] == "delivery_redelivered";
    let events = payments.record(|events| events.iter().filter(redelivered).count() == 4);
    assert!(events.iter().filter(redelivered).all(|event| event["principal"]["id"] == "corp:root"));
    let none = payments.house.api("GET", "/v1/deliveries", Some(&root(&payments)), None).json();
    assert_eq!(none["deliveries"], json!([]));
    let (code, said) = again(&["--all"]);
    assert_eq!((code, said.contains("0 arrived")), (Some(0), true), "{said}");
    for wrong in [&[][..], &["--all", "--receiver", "x"], &["01", "--all"]] {
        assert_eq!(again(wrong).0, Some(2), "{wrong:?}");
    }
}

#[test]
fn who_wants_to_be_left_alone_is_whoever_sends_something() {
    let (payments, [mut tickets, mut audits]) = refused(1);
    audits.kill();
    let [one] = waiting(&payments, "lifecycle tickets").try_into().unwrap();
    let path = format!("/v1/deliveries/{}/redeliver", id(&one));
    let root = root(&payments);
    let again = || payments.house.api("POST", &path, Some(&root), None);
    tickets.now("rest 12");
    let throttled = again();
    assert_eq!(throttled.status, 503, "{}", throttled.text());
    tickets.next();
    let asked = tickets.got.len();
    tickets.now("answer 200");
    // Nobody gets past it: not whoever sends it again, nor a test, nor what happens meanwhile.
    let refused = again();
    assert_eq!(refused.status, 429, "{}", refused.text());
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    let test = payments.house.api("POST", "/v1/exports/tickets/test", Some(&root), None);
    assert!([404, 429].contains(&test.status), "{}", test.text());
    let ben = payments.enter(&ben());
    let body = json!({"queries": [{"operation": "payments.events"}], "reason": "meanwhile"});
    let begun = std::time::Instant::now();
    assert_eq!(ben.call("POST", "/v1/access-requests", Some(body)).status, 201);
    let came = tickets.next();
    assert_eq!(came["answer"], 200, "{came:#}");
    assert_eq!(tickets.got.len(), asked + 1, "and nothing came in between");
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(again().status, 204, "it takes messages again");
}

//! Channels of Microsoft Teams: what came of an access request is told in a card of its own, which names the first.

use serde_json::{Value, json};

use crate::{
    payments::{POLICIES, Payments, Visitor, ben, grant, id, lea},
    people::Person,
    sink_peer::SinkPeer,
    upstream::Upstream,
};

const EMERGENCIES: &str = r#"
@id("payments.emergency") @emergency("true") @max_duration("5m") @notify("teams:payments")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant && context.grant.kind == "emergency" };
@id("administrators")
permit (principal is User in Group::"admins", action == Action::"administer", resource);
"#;

fn open(peer: &SinkPeer) -> Payments {
    let url = format!("http://127.0.0.1:{}/workflows/1?sig=of-no-use-elsewhere", peer.port);
    let told = "@id(\"payments.events.reviewed\")\n@reviews(\"1\")";
    let policies = POLICIES.replace(told, &format!("{told} @notify(\"teams:payments\")"));
    assert_ne!(policies, POLICIES);
    Payments::furnished(Upstream::start(), |plan| {
        plan.setting("connectors: {teams: {payments: {url: {file: teams}}}}")
            .policy("payments.cedar", &policies)
            .policy("emergencies.cedar", EMERGENCIES)
            .file("teams", &url)
    })
}

fn double() -> SinkPeer {
    SinkPeer::of("teams_double.py", &["workflow", "0"])
}

fn asks(visitor: &Visitor<'_>, reason: &str) -> Value {
    let body = json!({"queries": [{"operation": "payments.events"}], "reason": reason});
    let asked = visitor.call("POST", "/v1/access-requests", Some(body));
    assert_eq!(asked.status, 201, "{}", asked.text());
    asked.json()
}

/// The next card that Teams takes: its heading, and everything that people read below.
fn card(peer: &mut SinkPeer) -> (String, String) {
    let got = peer.until(|got| got["answer"] == 202);
    let content = &got["body"]["attachments"][0]["content"];
    let body = content["body"].as_array().unwrap();
    let lines = body.iter().filter_map(|block| block["inlines"].as_array());
    let lines = lines.map(|runs| runs.iter().map(|run| run["text"].as_str().unwrap()).collect());
    let heading = body[0]["text"].as_str().unwrap().to_owned();
    (heading, lines.collect::<Vec<String>>().join("\n"))
}

/// Cards that are in the channel; what was throttled came again.
fn taken(peer: &SinkPeer) -> usize {
    peer.got.iter().filter(|got| got["answer"] == 202).count()
}

#[test]
fn what_came_of_it_and_its_end_are_cards_that_name_the_first() {
    let mut peer = double();
    let mut payments = open(&peer);
    let (granted, asked, token) = {
        let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
        let asked = asks(&ben, "look at events");
        let (heading, said) = card(&mut peer);
        assert_eq!(heading, "Access request");
        assert!(said.contains(&format!("Access request: {}", id(&asked))), "{said}");
        let path = format!("/v1/access-requests/{}/reviews", id(&asked));
        let body = json!({"decision": "approve", "note": "<at>go</at> **on**", "duration": "5m"});
        assert_eq!(lea.call("POST", &path, Some(body)).status, 201);
        let (heading, said) = card(&mut peer);
        assert_eq!(heading, "Access is granted");
        for part in [
            "About: “Access request: ben asks for payments” of ",
            id(&asked),
            "approved by lea, ",
            ": <at>go</at> **on**",
            "payments.events: in force until ",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("Reviewers: "), "nobody has to do anything: {said}");
        let shown = ben.call("GET", &format!("/v1/access-requests/{}", id(&asked)), None).json();
        (grant(&shown), asked, ben.control.clone())
    };
    // What is to be told outlives the process.
    payments.house.kill();
    payments.house.restart();
    let path = format!("/v1/grants/{granted}/give-back");
    assert!(payments.house.api("POST", &path, Some(&token), None).status < 300);
    let (heading, said) = card(&mut peer);
    assert_eq!(heading, "Access has ended");
    assert!(said.contains(id(&asked)) && said.contains("was given back at "), "{said}");
    // The same of one that is declined: that is all there is to say.
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let asked = asks(&ben, "once more");
    assert_eq!(card(&mut peer).0, "Access request");
    assert_eq!(lea.decline(&asked, "not today").status, 201);
    let (heading, said) = card(&mut peer);
    assert_eq!(heading, "Access was declined");
    assert!(said.contains("declined by lea, ") && said.contains(": not today"), "{said}");
    let asked = asks(&ben, "and again");
    assert_eq!(card(&mut peer).0, "Access request");
    let path = format!("/v1/access-requests/{}/withdraw", id(&asked));
    assert!(ben.call("POST", &path, None).status < 300);
    assert_eq!(card(&mut peer).0, "The access request was withdrawn");
    let delivered =
        |event: &&Value| event["type"] == "notice_delivered" && event["detail"] == "teams:payments";
    payments.record(|events| events.iter().filter(delivered).count() == 7);
    assert_eq!(taken(&peer), 7, "each once");
}

#[test]
fn who_was_asked_and_then_away_is_told_once_how_it_ended_and_who_was_not_asked_nothing() {
    let mut peer = double();
    let mut payments = open(&peer);
    let (seen, unseen) = {
        let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
        let mia = payments.enter(&Person::new("mia", &["engineering"]));
        let seen = asks(&ben, "seen before it went");
        assert_eq!(card(&mut peer).0, "Access request");
        payments.event("notice_delivered", |event| event["access_request"] == seen["id"]);
        peer.kill();
        let unseen = asks(&mia, "over before it is back");
        for (asked, by) in [(&seen, &ben), (&unseen, &mia)] {
            let approved = lea.approve(asked).json();
            let path = format!("/v1/grants/{}/give-back", grant(&approved));
            assert!(by.call("POST", &path, None).status < 300);
        }
        (seen, unseen)
    };
    payments.house.kill();
    payments.house.restart();
    peer.again();
    let before = taken(&peer);
    let (heading, said) = card(&mut peer);
    assert_eq!(heading, "Access has ended");
    for part in [id(&seen), "approved by lea, ", "was given back at "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // One more behind all others.
    let ben = payments.enter(&ben());
    let last = asks(&ben, "the last");
    assert!(card(&mut peer).1.contains(id(&last)));
    assert_eq!(taken(&peer), before + 2, "each state once, and nothing of {unseen:#}");
}

#[test]
fn an_emergency_is_told_at_once_and_its_end_and_its_review_after_it() {
    let mut peer = double();
    let payments = open(&peer);
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let body = json!({"queries": [{"operation": "payments.*"}], "reason": "payouts are stuck"});
    let opened = ben.call("POST", "/v1/access-requests", Some(body)).json();
    let (heading, said) = card(&mut peer);
    assert_eq!(heading, "Emergency access was taken");
    assert!(said.contains("payouts are stuck") && said.contains("one, afterwards"), "{said}");
    let path = format!("/v1/grants/{}/give-back", grant(&opened));
    assert!(ben.call("POST", &path, None).status < 300);
    let (heading, said) = card(&mut peer);
    assert_eq!(heading, "Emergency access has ended");
    assert!(said.contains("nobody has reviewed this emergency yet"), "{said}");
    assert_eq!(lea.approve(&opened).status, 201);
    let (heading, said) = card(&mut peer);
    assert_eq!(heading, "Emergency access has ended and was reviewed");
    assert!(said.contains(
        "About: “Emergency access was taken: ben took emergency access to payments” of "
    ));
    assert!(said.contains("approved by lea, ") && said.contains(id(&opened)), "{said}");
}

#[test]
fn an_outcome_that_teams_refuses_is_set_aside_and_says_how_things_are_when_it_is_sent_again() {
    let mut peer = double();
    let payments = open(&peer);
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let asked = asks(&ben, "look at events");
    assert_eq!(card(&mut peer).0, "Access request");
    payments.event("notice_delivered", |event| event["access_request"] == asked["id"]);
    peer.now("answer 400");
    assert_eq!(lea.decline(&asked, "not today").status, 201);
    peer.until(|got| got["answer"] == 400);
    payments.event("notice_failed", |event| {
        event["detail"].as_str().unwrap().starts_with("teams:payments: what came of it: ")
    });
    peer.now("answer 202");
    redeliver(&payments);
    let (heading, said) = card(&mut peer);
    assert_eq!(heading, "Access was declined");
    assert!(said.contains(": not today"), "{said}");
}

/// Sends again the one card that was set aside.
fn redeliver(payments: &Payments) {
    let root = payments.enter(&Person::new("root", &["admins", "auditors"]));
    payments.house.profile("root", &root.control);
    let all = ["deliveries", "redeliver", "--receiver", "teams:payments"];
    let (code, said) = payments.house.says("root", &all);
    assert_eq!((code, said.contains("1 arrived")), (Some(0), true), "{said}");
}

#[test]
fn a_card_that_was_sent_again_is_followed_by_what_came_of_it() {
    let mut peer = double();
    let payments = open(&peer);
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    peer.now("answer 400");
    let asked = asks(&ben, "look at events");
    peer.until(|got| got["answer"] == 400);
    payments.event("notice_failed", |event| event["access_request"] == asked["id"]);
    peer.now("answer 202");
    redeliver(&payments);
    assert_eq!(card(&mut peer).0, "Access request");
    assert_eq!(lea.approve(&asked).status, 201);
    let (heading, said) = card(&mut peer);
    assert_eq!(heading, "Access is granted");
    assert!(said.contains(id(&asked)), "{said}");
}

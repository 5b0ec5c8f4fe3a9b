//! Other systems are told: channels, mailboxes and webhooks, at least once, whatever happens to them in between.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    clocks,
    mesh::eventually,
    payments::{POLICIES, Payments, Visitor, ana, ben, id, lea},
    people::Person,
    pki::Pki,
    sink_peer::{SECRET, SinkPeer},
    upstream::Upstream,
};

pub(crate) const ADMINS: &str = r#"
@id("administrators")
permit (principal is User in Group::"admins", action == Action::"administer", resource);
"#;
const PASSWORD: &str = "mail-pass-canary";

/// The same policies, and `targets` are told of what waits for one review.
fn notifying(targets: &str) -> String {
    let told = format!("@reviews(\"1\") @notify(\"{targets}\") @max_duration(\"15m\")");
    let all = POLICIES.replace("@reviews(\"1\") @max_duration(\"15m\")", &told);
    assert!(all.contains(targets));
    all
}

fn tells(setting: &str, targets: &str, more: &[(&str, &str)]) -> Payments {
    Payments::furnished(Upstream::start(), |plan| {
        let plan = plan.setting(setting).policy("payments.cedar", &notifying(targets));
        let plan = plan.policy("admins.cedar", ADMINS);
        more.iter().fold(plan, |plan, (name, text)| plan.file(name, text))
    })
}

/// Asks for access that somebody is told of.
fn asks(visitor: &Visitor<'_>, reason: &str) -> Value {
    let refused = visitor.refund(100);
    assert_eq!(refused.status, 403);
    let asked =
        visitor.ask(&refused, json!({"reason": reason, "rule": "payments.refund.reviewed"}));
    assert_eq!(asked.status, 201, "{}", asked.text());
    asked.json()
}

/// Everything that people read in a card.
fn runs(card: &Value) -> String {
    let body = card["attachments"][0]["content"]["body"].as_array().unwrap();
    let runs = body.iter().flat_map(|block| block["inlines"].as_array().into_iter().flatten());
    runs.map(|run| run["text"].as_str().unwrap()).collect()
}

fn teams(peer: &SinkPeer) -> (&'static str, String) {
    let url = format!(
        "http://127.0.0.1:{}/workflows/1/triggers/manual/paths/invoke?sig=url-canary",
        peer.port
    );
    ("connectors: {teams: {payments: {url: {file: teams}}}}", url)
}

const MISLEADING: &str =
    "[ok](https://evil.example) **now** <at>all</at> <@U1> {{DATE(1)}} \u{200b}hidden";

#[test]
fn e15_a_card_in_teams_says_what_was_written_and_leads_to_the_review() {
    let mut peer = SinkPeer::of("teams_double.py", &["workflow", "0"]);
    let (setting, url) = teams(&peer);
    let payments = tells(setting, "teams:payments", &[("teams", &url)]);
    let (ben, _lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let asked = asks(&ben, MISLEADING);
    let got = peer.next();
    assert_eq!((&got["answer"], &got["wrong"]), (&202.into(), &Value::Null), "{got:#}");
    let content = &got["body"]["attachments"][0]["content"];
    let link = content["actions"][0]["url"].as_str().unwrap();
    assert!(link.ends_with(&format!("/requests/{}", id(&asked))), "{link}");
    let said = runs(&got["body"]);
    for word in
        ["ben", "corp:ben", "payments.createRefund", "payments.refund.reviewed", "lea", "sha256:"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(said.contains("⟨U+200B⟩hidden") && !said.contains("{{"), "{said}");
    assert!(!content.to_string().contains("msteams"), "nobody is mentioned");
    payments.event("notice_delivered", |event| event["detail"] == "teams:payments");
    // Posting to it again, or opening the page without signing in, changes nothing.
    let path = link.split_once("//").unwrap().1.split_once('/').unwrap().1;
    let opened = payments.house.api("GET", &format!("/{path}"), None, None);
    assert_ne!(opened.status, 200, "{}", opened.text());
    let waits = ben.call("GET", &format!("/v1/access-requests/{}", id(&asked)), None);
    assert_eq!(waits.json()["state"], "pending");
    let secrets =
        [payments.house.log(), payments.record(|_| true).iter().map(Value::to_string).collect()];
    for text in secrets {
        assert!(!text.contains("url-canary"), "the URL of a workflow is a secret");
    }
}

#[test]
fn a_channel_that_throttles_is_left_alone_as_long_as_it_says() {
    let mut peer = SinkPeer::of("teams_double.py", &["workflow", "0"]);
    let (setting, url) = teams(&peer);
    let payments = tells(setting, "teams:payments", &[("teams", &url)]);
    let ben = payments.enter(&ben());
    peer.now("rest 3");
    asks(&ben, "refunds stuck");
    let throttled = peer.next();
    let since = Instant::now();
    assert_eq!(throttled["answer"], 429);
    peer.now("answer 202");
    let taken = peer.next();
    assert_eq!(taken["answer"], 202, "{taken:#}");
    assert!(since.elapsed() > Duration::from_secs(2), "{:?}", since.elapsed());
    assert_eq!(peer.got.len(), 2, "and by nobody else in between");
}

#[test]
fn a_mail_is_signed_in_for_encrypted_and_says_the_same_in_both_parts() {
    let pki = Pki::new();
    let authority = pki.authority("ca");
    let stranger = pki.authority("stranger");
    let pair = pki.leaf("mail", &authority, "subjectAltName=DNS:localhost\n");
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let cases = [
        ("implicit", &authority, true),
        ("starttls", &authority, true),
        ("implicit", &stranger, false),
    ];
    for (kind, ca, is_known) in cases {
        let mut peer = SinkPeer::of(
            "smtp_double.py",
            &[kind, "0", &text(&pair.certificate), &text(&pair.key), "portcullis", PASSWORD],
        );
        let setting = format!(
            "connectors: {{email: {{smtp: \"localhost:{}\", tls: {kind}, from: portcullis@corp.example, username: portcullis, password: {{file: mail}}, ca: ca.pem}}}}",
            peer.port
        );
        let pem = ca.pem();
        let more = [("mail", PASSWORD), ("ca.pem", pem.as_str())];
        let payments = tells(&setting, "email:oncall@corp.example", &more);
        let ben = payments.enter(&ben());
        let asked = asks(&ben, "<b>now</b> refunds\u{200b} stuck");
        if !is_known {
            // Whom an unknown authority vouches for gets no mail, and no password.
            eventually("it is said", || payments.house.log().contains("somebody is not told yet"));
            assert!(peer.got.is_empty() && !payments.house.log().contains(PASSWORD));
            continue;
        }
        let mail = peer.next();
        assert_eq!(
            (&mail["tls"], &mail["authenticated"]),
            (&true.into(), &true.into()),
            "{mail:#}"
        );
        assert_eq!(mail["to"], json!(["oncall@corp.example"]));
        assert_eq!(mail["defects"], json!([]));
        let headers = &mail["headers"];
        assert_eq!(headers["auto-submitted"], "auto-generated");
        assert!(headers["references"].as_str().unwrap().contains(id(&asked)));
        let link = format!("/requests/{}", id(&asked));
        let (plain, html) = (mail["text"].as_str().unwrap(), mail["html"].as_str().unwrap());
        assert!(plain.contains(&link) && html.contains(&link), "{plain}\n{html}");
        assert!(plain.contains("<b>now</b> refunds⟨U+200B⟩ stuck"), "{plain}");
        assert!(html.contains("&lt;b&gt;now&lt;/b&gt;") && !html.contains("<b>"), "{html}");
        assert_eq!(html.matches("href=").count(), 1, "{html}");
        payments.event("notice_delivered", |event| event["detail"] == "email:oncall@corp.example");
    }
}

#[test]
fn a_mail_that_comes_again_is_known_by_its_id_and_what_is_refused_is_set_aside() {
    let pki = Pki::new();
    let authority = pki.authority("ca");
    let pair = pki.leaf("mail", &authority, "subjectAltName=DNS:localhost\n");
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let mut peer = SinkPeer::of(
        "smtp_double.py",
        &["implicit", "0", &text(&pair.certificate), &text(&pair.key), "portcullis", PASSWORD],
    );
    let setting = format!(
        "connectors: {{email: {{smtp: \"localhost:{}\", from: portcullis@corp.example, username: portcullis, password: {{file: mail}}, ca: ca.pem}}}}",
        peer.port
    );
    let pem = authority.pem();
    let more = [("mail", PASSWORD), ("ca.pem", pem.as_str())];
    let payments = tells(&setting, "email:oncall@corp.example", &more);
    let ben = payments.enter(&ben());
    peer.now("answer 451");
    asks(&ben, "refunds stuck");
    let greylisted = peer.next();
    assert_eq!(greylisted["answer"], 451);
    peer.now("answer 250");
    let taken = peer.until(|got| got["answer"] == 250);
    assert_eq!(taken["headers"]["message-id"], greylisted["headers"]["message-id"]);
    for name in taken["names"].as_array().unwrap() {
        assert_ne!(name, "bcc", "{taken:#}");
    }
    peer.now("answer 550");
    let ana = payments.enter(&ana());
    let refused = ana.refund(200);
    let asked = ana.ask(&refused, json!({"rule": "payments.refund.reviewed"}));
    assert_eq!(asked.status, 201, "{}", asked.text());
    peer.until(|got| got["answer"] == 550);
    payments.event("notice_failed", |event| event["detail"].as_str().unwrap().contains("550"));
    peer.now("answer 250");
    let root = payments.enter(&Person::new("root", &["admins", "auditors"]));
    let listed = root.call("GET", "/v1/deliveries", None).json();
    let one = &listed["deliveries"][0];
    assert_eq!(
        (&one["receiver"], &one["kind"]),
        (&json!("email:oncall@corp.example"), &json!("notice"))
    );
    let again = root.call("POST", &format!("/v1/deliveries/{}/redeliver", id(one)), None);
    assert_eq!(again.status, 204, "{}", again.text());
    let late =
        peer.until(|got| got["answer"] == 250 && got["text"].as_str().unwrap().contains("ana"));
    let message = late["headers"]["message-id"].as_str().unwrap();
    assert!(message.contains(one["message"].as_str().unwrap()));
}

fn hook(peer: &SinkPeer, more: &str) -> String {
    format!(
        "connectors: {{webhooks: {{tickets: {{url: \"http://127.0.0.1:{}/in\", secret: {{file: key}}{more}}}}}}}",
        peer.port
    )
}

/// What came of these types, in order, repeats left out.
fn told(peer: &SinkPeer) -> Vec<(String, String)> {
    let mut told: Vec<(String, String)> = Vec::new();
    for got in peer.got.iter().filter(|got| got["answer"] == 200) {
        let one = (
            got["id"].as_str().unwrap().to_owned(),
            got["body"]["type"].as_str().unwrap().to_owned(),
        );
        if !told.contains(&one) {
            told.push(one);
        }
    }
    told
}

#[test]
fn what_happens_to_an_access_request_is_told_in_order_and_signed() {
    for (format, prefix) in [("standard", ""), ("cloudevents", "portcullis.")] {
        let mut peer = SinkPeer::http();
        let setting = hook(&peer, &format!(", format: {format}"));
        let payments = tells(&setting, "webhook:tickets", &[("key", SECRET)]);
        let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
        let asked = asks(&ben, "refunds stuck");
        let approved = lea.approve(&asked).json();
        assert_eq!(approved["state"], "approved", "{approved:#}");
        let grant = approved["grants"][0].as_str().unwrap();
        let ended = ben.call("POST", &format!("/v1/grants/{grant}/give-back"), None);
        assert!(ended.status < 300, "{}", ended.text());
        peer.until(|got| got["body"]["type"] == format!("{prefix}grant.ended"));
        peer.until_any(|got| got["body"]["type"] == format!("{prefix}access_request.notice"));
        for got in &peer.got {
            assert_eq!(got["verified"], true, "{got:#}");
            if format == "cloudevents" {
                assert_eq!(
                    (&got["cloud"]["id"], &got["cloud"]["type"]),
                    (&got["id"], &got["body"]["type"]),
                    "{got:#}"
                );
                assert_eq!(got["cloud"]["data"], got["body"]["data"]);
                assert!(got["cloud"]["subject"].is_string(), "{got:#}");
            }
        }
        let kinds: Vec<String> = told(&peer).into_iter().map(|(_, kind)| kind).collect();
        let lifecycle: Vec<&str> = kinds
            .iter()
            .map(|kind| kind.strip_prefix(prefix).unwrap())
            .filter(|kind| !kind.ends_with("notice"))
            .collect();
        assert_eq!(
            lifecycle,
            [
                "access_request.requested",
                "access_request.reviewed",
                "access_request.ended",
                "grant.started",
                "grant.ended"
            ]
        );
    }
}

#[test]
fn what_a_receiver_refuses_is_set_aside_and_the_rest_goes_on() {
    let mut peer = SinkPeer::http();
    let mut payments =
        tells(&hook(&peer, ", events: [access_requested]"), "webhook:tickets", &[("key", SECRET)]);
    let (first, second) = {
        peer.now("answer 400");
        let ben = payments.enter(&ben());
        let first = asks(&ben, "the first");
        payments.event("delivery_set_aside", |event| {
            event["detail"].as_str().unwrap().contains("lifecycle tickets: access_requested")
        });
        peer.now("answer 200");
        let ana = payments.enter(&ana());
        let refused = ana.refund(100);
        let second = ana.ask(&refused, json!({"rule": "payments.refund.reviewed"})).json();
        (id(&first).to_owned(), id(&second).to_owned())
    };
    let came =
        peer.until(|got| got["answer"] == 200 && got["body"]["type"] == "access_request.requested");
    assert_eq!(came["body"]["data"]["access_request"], second.as_str());
    // It outlives the process.
    payments.house.kill();
    payments.house.restart();
    let root = payments.house.sign_in(&Person::new("root", &["admins", "auditors"]));
    payments.house.profile("root", &root);
    let (code, said) = payments.house.says("root", &["deliveries"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("lifecycle tickets") && said.contains("it answered 400"), "{said}");
    let all = payments.house.api("GET", "/v1/deliveries", Some(&root), None).json();
    let events = all["deliveries"].as_array().unwrap().iter().filter(|one| one["kind"] == "event");
    let events: Vec<&Value> = events.collect();
    assert_eq!(events.len(), 1, "{all:#}");
    let (one, message) = (id(events[0]), events[0]["message"].as_str().unwrap());
    let (_, shown) = payments.house.says("root", &["deliveries", "show", one]);
    assert!(shown.contains(&first), "{shown}");
    // Whoever may not, may not.
    let auditor = payments.auditor();
    let path = format!("/v1/deliveries/{one}/redeliver");
    assert_eq!(payments.house.api("POST", &path, Some(&auditor), None).status, 403);
    peer.now("answer 503");
    let (code, said) = payments.house.says("root", &["deliveries", "redeliver", one]);
    assert_ne!(code, Some(0), "{said}");
    peer.now("answer 200");
    let (code, said) = payments.house.says("root", &["deliveries", "redeliver", one]);
    assert_eq!(code, Some(0), "{said}");
    let late = peer.until_any(|got| got["answer"] == 200 && got["id"] == message);
    assert_eq!(
        (&late["verified"], &late["body"]["data"]["access_request"]),
        (&true.into(), &json!(first))
    );
    payments.event("delivery_redelivered", |event| event["principal"]["id"] == "corp:root");
    // The notice of the same was refused as well, and is dropped.
    let all = payments.house.api("GET", "/v1/deliveries", Some(&root), None).json();
    let left = all["deliveries"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{all:#}");
    let (code, said) = payments.house.says("root", &["deliveries", "drop", id(&left[0])]);
    assert_eq!(code, Some(0), "{said}");
    payments.event("delivery_dropped", |event| event["principal"]["id"] == "corp:root");
    let (_, said) = payments.house.says("root", &["deliveries"]);
    assert!(said.contains("every message was taken"), "{said}");
}

#[test]
fn a_receiver_that_was_down_for_an_hour_misses_nothing_and_is_not_flooded() {
    let mut peer = SinkPeer::http();
    let setting =
        hook(&peer, ", events: [access_requested]") + "\naccess_requests: {expire_after: 2h}";
    let mut payments = Payments::furnished(Upstream::start(), |plan| {
        let plan = plan.setting(&setting).file("key", SECRET).file("faketime", "+0");
        plan.policy("payments.cedar", &notifying("webhook:tickets"))
    });
    assert!(!clocks::library().is_empty());
    peer.kill();
    let mut asked = Vec::new();
    for n in 0..12 {
        let visitor = payments.enter(&Person::new(&format!("eng-{n}"), &["engineering"]));
        // The gate waits for nobody.
        let begun = Instant::now();
        asked.push(id(&asks(&visitor, "refunds stuck")).to_owned());
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    payments.house.set_clock("+30m");
    payments.house.kill();
    payments.house.restart();
    payments.house.set_clock("+61m");
    peer.again();
    let came = |peer: &SinkPeer, kind: &str| {
        let taken =
            peer.got.iter().filter(|got| got["answer"] == 200 && got["body"]["type"] == kind);
        let about = |got: &Value| {
            let data = &got["body"]["data"];
            data["access_request"].as_str().or(data["id"].as_str()).unwrap().to_owned()
        };
        taken.map(about).collect::<std::collections::BTreeSet<String>>()
    };
    let all: std::collections::BTreeSet<String> = asked.iter().cloned().collect();
    while came(&peer, "access_request.requested") != all
        || came(&peer, "access_request.notice") != all
    {
        peer.next();
    }
    assert!(peer.got.len() <= 2 * asked.len(), "each once: {}", peer.got.len());
}

#[test]
fn a_webhook_that_was_down_for_an_hour_gets_every_event_in_its_order_and_no_faster_than_said() {
    let mut peer = SinkPeer::http();
    let setting = hook(&peer, "") + "\naccess_requests: {expire_after: 2h}";
    let mut payments = Payments::furnished(Upstream::start(), |plan| {
        plan.setting(&setting).file("key", SECRET).file("faketime", "+0")
    });
    peer.kill();
    let mut ended = std::collections::BTreeSet::new();
    for n in 0..8 {
        let lea = payments.house.sign_in(&lea());
        let visitor = payments.house.sign_in(&Person::new(&format!("eng-{n}"), &["engineering"]));
        let post = |path: &str, token: &str, body: Option<Value>| {
            let done = payments.house.api("POST", path, Some(token), body);
            assert!(done.status < 300, "{path}: {}", done.text());
            done.json()
        };
        let body = json!({"queries": [{"operation": "payments.events"}], "reason": "x"});
        let asked = post("/v1/access-requests", &visitor, Some(body));
        let path = format!("/v1/access-requests/{}/reviews", id(&asked));
        let done = post(&path, &lea, Some(json!({"decision": "approve"})));
        let grant = done["grants"][0].as_str().unwrap();
        post(&format!("/v1/grants/{grant}/give-back"), &visitor, None);
        ended.insert(id(&asked).to_owned());
        if n == 4 {
            payments.house.kill();
            payments.house.restart();
        }
    }
    payments.house.set_clock("+61m");
    peer.again();
    // By access request, in the order in which they came; one that comes twice has the same id.
    let mut came: std::collections::BTreeMap<String, Vec<String>> =
        std::collections::BTreeMap::new();
    let (mut seen, mut fastest) = (std::collections::BTreeSet::new(), 0);
    while came.values().filter(|kinds| kinds.iter().any(|kind| kind == "grant.ended")).count() < 8 {
        let got = peer.next();
        assert_eq!(got["answer"], 200, "{got:#}");
        fastest = fastest.max(got["lately"].as_u64().unwrap());
        if seen.insert(got["id"].as_str().unwrap().to_owned()) {
            let about = got["body"]["data"]["access_request"].as_str().unwrap_or_default();
            let kind = got["body"]["type"].as_str().unwrap().to_owned();
            came.entry(about.to_owned()).or_default().push(kind);
        }
    }
    let all = [
        "access_request.requested",
        "access_request.reviewed",
        "access_request.ended",
        "grant.started",
        "grant.ended",
    ];
    for request in ended {
        assert_eq!(came[&request], all, "{came:#?}");
    }
    assert!(fastest <= 20, "ten a second, and {fastest} came in one");
}

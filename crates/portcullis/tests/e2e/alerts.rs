//! Somebody is called: each kind of rule fires, once, signed, and says who, what, where and what to do.

use std::fs;

use serde_json::{Value, json};

use crate::{
    geo::written,
    mesh::eventually,
    payments::{Payments, ana, ben, lea, sam},
    people::Person,
    pki::Pki,
    shop::{HOST, Shop},
    sink_peer::{SECRET, SinkPeer},
    upstream::Upstream,
    wire::Wire,
};

const EMERGENCY: &str = r#"
@id("payments.emergency") @emergency("true") @max_duration("5m")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant && context.grant.kind == "emergency" };

@id("administrators")
permit (principal is User in Group::"admins", action == Action::"administer", resource);
"#;

/// A configuration that calls `peer` by `rules`, one a line.
fn calls(peer: &SinkPeer, rules: &[&str]) -> String {
    let rules =
        rules.iter().fold(String::new(), |all, rule| all + "    - {" + rule + ", to: [oncall]}\n");
    format!(
        "alerts:\n  webhooks: [{{name: oncall, url: \"http://127.0.0.1:{}/call\", secret: {{file: key}}}}]\n  rules:\n{rules}",
        peer.port
    )
}

fn calling(peer: &SinkPeer, rules: &[&str]) -> Payments {
    let setting = calls(peer, rules);
    Payments::furnished(Upstream::start(), |plan| {
        plan.setting(&setting).file("key", SECRET).policy("emergency.cedar", EMERGENCY)
    })
}

/// The same with nothing to ask for in an emergency.
fn called(peer: &SinkPeer, rules: &[&str]) -> Payments {
    let setting = calls(peer, rules);
    Payments::furnished(Upstream::start(), |plan| plan.setting(&setting).file("key", SECRET))
}

/// The next alert of `rule` that comes.
fn alert(peer: &mut SinkPeer, rule: &str) -> Value {
    let post = peer.until(|post| post["body"]["data"]["rule"] == rule);
    assert_eq!(post["verified"], true, "{post:#}");
    assert_eq!(post["body"]["type"], "alert.fired", "{post:#}");
    let data = post["body"]["data"].clone();
    assert_eq!(post["id"], data["id"], "the message is the event of the record");
    for word in ["What: ", "What to do: "] {
        assert!(data["text"].as_str().unwrap().contains(word), "{data:#}");
    }
    data
}

#[test]
fn denials_call_somebody_once_and_are_on_record() {
    let mut peer = SinkPeer::http();
    let payments =
        called(&peer, &["name: denied, denials: {count: 3, within: 10m}, cool_down: 1h"]);
    let ben = payments.enter(&ben());
    let refused = || assert_eq!(ben.send("DELETE", "/v1/refunds/7", None).status, 403);
    (0..3).for_each(|_| refused());
    let data = alert(&mut peer, "denied");
    assert_eq!(data["title"], "corp:ben was refused 3 times within 10m");
    for word in ["Who: corp:ben, from 127.0.0.1", "payments.cancelRefund at payments"] {
        assert!(data["text"].as_str().unwrap().contains(word), "{data:#}");
    }
    let event = payments.event("alert_fired", |event| event["id"] == data["id"]);
    assert_eq!(
        (&event["principal"]["id"], &event["alert"]["about"]),
        (&json!("corp:ben"), &json!("corp:ben"))
    );
    // The same again is the same alert: it is counted, and nobody is called.
    (0..3).for_each(|_| refused());
    payments.house.profile("sam", &payments.enter(&sam()).control);
    eventually("it is counted", || {
        payments.house.says("sam", &["alerts"]).1.contains("and 1 more since")
    });
    payments.record(|events| events.iter().filter(|e| e["type"] == "alert_fired").count() == 1);
    let metrics = payments.house.api("GET", "/metrics", None, None).text();
    assert!(metrics.contains("portcullis_alerts_fired_total{rule=\"denied\"} 1"), "{metrics}");
}

#[test]
fn emergencies_and_unusual_operations_call_somebody() {
    let mut peer = SinkPeer::http();
    let payments = calling(
        &peer,
        &["name: night, emergency: {}", "name: odd, unusual_operation: {remember: 1d, learn: 1s}"],
    );
    let (ana, ben) = (payments.enter(&ana()), payments.enter(&ben()));
    let _reviewer = payments.enter(&lea());
    // Usual by now, and nothing is said of it.
    eventually("she is known for a second", || {
        assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
        payments.record(|_| true).iter().any(|event| {
            event["operation"] == "payments.listRefunds" && {
                let at: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
                portcullis_testkit::ambient::machine_time().duration_since(at)
                    > jiff::SignedDuration::from_secs(2)
            }
        })
    });
    assert_eq!(ana.send("GET", "/v1/refunds/7", None).status, 200);
    let odd = alert(&mut peer, "odd");
    assert_eq!(odd["title"], "corp:ana did something unusual: payments.getRefund");
    let body = json!({"queries": [{"operation": "payments.*"}], "reason": "payouts are stuck"});
    let opened = ben.call("POST", "/v1/access-requests", Some(body));
    assert_eq!(opened.status, 201, "{}", opened.text());
    let night = alert(&mut peer, "night");
    assert_eq!((&night["urgency"], &night["principal"]), (&json!("critical"), &json!("corp:ben")));
    let text = night["text"].as_str().unwrap();
    assert!(text.contains("portcullis review") && text.contains("payments"), "{text}");
    let link = night["link"].as_str().unwrap();
    assert!(link.contains("/v1/audit/events?from="), "{link}");
    let before = peer.got.iter().filter(|post| post["body"]["data"]["rule"] == "odd").count();
    assert_eq!(before, 1, "what is usual calls nobody: {:#?}", peer.got);
}

#[test]
fn a_new_country_calls_somebody() {
    let mut peer = SinkPeer::http();
    let file = written(&[([203, 0, 113], "PT"), ([198, 51, 100], "US")]);
    let upstream = Upstream::start();
    let balanced = format!("127.0.0.1:{}", portcullis_testkit::net::free_port());
    let setting = calls(&peer, &["name: moved, new_country: {remember: 30d, learn: 1s}"]);
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.setting(&format!("geo: {{database: \"{}\"}}", file.path().display()))
            .setting(&setting)
            .file("key", SECRET)
            .listener(&format!(
                "{{name: balanced, address: \"{balanced}\", proxy_protocol: {{from: [127.0.0.1/32]}}}}"
            ))
    });
    let from = |ip: &str| {
        let mut wire = Wire::connect(balanced.parse().unwrap());
        wire.send(format!("PROXY TCP4 {ip} 10.0.0.2 51000 443\r\n"));
        wire.send(format!("{}Connection: close\r\n\r\n", shop.head("GET", "/page")));
        assert_eq!(wire.response().unwrap().status, 200);
    };
    from("203.0.113.7");
    let begun = std::time::Instant::now();
    eventually("she is known for a second", || begun.elapsed().as_secs() >= 2);
    from("203.0.113.9");
    from("198.51.100.1");
    let moved = alert(&mut peer, "moved");
    let title = moved["title"].as_str().unwrap();
    assert!(title.ends_with("comes from a new country, US"), "{title}");
    assert!(moved["text"].as_str().unwrap().contains("198.51.100.1 (US)"), "{moved:#}");
    assert_eq!(peer.got.len(), 1, "the other is where they always are: {:#?}", peer.got);
    assert_eq!(shop.house.gate(HOST, "GET", "/page", Some(&shop.token), None).status, 200);
}

#[test]
fn a_record_that_was_changed_calls_somebody() {
    let mut peer = SinkPeer::http();
    let payments = calling(&peer, &["name: proof, record: {every: 1s}"]);
    let tile = payments.house.dir().join("audit/log/tile/entries/000");
    let ana = payments.enter(&ana());
    // It may be there before its bytes are.
    let mut bytes = Vec::new();
    while bytes.is_empty() {
        assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
        bytes = fs::read(&tile).unwrap_or_default();
    }
    bytes[40] ^= 4;
    fs::write(&tile, bytes).unwrap();
    let proof = alert(&mut peer, "proof");
    assert_eq!(proof["urgency"], "critical");
    let text = proof["text"].as_str().unwrap();
    assert!(
        text.contains("record 0 is not what was signed") && text.contains("audit verify"),
        "{text}"
    );
}

#[test]
fn certificates_that_end_call_somebody() {
    let mut peer = SinkPeer::http();
    let pki = Pki::new();
    let authority = pki.authority("ca");
    let pair = pki.server("gate", &authority);
    let port = portcullis_testkit::net::free_port();
    let setting = calls(
        &peer,
        &["name: ends, certificate: {within: 10d}", "name: far, certificate: {within: 1h}"],
    );
    let upstream = Upstream::start();
    let _shop = Shop::furnished(&upstream.url(), |plan| {
        plan.setting(&setting)
            .file("key", SECRET)
            .file("gate.pem", &pair.pem())
            .file("gate.key", &pair.key_pem())
            .listener(&format!(
                "{{name: tls, address: \"127.0.0.1:{port}\", tls: {{certificate: gate.pem, key: gate.key}}}}"
            ))
    });
    let ends = alert(&mut peer, "ends");
    assert!(
        ends["title"]
            .as_str()
            .unwrap()
            .starts_with("certificate of listener tls: gate.pem ends in"),
        "{ends:#}"
    );
    assert!(peer.got.iter().all(|post| post["body"]["data"]["rule"] != "far"));
}

#[test]
fn a_sink_that_fails_calls_somebody_and_is_on_record_once() {
    let (mut peer, mut siem) = (SinkPeer::http(), SinkPeer::http());
    siem.now("answer 302");
    let setting = format!(
        "{}export: [{{name: siem, http: {{url: \"http://127.0.0.1:{}/in\", bearer: {{file: token}}}}, failing_after: 1s}}]",
        calls(&peer, &["name: deaf, sink_failing: {}"]),
        siem.port
    );
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.setting(&setting)
            .file("key", SECRET)
            .file("token", "not-so-secret-but-long-enough-0123456789")
            .policy("emergency.cedar", EMERGENCY)
    });
    let deaf = alert(&mut peer, "deaf");
    let text = deaf["text"].as_str().unwrap();
    assert!(text.contains("export siem") && text.contains("it answered 302"), "{text}");
    assert!(siem.until(|_| true).get("followed").is_none());
    payments.house.profile("sam", &payments.enter(&sam()).control);
    let (_, said) = payments.house.says("sam", &["exports"]);
    assert!(said.contains("failing") && said.contains("it answered 302"), "{said}");
    siem.now("answer 200");
    payments.event("export_recovered", |_| true);
    let sam = payments.enter(&sam());
    eventually("it is well", || {
        let sinks = sam.call("GET", "/v1/exports", None).json()["sinks"].clone();
        sinks[0]["name"] == "siem" && sinks[0]["trouble"].is_null()
    });
    let events = payments.record(|_| true);
    assert_eq!(events.iter().filter(|event| event["type"] == "export_failing").count(), 1);
    assert!(siem.got.iter().all(|post| post.get("followed").is_none()), "redirects lead nowhere");
    let bearer = &siem.until(|post| post["answer"] == 200)["authorization"];
    assert_eq!(bearer, "Bearer not-so-secret-but-long-enough-0123456789");
}

#[test]
fn a_test_message_arrives_for_administrators_alone() {
    let mut peer = SinkPeer::http();
    let payments = calling(&peer, &["name: night, emergency: {}"]);
    let admin = Person::new("ada", &["admins"]);
    payments.house.profile("ada", &payments.enter(&admin).control);
    payments.house.profile("sam", &payments.enter(&sam()).control);
    let (code, said) = payments.house.says("sam", &["alerts", "test", "oncall"]);
    assert!(code == Some(1) && said.contains("administer"), "{said}");
    let (code, said) = payments.house.says("ada", &["alerts", "test", "oncal"]);
    assert!(code == Some(2) && said.contains("not found"), "{said}");
    let (code, said) = payments.house.says("ada", &["alerts", "test", "oncall"]);
    assert!(code == Some(0) && said.contains("oncall took a test message"), "{said}");
    let post = peer.next();
    assert_eq!((&post["verified"], &post["body"]["type"]), (&json!(true), &json!("alert.test")));
    payments.event("export_tested", |event| event["principal"]["id"] == "corp:ada");
    // One who may not look sees nothing.
    payments.house.profile("ben", &payments.enter(&ben()).control);
    for command in ["alerts", "exports"] {
        let (code, said) = payments.house.says("ben", &[command]);
        assert!(code == Some(1) && said.contains("viewAudit"), "{said}");
    }
    peer.kill();
    let (code, said) = payments.house.says("ada", &["alerts", "test", "oncall"]);
    assert!(code != Some(0) && said.contains("did not arrive"), "{said}");
}

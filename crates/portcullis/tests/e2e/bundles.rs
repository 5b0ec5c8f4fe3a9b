//! Group F and bad input: bundles that are empty, broken, or reloaded a thousand times.

use std::{process::Command, time::Duration};

use serde_json::json;

use crate::{
    house::{Plan, binary},
    mesh::eventually,
    payments::{POLICIES, Payments, ana},
    upstream::Upstream,
};

const SHOP: &str =
    "name: shop\nhosts: [shop.example.com]\nupstream: {instances: {s-1: \"http://127.0.0.1:1\"}}";

#[test]
fn f01_no_policies_deny_everything() {
    let upstream = Upstream::start();
    let service = SHOP.replace("http://127.0.0.1:1", &upstream.url());
    let house = Plan::empty().service(&service).start();
    let token = house.workload_token("anybody", &["readers"]);
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let response = house.gate("shop.example.com", method, "/", Some(&token), None);
        assert_eq!(response.status, 404, "{method}: a service without a permit does not exist");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn f02_a_broken_policy_refuses_to_start_and_says_where() {
    let mut house = Plan::empty()
        .service(SHOP)
        .policy("shop.cedar", "@id(\"a\")\npermit (principal, action, resource)\nwhen { principal.nam };\n")
        .policy("typo.cedar", "@id(\"b\")\npermit (principal, action == Action::\"shop.GETT\", resource in Service::\"shop\");\n")
        .policy("syntax.cedar", "permit (principal, action, resource\n")
        .start_unready();
    let check = Command::new(binary())
        .args(["check", "--config"])
        .arg(house.dir().join("portcullis.yaml"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(1));
    let text = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
    for place in ["typo.cedar", "shop.GETT", "syntax.cedar"] {
        assert!(text.contains(place), "every mistake at once; {place} is missing from:\n{text}");
    }
    house.wait_end();
    assert!(
        std::net::TcpStream::connect(house.gate).is_err(),
        "it must not serve:\n{}",
        house.log()
    );
    assert!(house.log().contains("typo.cedar"), "{}", house.log());
}

#[test]
fn f03_a_broken_reload_keeps_the_last_good_and_is_on_record() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let generation = || ana.call("GET", "/v1/bundle", None).json();
    let before = generation();
    payments.house.write_policy("payments.cedar", "permit (principal, action, resource");
    payments.house.signal("HUP");
    let refused = payments.event("bundle_refused", |_| true);
    assert!(refused.to_string().contains("payments.cedar"), "{refused:#}");
    assert_eq!(generation(), before, "version unchanged");
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200, "last good stays");
    payments.house.write_policy("payments.cedar", "");
    payments.house.signal("HUP");
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == json!(2));
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 404, "an empty folder denies");
}

#[test]
fn f04_f05_policies_that_cannot_be_evaluated_never_open() {
    let errors = r#"
@id("overflowing-permit")
permit (principal is User in Group::"oncall", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has body && context.body.amount + 9223372036854775807 > 0 };
"#;
    let forbids = r#"
@id("everybody")
permit (principal is User in Group::"oncall", action == Action::"payments.createRefund", resource in Service::"payments");

@id("overflowing-forbid")
forbid (principal is User, action == Action::"payments.createRefund", resource)
when { context has body && context.body.amount + 9223372036854775807 < 0 };
"#;
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    payments.house.write_policy("payments.cedar", errors);
    payments.house.signal("HUP");
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == json!(2));
    assert_eq!(ana.refund(5).status, 403, "an erroring permit does not apply");
    payments.house.write_policy("payments.cedar", forbids);
    payments.house.signal("HUP");
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == json!(3));
    assert_eq!(ana.refund(5).status, 403, "an erroring forbid denies");
    assert_eq!(ana.refund(-5).status, 200, "the same forbid, evaluated, does not");
}

#[test]
fn f06_a_storm_of_reloads_never_mixes_two_bundles() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let closed = format!(
        "{POLICIES}\n@id(\"closed\")\nforbid (principal, action in Action::\"payments.read\", resource);\n"
    );
    for round in 0..40 {
        let text = if round % 2 == 0 { closed.as_str() } else { POLICIES };
        payments.house.write_policy("payments.cedar", text);
        for _ in 0..25 {
            payments.house.signal("HUP");
        }
        let status = ana.send("GET", "/v1/refunds", None).status;
        assert!([200, 403].contains(&status), "{status}");
    }
    // The last text in the file is the open one; it must be what is in force in the end.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while ana.send("GET", "/v1/refunds", None).status != 200 {
        assert!(std::time::Instant::now() < deadline, "the storm left an old bundle in force");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_folder_that_a_reload_names_first_is_watched_from_then_on() {
    let upstream = Upstream::start();
    let all = "@id(\"all\") @all_services(\"true\")\npermit (principal is Workload in Group::\"readers\", \
               action in Action::\"read\", resource);";
    let service = SHOP.replace("http://127.0.0.1:1", &upstream.url());
    let house = Plan::empty().service(&service).policy("all.cedar", all).start();
    let token = house.workload_token("reader", &["readers"]);
    let settings = house.dir().join("portcullis.yaml");
    let more = house.dir().join("more");
    std::fs::create_dir(&more).unwrap();
    let replace = |file: &std::path::Path, text: &str| {
        std::fs::write(house.dir().join("next"), text).unwrap();
        std::fs::rename(house.dir().join("next"), file).unwrap();
    };
    let late = |host: &str, more: &str| {
        format!(
            "services:\n  - name: late\n    hosts: [{host}]\n    upstream: {{url: \"{}\"}}\n{more}",
            upstream.url()
        )
    };
    let status = |host: &str| house.gate(host, "GET", "/page", Some(&token), None).status;
    replace(&more.join("late.yaml"), &late("late.example.com", ""));
    let text = std::fs::read_to_string(&settings).unwrap();
    replace(&settings, &format!("include: [more/*.yaml]\n{text}"));
    eventually("the reload is in force", || status("late.example.com") == 200);
    replace(&more.join("late.yaml"), &late("later.example.com", "    timeout: 5s\n"));
    eventually("a mistake there is told", || house.log().contains("unknown key `timeout`"));
    replace(&more.join("late.yaml"), &late("later.example.com", ""));
    eventually("what is saved there counts", || status("later.example.com") == 200);
    assert_eq!(status("late.example.com"), 404);
}

#[test]
fn f14_m17_a_rollback_is_one_command_a_new_generation_and_stays_until_the_files_change() {
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.policy("admins.cedar", "@id(\"admins\")\npermit (principal is User in Group::\"oncall\", action == Action::\"administer\", resource);\n")
    });
    let ana = payments.enter(&ana());
    payments.house.write_policy("payments.cedar", "");
    payments.house.signal("HUP");
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == json!(2));
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 404);
    let answer = ana.call("POST", "/v1/bundle/rollback", None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let again =
        payments.event("bundle_activated", |event| event["bundle"]["generation"] == json!(3));
    let first =
        payments.event("bundle_activated", |event| event["bundle"]["generation"] == json!(1));
    assert_eq!(again["bundle"]["digest"], first["bundle"]["digest"], "the old one, as a new one");
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
    payments.house.signal("HUP");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200, "pinned");
    payments.house.write_policy("payments.cedar", "// changed\n");
    payments.house.signal("HUP");
    payments.event("bundle_activated", |event| event["bundle"]["generation"] == json!(4));
}

#[test]
fn an_unreachable_issuer_and_upstream_are_named_and_recovered_from() {
    let house = Plan::empty()
        .service(SHOP)
        .policy("shop.cedar", "@id(\"all\")\npermit (principal is Workload, action in Action::\"shop.read\", resource == Service::\"shop\");\n")
        .start_unready();
    house.wait_ready();
    let token = house.workload_token("svc", &[]);
    let response = house.gate("shop.example.com", "GET", "/", Some(&token), None);
    assert_eq!(response.status, 502, "{}", response.text());
}

#[test]
fn a_port_in_use_is_said_in_one_line() {
    let house = Plan::empty().service(SHOP).start();
    let second = tempfile::TempDir::new().unwrap();
    let text = std::fs::read_to_string(house.dir().join("portcullis.yaml")).unwrap();
    std::fs::write(second.path().join("portcullis.yaml"), text).unwrap();
    std::fs::create_dir(second.path().join("policies")).unwrap();
    let output = Command::new(binary())
        .args(["serve", "--config"])
        .arg(second.path().join("portcullis.yaml"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        text.contains(&house.gate.port().to_string())
            || text.contains(&house.control.port().to_string()),
        "{text}"
    );
    assert!(text.contains("in use"), "{text}");
}

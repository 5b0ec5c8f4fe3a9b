//! Asking to see data: with several operations, by a rule, where policy shows it under conditions, and what
//! reviewers see of it.

use serde_json::{Value, json};

use super::{EMAIL, Orders};
use crate::{mesh::eventually, wire::Wire};

fn operations(asked: &Value) -> Vec<&str> {
    let queries = asked["queries"].as_array().unwrap_or_else(|| panic!("{asked:#}"));
    queries.iter().map(|query| query["operation"].as_str().unwrap()).collect()
}

#[test]
fn one_class_is_asked_for_with_several_operations() {
    let orders = Orders::open();
    let ben = orders.enter("ben", &["engineering"]);
    let asked = ben.ask(&json!([
        {"operation": "payments.getOrder", "reveal": "pci"},
        {"operation": "payments.createOrder", "reveal": "pci"},
    ]));
    assert_eq!(asked.status, 201, "{}", asked.text());
    let all = ["payments.getOrder", "payments.reveal:pci", "payments.createOrder"];
    assert_eq!(operations(&asked.json()), all);
    let lea = orders.enter("lea", &["leads"]);
    orders.house.profile("lea", &lea.control);
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    let (code, said) = orders.house.says("lea", &["requests", &id]);
    assert!(code == Some(0), "{said}");
    assert!(said.contains("shows pci in the answers of every operation of payments"), "{said}");
}

#[test]
fn a_rule_counts_for_what_it_is_a_way_to() {
    let orders = Orders::open();
    let ben = orders.enter("ben", &["engineering"]);
    let ask = |rule: &str| {
        ben.ask(&json!([{"operation": "payments.getOrder", "reveal": "pci", "rule": rule}]))
    };
    for rule in ["pci.reviewed", "order.reviewed"] {
        let asked = ask(rule);
        assert!(asked.status < 300, "{}", asked.text());
        let asked = asked.json();
        let rules: Vec<_> = asked["queries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|query| query["way"]["rule"].as_str().unwrap())
            .collect();
        assert_eq!(rules, ["order.reviewed", "pci.reviewed"], "{asked:#}");
    }
    let refused = ask("pii.brief");
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("pii.brief"), "{}", refused.text());
}

#[test]
fn a_class_that_is_shown_in_the_operation_is_not_asked_for_with_it() {
    let orders = Orders::open();
    let dan = orders.enter("dan", &["engineering", "desk"]);
    let asked = dan.ask(&json!([{"operation": "payments.getOrder", "reveal": "pii"}]));
    assert_eq!(asked.status, 201, "{}", asked.text());
    assert_eq!(operations(&asked.json()), ["payments.getOrder"]);
    let elsewhere = dan.ask(&json!([{"operation": "payments.createOrder", "reveal": "pii"}]));
    assert_eq!(elsewhere.status, 403, "{}", elsewhere.text());
    let alone = dan.ask(&json!([{"operation": "payments.reveal:pii"}]));
    assert_eq!(alone.status, 409, "{}", alone.text());
    assert!(alone.text().contains("without asking, where"), "{}", alone.text());
}

#[test]
fn e15_paths_parameters_and_forms_are_shown_masked() {
    let orders = Orders::open();
    let (ben, lea) = (orders.enter("ben", &["engineering"]), orders.enter("lea", &["leads"]));
    let form = "email=sue%40customers.example&note=a+note&by=sue%40customers.example";
    let send = |more: &str| {
        let mut wire = Wire::connect(orders.house.gate);
        wire.send(format!(
            "POST /customers/sue%40customers.example HTTP/1.1\r\nHost: payments.example.com\r\n\
             Authorization: Bearer {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n{more}\r\n{form}",
            ben.gate,
            form.len()
        ));
        wire
    };
    let refused = send("").response().unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    let path = format!("/v1/refusals/{}", refused.json()["refusal"].as_str().unwrap());
    let shown = orders.house.api("GET", &path, Some(&ben.control), None).json();
    assert_eq!(shown["summary"], "POST /customers/***", "{shown:#}");
    let masked = "email=***&note=a+note&by=***";
    assert_eq!(shown["body"]["text"], masked, "{shown:#}");
    let waiting = send("Prefer: wait=60\r\n");
    let list = "/v1/access-requests?filter=to-review";
    let look = |path: &str| orders.house.api("GET", path, Some(&lea.control), None).json();
    let first = || look(list)["access_requests"].get(0).cloned();
    eventually("it waits", || first().is_some());
    let asked = look(&format!("/v1/access-requests/{}", first().unwrap()["id"].as_str().unwrap()));
    assert_eq!(asked["held"]["summary"], "POST /customers/***", "{asked:#}");
    assert_eq!(asked["held"]["parameters"]["email"], "***", "{asked:#}");
    assert_eq!(asked["body"]["text"], masked, "{asked:#}");
    for file in std::fs::read_dir(orders.house.dir()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("portcullis.db") {
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let is_clear = text.contains(EMAIL) || text.contains("sue%40customers");
            assert!(!is_clear, "{} has it in clear", path.display());
        }
    }
    drop(waiting);
}
